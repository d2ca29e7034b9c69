"""Digests follow what is imported and nothing else; and the arrows between our packages go one way."""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from blackholes.artifacts import provenance
from blackholes.artifacts.tensors import write_tensors

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow" / "scripts"
PACKAGE = SCRIPTS / "blackholes"
MODULES = sorted(PACKAGE.rglob("*.py"))
DRAW = ("figure.py", "figures.py")  # scripts whose modules the rules name
FIGURES = [f"blackholes.figures.{path.stem}" for path in PACKAGE.glob("figures/[!_]*.py")]

TOY = {
    "run.py": "import json\nfrom blackholes.a import f\n",
    "idle.py": "import json\n",
    "blackholes/__init__.py": "",
    "blackholes/a.py": "import torch\ndef f():\n    from blackholes.deep import b\n",
    "blackholes/deep/__init__.py": "from blackholes import named_by_package\n",
    "blackholes/deep/b.py": "if True:\n    import blackholes.deep.c as c\n",
    "blackholes/deep/c.py": "import blackholes.a\n",  # a circle
    "blackholes/deep/unused.py": "import blackholes.unused\n",
    "blackholes/named_by_package.py": "",
    "blackholes/unused.py": "",
    "blackholes/late/__init__.py": "",
    "blackholes/late/late.py": "import blackholes.late.helper\n",
    "blackholes/late/helper.py": "",
}
USED = {
    "run.py",
    "blackholes/__init__.py",
    "blackholes/a.py",
    "blackholes/deep/__init__.py",
    "blackholes/deep/b.py",
    "blackholes/deep/c.py",
    "blackholes/named_by_package.py",
}
LATE = {"blackholes/late/__init__.py", "blackholes/late/late.py", "blackholes/late/helper.py"}


@pytest.fixture
def toy(tmp_path):
    for name, text in TOY.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "toy"


def code_digest(folder, *modules, script="run.py"):
    provenance.forget_code()
    return provenance.code_digest(folder / script, folder / "blackholes", *modules)


def closure(folder, script, *modules):
    provenance.forget_code()
    files = provenance.code_files(folder / script, folder / "blackholes", *modules)
    return {file.relative_to(folder).as_posix() for file in files}


# --- digests of code


def test_imports_are_followed(toy):
    assert closure(toy, "run.py") == USED
    assert closure(toy, "idle.py") == {"idle.py"}
    assert closure(toy, "run.py", "blackholes.late.late") == USED | LATE


@pytest.mark.parametrize("name", TOY)
def test_the_digest_changes_with_what_is_used_and_with_nothing_else(toy, name):
    plain, late = code_digest(toy), code_digest(toy, "blackholes.late.late")
    with open(toy / name, "a") as file:
        file.write("# changed\n")
    assert (code_digest(toy) != plain) == (name in USED)
    assert (code_digest(toy, "blackholes.late.late") != late) == (name in USED | LATE)


def test_a_new_import_and_a_new_module_count(toy):
    before = code_digest(toy)
    (toy / "blackholes/deep/new.py").write_text("")
    assert code_digest(toy) == before
    (toy / "blackholes/a.py").write_text(TOY["blackholes/a.py"] + "    from blackholes.deep.new import g\n")
    assert "blackholes/deep/new.py" in closure(toy, "run.py")
    assert code_digest(toy) != before


def test_a_copy_elsewhere_and_other_times_have_the_same_digest(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "far" / "away")  # new times, too
    assert code_digest(tmp_path / "far" / "away") == code_digest(toy)
    (toy / "run.py").touch()
    assert code_digest(tmp_path / "far" / "away") == code_digest(toy)


def test_the_same_text_under_another_name_is_other_code(toy):
    (toy / "blackholes/unused.py").write_text("x = 1\n")
    (toy / "run.py").write_text("import blackholes.unused\n")
    before = code_digest(toy)
    shutil.move(toy / "blackholes/unused.py", toy / "blackholes/renamed.py")
    (toy / "blackholes/unused.py").write_text("")
    assert code_digest(toy) != before


@pytest.mark.parametrize(
    "before",
    [
        "if x:\n    pass\nelif y:\n",
        "if x:\n    pass\nelse:\n",
        "for x in y:\n",
        "for x in y:\n    pass\nelse:\n",
        "while x:\n    pass\nelse:\n",
        "with x:\n",
        "try:\n    pass\nexcept E:\n",
        "try:\n    pass\nexcept* E:\n",
        "try:\n    pass\nexcept E:\n    pass\nelse:\n",
        "try:\n    pass\nfinally:\n",
        "match x:\n  case 1:\n",
        "class A:\n  def f(self):\n",
        "async def f():\n  async with x:\n",
    ],
)
def test_an_import_in_any_statement_is_followed(toy, before):
    (toy / "idle.py").write_text(f"{before}    import blackholes.unused\n")
    assert "blackholes/unused.py" in closure(toy, "idle.py")


@pytest.mark.parametrize("line", ["from . import a", "from .a import f", "from .. import a"])
def test_relative_imports_are_refused(toy, line):
    (toy / "blackholes/deep/c.py").write_text(f"def f():\n    {line}\n")
    with pytest.raises(SyntaxError, match=r"c\.py: relative imports"):
        code_digest(toy)


def test_a_module_that_does_not_exist_is_named(toy):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py"):
        code_digest(toy, "blackholes.nowhere")


# --- digests of values and files


def test_digest_of_values():
    assert provenance.digest({"a": 1, "b": [2]}) == provenance.digest({"b": [2], "a": 1})
    values = [{"a": 1}, {"a": 1.0}, {"a": "1"}, {"a": True}, {"a": None}, {"a": [1]}, {}, [], "", 0, None]
    assert len({provenance.digest(value) for value in values}) == len(values)
    assert provenance.digest({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()[:16]


def test_a_file_is_known_by_its_contents(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x\n1\n")
    (tmp_path / "b.txt").write_bytes(b"x\n1\n")
    assert provenance.file_digest(tmp_path / "a.csv") == provenance.file_digest(tmp_path / "b.txt")
    assert provenance.file_digest(tmp_path / "a.csv") == hashlib.sha256(b"x\n1\n").hexdigest()[:16]


def test_a_tensor_file_with_provenance_is_known_by_its_header(tmp_path):
    def made(name, tensor, **metadata):
        write_tensors(tmp_path / name, {"x": tensor}, metadata)
        return provenance.file_digest(tmp_path / name)

    first = made("a.safetensors", torch.ones(3), code_digest="1")
    assert made("b.safetensors", torch.zeros(3), code_digest="1") == first  # not read
    assert made("c.safetensors", torch.ones(3), code_digest="2") != first
    assert made("d.safetensors", torch.ones(4), code_digest="1") != first


def test_every_byte_of_a_tensor_file_without_provenance_counts(tmp_path):
    for name, value in ("a", 1.0), ("b", 1.0), ("c", 1.0000001):
        write_tensors(tmp_path / f"{name}.safetensors", {"x": torch.full((3,), value)}, {"format": "pt"})
    one, same, other = (provenance.file_digest(tmp_path / f"{name}.safetensors") for name in "abc")
    assert one == same != other


@pytest.mark.parametrize("data", [b"", b"short", b"a text, with a length of exabytes", b"\xff" * 20])
def test_what_only_calls_itself_a_tensor_file(tmp_path, data):
    (tmp_path / "a.safetensors").write_bytes(data)
    assert provenance.file_digest(tmp_path / "a.safetensors") == hashlib.sha256(data).hexdigest()[:16]


# --- provenance


def described(folder, threads=2, code="c0de", upstream="up", **settings):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "in.csv").write_text("x\n1\n")
    params = {"settings": {"seed": 45, "steps": 10, **settings}, "code": code, "upstream": upstream, "runs": [3]}
    return provenance.describe(params, {"table": str(folder / "in.csv")}, threads)


def test_provenance_is_text_and_says_where_a_file_comes_from(tmp_path):
    found = described(tmp_path)
    assert all(isinstance(text, str) for text in [*found, *found.values()])
    assert found["seed"] == "45"
    assert found["threads"] == "2"
    assert (found["code_digest"], found["upstream_digest"]) == ("c0de", "up")
    assert json.loads(found["config"]) == {"settings": {"seed": 45, "steps": 10}}
    assert found["config_digest"] == provenance.digest({"settings": {"steps": 10, "seed": 45}})
    assert json.loads(found["input_digests"]) == {"table": provenance.file_digest(tmp_path / "in.csv")}
    assert json.loads(found["versions"])["torch"] == torch.__version__
    write_tensors(tmp_path / "a.safetensors", {"x": torch.ones(1)}, found)


def test_provenance_does_not_depend_on_place_or_time(tmp_path):
    found = described(tmp_path / "here")
    assert described(tmp_path / "there") == found
    assert str(tmp_path) not in json.dumps(found)


def test_provenance_depends_on_what_enters(tmp_path):
    found = [described(tmp_path, **change) for change in ({}, {"steps": 11}, {"code": "1"}, {"upstream": "1"})]
    assert len({json.dumps(one) for one in found}) == 4
    assert found[0]["config_digest"] == found[2]["config_digest"] == found[3]["config_digest"]
    assert found[0]["config_digest"] != found[1]["config_digest"]
    assert "seed" not in provenance.describe({}, {}, 1)


# --- the house (DESIGN section 3)


def imports(text, everywhere=True):
    """Names of the imported modules; with everywhere=False not those inside functions."""
    tree = ast.parse(text)
    nodes, queue = [], [tree]
    while queue:
        for node in ast.iter_child_nodes(queue.pop()):
            nodes.append(node)
            if everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                queue.append(node)
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def outside(files, everywhere=True):
    """Packages that files import from outside."""
    return {name.split(".")[0] for file in files for name in imports(file.read_text(), everywhere)}


ALLOWED = {  # package → what of ours it may import
    "kernels": {"kernels", "errors"},
    "artifacts": {"artifacts", "errors"},
    "training": {"training", "kernels", "artifacts", "byte_level", "errors"},
    "analysis": {"analysis", "kernels", "artifacts", "byte_level", "errors", "limits"},
    "figures": {"figures", "artifacts", "errors"},
    "errors": set(),
    "recipes": {"artifacts"},
    "config": {
        "config_checkpoints",
        "config_corpus",
        "config_experiments",
        "config_lattice",
        "config_reference",
        "config_snowballs",
        "config_words",
        "errors",
        "limits",
        "training",
    },
    "config_corpus": {"config_words", "training"},
    "config_experiments": {"config_corpus", "config_words", "limits", "training"},
    "config_words": {"errors"},
    "config_checkpoints": {"config_words"},
    "config_lattice": {"config_checkpoints", "config_words"},
    "config_snowballs": {"config_words"},
    "packing": {"config"},
    "config_reference": {"config", "config_words"},
}


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_arrows_go_one_way(file):
    ours = {name.split(".")[1] for name in imports(file.read_text()) if name.startswith("blackholes.")}
    package = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert ours <= ALLOWED.get(package, set())
    assert "snakemake" not in outside([file])


def test_kernels_know_no_files():
    assert not outside(PACKAGE.glob("kernels/*.py")) & {"safetensors", "h5py", "pathlib", "os", "io", "logging", "csv"}


def test_configuration_needs_only_the_vocabulary_of_training():
    assert closure(SCRIPTS, "blackholes/config.py") >= {"blackholes/training/vocabulary.py"}
    assert not outside(PACKAGE / name for name in ("training/vocabulary.py", "training/__init__.py")) & {"torch"}


def allowed_in(script):
    """Packages whose modules a script may depend on, however indirectly."""
    return ALLOWED["figures"] if script in DRAW else ALLOWED["analysis"] | ALLOWED["training"]


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_what_a_script_depends_on(script):
    files = closure(SCRIPTS, script, *(FIGURES if script in DRAW else ())) - {script}
    assert {f.split("/")[1].removesuffix(".py") for f in files} <= allowed_in(script) | {"__init__"}
    if not any("training" in name for name in imports((SCRIPTS / script).read_text())):
        assert not any(file.startswith("blackholes/training/") for file in files)
    assert "blackholes/artifacts/job.py" in files


def test_training_does_not_depend_on_the_making_of_the_corpus():
    files = closure(SCRIPTS, "train.py")
    assert {"blackholes/training/engine.py", "blackholes/training/tokens.py", "blackholes/kernels/gpt2.py"} <= files
    assert "blackholes/training/corpus.py" not in files
    assert not any(
        file.startswith(("blackholes/config", "blackholes/figures", "blackholes/analysis")) for file in files
    )


def test_a_stage_does_not_depend_on_the_kernels_of_another():
    def uses(script, *names):
        return closure(SCRIPTS, script) & {f"blackholes/kernels/{name}.py" for name in names}

    assert not uses("black_holes.py", "chebyshev", "euclidean", "gpt2")
    assert not uses("distances.py", "duplicates", "euclidean", "gpt2")
    assert "blackholes/kernels/gpt2.py" not in closure(SCRIPTS, "graphs.py")
    assert "blackholes/kernels/_loops.py" in closure(SCRIPTS, "distances.py")  # imported inside a function


def test_figures_import_no_torch():
    files = [SCRIPTS / file for file in closure(SCRIPTS, "figure.py", *FIGURES)]
    assert not outside(files, everywhere=False) & {"torch", "numba", "jaxtyping", "transformers"}


def rule_lines():
    for file in [ROOT / "Snakefile", *sorted(ROOT.glob("workflow/rules/**/*.smk"))]:
        for line in file.read_text().splitlines():
            if re.match(r"\s*(from|import)\s", line):
                yield line.strip()


def test_rules_import_no_torch():
    lines = list(rule_lines())
    assert any("blackholes" in line for line in lines)
    assert not outside_of(lines) & {"torch", "numba", "transformers"}


def outside_of(lines):
    return {name.split(".")[0] for line in lines for name in imports(line)}


@pytest.mark.parametrize("script", ["figure.py", "train.py"])
def test_the_closure_holds_what_python_really_loads(tmp_path, script):
    lines = [line for line in (SCRIPTS / script).read_text().splitlines() if re.match(r"(from|import) ", line)]
    if script == "figure.py":  # with what the rules import, which is to load no torch either
        lines += [f"import {name}" for name in FIGURES] + [line for line in rule_lines() if "blackholes" in line]
    imported = tmp_path / "imported.py"
    imported.write_text("\n".join([*lines, "import sys", "print(*sys.modules)"]))
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    run = subprocess.run([sys.executable, imported], env=environment, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert ("torch" in loaded) == (script == "train.py")
    files = provenance.code_files(imported, PACKAGE)
    ours = [SCRIPTS / name.replace(".", "/") for name in loaded if name.split(".")[0] == "blackholes"]
    assert len(ours) > 5
    for base in ours:
        assert {base.with_suffix(".py"), base / "__init__.py"} & set(files)
