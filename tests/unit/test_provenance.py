"""Digests of values and files, and provenance; what scripts and rules import. import-linter checks the folders."""

import ast
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numba
import numpy as np
import pytest
import safetensors
import torch
import transformers
from blackholes.artifacts import provenance
from blackholes.artifacts.tensors import write_tensors
from blackholes.orchestration import code
from safetensors.torch import save_file

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow" / "scripts"
PACKAGE = SCRIPTS / "blackholes"
DRAW = ("figures.py",)  # scripts whose modules the rules name
FIGURES = [f"blackholes.figures.{path.parent.name}.{path.stem}" for path in PACKAGE.glob("figures/*/[!_]*.py")]


def closure(folder, script, *modules):
    code.forget()
    files = code.files(folder / script, folder / "blackholes", *modules)
    return {file.relative_to(folder).as_posix() for file in files}


# --- digests of values and files


def test_digest_of_values():
    assert provenance.digest({"a": 1, "b": [2]}) == provenance.digest({"b": [2], "a": 1})
    values = [{"a": 1}, {"a": 1.0}, {"a": "1"}, {"a": True}, {"a": None}, {"a": [1]}, {}, [], "", 0, None]
    assert len({provenance.digest(value) for value in values}) == len(values)
    assert provenance.digest({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()[:16]


def test_a_files_digest_is_of_its_contents(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x\n1\n")
    (tmp_path / "b.txt").write_bytes(b"x\n1\n")
    assert provenance.file_digest(tmp_path / "a.csv") == provenance.file_digest(tmp_path / "b.txt")
    assert provenance.file_digest(tmp_path / "a.csv") == hashlib.sha256(b"x\n1\n").hexdigest()[:16]


def test_a_tensor_file_of_ours_is_known_by_the_digest_of_its_tensors(tmp_path):
    def made(name, tensor, key="x", **metadata):
        write_tensors(tmp_path / name, {key: tensor}, metadata)
        return provenance.file_digest(tmp_path / name)

    first = made("a.safetensors", torch.ones(3), config_digest="1")
    assert made("b.safetensors", torch.ones(3), config_digest="2") == first  # where it comes from is no content
    others = [
        made("c.safetensors", torch.tensor([1.0, 1, 1 + 2**-23])),
        made("d.safetensors", torch.ones(4)),
        made("e.safetensors", torch.ones(3, 1)),
        made("f.safetensors", torch.ones(3).view(torch.int32)),
        made("g.safetensors", torch.ones(3), key="y"),
    ]
    assert len({first, *others}) == 6


def test_a_tensor_file_of_ours_is_not_read_whole(tmp_path, monkeypatch):
    write_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(1_000_000)})
    monkeypatch.setattr(provenance.hashlib, "file_digest", None)
    assert provenance.file_digest(tmp_path / "a.safetensors")


def test_every_byte_of_a_tensor_file_of_others_counts(tmp_path):
    for name, value in ("a", 1.0), ("b", 1.0), ("c", 1.0000001):
        save_file({"x": torch.full((3,), value)}, tmp_path / f"{name}.safetensors", {"format": "pt"})
    one, same, other = (provenance.file_digest(tmp_path / f"{name}.safetensors") for name in "abc")
    assert one == same != other


@pytest.mark.parametrize("data", [b"", b"short", b"a text, with a length of exabytes", b"\xff" * 20])
def test_digest_of_a_file_that_is_no_tensor_file(tmp_path, data):
    (tmp_path / "a.safetensors").write_bytes(data)
    assert provenance.file_digest(tmp_path / "a.safetensors") == hashlib.sha256(data).hexdigest()[:16]


# --- provenance


def described(folder, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "in.csv").write_text("x\n1\n")
    params = {"settings": {"seed": 45, "steps": 10, **settings}}
    return provenance.describe(params, {"table": str(folder / "in.csv")})


def test_provenance_is_text_and_says_where_a_file_comes_from(tmp_path):
    facts = described(tmp_path)
    assert all(isinstance(text, str) for text in [*facts, *facts.values()])
    assert facts["seed"] == "45"
    assert json.loads(facts["config"]) == {"settings": {"seed": 45, "steps": 10}}
    assert facts["config_digest"] == provenance.digest({"settings": {"steps": 10, "seed": 45}})
    assert json.loads(facts["input_digests"]) == {"table": provenance.file_digest(tmp_path / "in.csv")}
    modules = (torch, numba, np, safetensors, transformers, matplotlib)
    versions = {module.__name__: module.__version__ for module in modules}
    assert json.loads(facts["versions"]) == {"python": platform.python_version()} | versions
    write_tensors(tmp_path / "a.safetensors", {"x": torch.ones(1)}, facts)


def test_provenance_does_not_depend_on_place_or_time(tmp_path):
    facts = described(tmp_path / "here")
    assert described(tmp_path / "there") == facts
    assert str(tmp_path) not in json.dumps(facts)


def test_provenance_depends_on_what_enters(tmp_path):
    assert described(tmp_path)["config_digest"] != described(tmp_path, steps=11)["config_digest"]
    assert "seed" not in provenance.describe({}, {})


# --- what scripts and rules import


def imports(text):
    """Names of the imported modules, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


ALSO = {  # what these few import beside the folders of their rows
    **{"plan.py": {"config", "orchestration"}, "verify.py": {"config"}},  # they judge results by the configuration
    **{"page.py": {"figures"}, "film.py": {"figures"}},  # they show and draw
}


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_dependencies_of_a_script(script):
    files = closure(SCRIPTS, script, *(FIGURES if script in DRAW else ())) - {script}
    folders = {file.split("/")[1].removesuffix(".py") for file in files}
    if script in DRAW:
        assert folders == {"__init__", "artifacts", "errors", "figures"}
    else:
        assert not folders & {"config", "figures", "orchestration", "show"} - ALSO.get(script, set())
    if script not in ALSO and not any("training" in name for name in imports((SCRIPTS / script).read_text())):
        assert "training" not in folders
    assert "blackholes/artifacts/job.py" in files


def test_training_does_not_depend_on_the_making_of_the_corpus():
    files = closure(SCRIPTS, "train.py")
    assert {"blackholes/training/engine.py", "blackholes/training/tokens.py", "blackholes/kernels/gpt2.py"} <= files
    assert "blackholes/training/corpus.py" not in files


def test_a_stage_does_not_depend_on_the_kernels_of_another():
    def uses(script, *names):
        return closure(SCRIPTS, script) & {f"blackholes/kernels/{name}.py" for name in names}

    assert not uses("black_holes.py", "euclidean", "gpt2")
    assert not uses("distances.py", "duplicates", "euclidean", "gpt2")
    assert "blackholes/kernels/compiled/chebyshev.py" in closure(SCRIPTS, "distances.py")


def rule_lines():
    for file in [ROOT / "Snakefile", *sorted(ROOT.glob("workflow/rules/**/*.smk"))]:
        for found in re.finditer(
            r"^[ \t]*((?:from|import)[ ](?:[^(\n]*\([^)]*\)|.*))$", file.read_text(), re.MULTILINE
        ):
            yield found[1]


def test_rules_import_no_torch():
    lines = list(rule_lines())
    assert any("blackholes" in line for line in lines)
    assert not outside_of(lines) & {"torch", "numba", "transformers"}


def outside_of(lines):
    return {name.split(".")[0] for line in lines for name in imports(line)}


@pytest.mark.parametrize("script", ["figures.py", "train.py"])
def test_the_closure_contains_all_modules_that_python_loads(tmp_path, script):
    lines = [line for line in (SCRIPTS / script).read_text().splitlines() if re.match(r"(from|import) ", line)]
    if script == "figures.py":  # with what the rules import, which is to load no torch either
        lines += [f"import {name}" for name in FIGURES] + [line for line in rule_lines() if "blackholes" in line]
    imported = tmp_path / "imported.py"
    imported.write_text("\n".join([*lines, "import sys", "print(*sys.modules)"]))
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    run = subprocess.run([sys.executable, imported], env=environment, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert ("torch" in loaded) == (script == "train.py")
    files = code.files(imported, PACKAGE)
    ours = [SCRIPTS / name.replace(".", "/") for name in loaded if name.split(".")[0] == "blackholes"]
    assert len(ours) > 5
    for base in ours:
        assert {base.with_suffix(".py"), base / "__init__.py"} & set(files)
