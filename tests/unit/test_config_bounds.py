"""Configurations and overlays that would take memory or time without bound: refused in one short line each.

Every case runs under a limit of memory and of processor time, in one process for all of them.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from blackholes.config import bounds
from blackholes.config import model as config
from blackholes.errors import UserError

ROOT = Path(__file__).parents[2]
MEMORY, SECONDS = 500 * 10**6, 60  # of a case; it should take a small part of both


def nested(levels, wrap, value=1):
    for _ in range(levels):
        value = wrap(value)
    return value


def itself(empty):
    if isinstance(empty, list):
        empty.append(empty)
    else:
        empty["steps"] = empty
    return empty


CONFIGURATIONS = {  # name → (what makes it, the line)
    "a bomb of lists": (
        lambda: {"figures": {"key_steps": nested(9, lambda x: [x] * 10)}},
        "figures.key_steps",
        "has more than 100,000 values",
    ),
    "a bomb of mappings": (
        lambda: {"experiments": nested(9, lambda x: {f"k{i}": x for i in range(10)}, {})},
        "experiments.",
        "has more than 100,000 values",
    ),
    "a list in itself": (
        lambda: {"snowballs": {"trained": {"sigma": itself([])}}},
        "snowballs.trained.sigma[0][0]",
        "nested deeper than 32 levels, or contains itself",
    ),
    "a mapping in itself": (
        lambda: {"experiments": {"qwen": itself({})}},
        "experiments.qwen.steps.steps",
        "nested deeper than 32 levels, or contains itself",
    ),
    "100,000 digits": (
        lambda: {"experiments": {"qwen": {"steps": 1 << 332_193}}},
        "experiments.qwen.steps: a whole number of 332,194 bits; expected at most 64",
        "",
    ),
    "16 million characters": (
        lambda: {"experiments": {"qwen": {"steps": "9" * 16_000_000}}},
        "experiments.qwen.steps: text of 16,000,000 characters; expected at most 4,000",
        "",
    ),
    "900,000 σ": (
        lambda: {"snowballs": {"trained": {"sigma": [0.5] * 900_000}}},
        "snowballs.trained.sigma: a list of 900,000 values; expected at most 10,000",
        "",
    ),
    "ten million σ in ranges": (
        lambda: {"snowballs": {"trained": {"sigma": [{"from": 1, "to": 2, "num": 1000}] * 10_000}}},
        "snowballs.trained.sigma: [",
        "at most 10,000 σ in all",
    ),
    "5,000 lists deep": (
        lambda: {"experiments": nested(5000, lambda x: [x])},
        "experiments[0][0][0]",
        "nested deeper than 32 levels",
    ),
    "5,000 mappings deep": (
        lambda: nested(5000, lambda x: {"a": x}),
        "a.a.a.a",
        "nested deeper than 32 levels",
    ),
    "100,000 experiments": (
        lambda: {"experiments": {f"k{i}": {} for i in range(100_000)}},
        "experiments: 100,000 keys; expected at most 1,000",
        "",
    ),
    "a long name": (
        lambda: {"experiments": {300 * "a": {}}},
        f"experiments: a name of 300 characters, {20 * 'a'}…; expected at most 100",
        "",
    ),
    "a long key": (
        lambda: {300 * "a": 1},
        f"configuration: a name of 300 characters, {20 * 'a'}…; expected at most 100",
        "",
    ),
    "a long corpus": (lambda: {"corpus": {"name": 101 * "a"}}, "corpus.name: 'aaa", "100 at most"),
}


def run_all():
    """Print every refusal; MemoryError or SIGXCPU where a case is not bounded."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for name, (make, *_) in CONFIGURATIONS.items():
        made = make()
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + SECONDS,) * 2)
        try:
            config.load(made)
        except UserError as error:
            print(name, repr(str(error)), sep="\t", flush=True)


@pytest.fixture(scope="module")
def refusals():
    code = "from unit import test_config_bounds; test_config_bounds.run_all()"
    path = f"{ROOT / 'tests'}:{ROOT / 'workflow/scripts'}"
    environment = os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-2000:])
    return dict(line.split("\t") for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_without_bounds(refusals, name):
    _, start, part = CONFIGURATIONS[name]
    said = refusals[name][1:-1]
    assert said.startswith(start)
    assert part in said
    assert "\\n" not in said
    assert len(said) < 500


def test_of_many_problems_the_first_are_told():
    with pytest.raises(UserError) as caught:
        config.load({"experiments": {"qwen": {f"k{i}": 1 for i in range(900)}}})
    lines = str(caught.value).split("\n")
    assert len(lines) == config.SHOWN + 1
    assert lines[0].startswith("experiments.qwen.k0: unknown key")
    assert lines[-1] == "and 870 problems more"


def test_a_text_file_with_a_long_name_gives_a_corpus_of_a_shorter_one():
    assert config.load({"corpus": {"source": "file", "path": 200 * "a" + ".txt"}}).corpus.name == 80 * "a"


# --- paths

PATHS = {  # key → (a configuration with a path there, whether Snakemake looks at that file itself)
    "corpus.path": (lambda path: {"corpus": {"source": "file", "path": path}}, False),
    "corpus.tokenizer_text": (
        lambda path: {"corpus": {"vocabulary": "bpe", "vocabulary_size": 300, "tokenizer_text": path}},
        False,
    ),
    "checkpoints.trained.path": (lambda path: {"checkpoints": {"trained": {"path": path}}}, True),
    "checkpoints.trained.tokenizer": (lambda path: {"checkpoints": {"trained": {"tokenizer": path}}}, True),
    "lattice.qwen.path": (lambda path: {"lattice": {"qwen": {"path": path}}}, True),
    "lattice.qwen.dead_mask": (lambda path: {"lattice": {"qwen": {"path": "a", "dead_mask": path}}}, True),
    "snowballs.trained.centroid": (
        lambda path: {"snowballs": {"trained": {"centroid": path, "n_tokens": 3, "sigma": 1, "epsilon": 1}}},
        False,
    ),
}


@pytest.mark.parametrize("key", PATHS)
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/" + 300 * "b" + ".safetensors", "a path whose parts have at most 255 bytes each"),
        ("a/" + 128 * "é" + ".safetensors", "a path whose parts have at most 255 bytes each"),
        ("a\0.safetensors", "a path without control characters"),
        ("a\x1b[2J.safetensors", "a path without control characters"),
        ("a{b}.safetensors", "a path without braces, which Snakemake takes for wildcards"),
    ],
    ids=["long", "long in UTF-8", "zero", "escape", "braces"],
)
def test_paths_that_no_file_has(key, path, expected):
    make, snakemakes = PATHS[key]
    if "braces" in expected and not snakemakes:
        assert config.load(make(path))
        return
    with pytest.raises(UserError) as caught:
        config.load(make(path))
    assert str(caught.value).startswith(f"{key}: '")
    assert str(caught.value).endswith(f" is not allowed; expected {expected}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


# --- files that Snakemake has not read yet

FILES = {
    "a bomb": (
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{n}: &{n} [{','.join([f'*{m}'] * 10)}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True)),
        "line 6: more than 100,000 values, aliases counted as often as they are used",
    ),
    "a list in itself": ("a: &a [1, *a]\n", "line 1: *a contains itself"),
    "a mapping in itself": ("a: &a\n  b: *a\n", "line 2: *a contains itself"),
    "deep": ("a: " + "[" * 5000 + "]" * 5000, "line 1: nested deeper than 32 levels"),
    "deep JSON": ('{"a":' * 5000 + "1" + "}" * 5000, "line 1: nested deeper than 32 levels"),
    "digits": ("steps: " + "9" * 100_000, "line 1: text of 100,000 characters; expected at most 4,000"),
    "code": ("\n__use_yte__: true\n?import os: 1\n", "line 2: __use_yte__: the file holds Python code, which"),
    "no YAML": ("a:\n  b: [", "line 2: no YAML: "),
    "a key twice": ("a: 1\nb: {c: 2}\n# c: 3\nb: 4\n", "line 4: b: given twice, first in line 2"),
    "a key twice, inside": ("b: {c: [c, c], d: {c: 1}, c: 2}\n", "line 1: c: given twice, first in line 1"),
    "a key twice, in JSON": ('{\n\t"a": 1,\n\t"a": 2\n}', "line 3: a: given twice, first in line 2"),
    "a tab": ("a:\n  b: 1\n\tc: 2\n", "line 3: a tab at the start of the line; expected spaces"),
    "a tab first": ("a:\n\tb: 1\n", "line 2: a tab at the start of the line; expected spaces"),
    "empty": ("", "line 1: is empty; expected keys of the configuration"),
    "comments": ("# a\n\n# b: 1\n", "line 1: is empty; expected keys of the configuration"),
    "text": ("# a\nb\n", "line 2: no key with a value; expected keys of the configuration"),
    "a list": ("- a: 1\n", "line 1: no key with a value; expected keys of the configuration"),
    "no UTF-8": (b"a: \xff", "no YAML: "),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_snakemake_should_not_read(tmp_path, name):
    content, line = FILES[name]
    path = tmp_path / "overlay.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        bounds.check_file(path)
    assert str(caught.value).startswith(f"{path}: {line}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "content", ["a: {b: 1}\nc: {b: 1}\n", "a: [{b: 1}, {b: 1}]\n", '{\n\t"a": [1, 1],\n\t"b": "a"}', "a: 1\t# tab\n"]
)
def test_a_file_that_is_as_it_should_be(tmp_path, content):
    path = tmp_path / "overlay.yaml"
    path.write_text(content, encoding="utf-8")
    bounds.check_file(path)


def test_files_that_never_end_and_large_ones(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, line in ((tmp_path / "pipe", "is no regular file but a FIFO"), (tmp_path / "none", "no such file")):
        with pytest.raises(UserError) as caught:
            bounds.check_file(path)
        assert str(caught.value) == f"{path}: {line}"
    with open(tmp_path / "large.yaml", "wb") as file:
        file.truncate(2**20 + 1)
    with pytest.raises(UserError, match=r"large\.yaml: is 1\.0 MiB; expected at most 1\.0 MiB"):
        bounds.check_file(tmp_path / "large.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_overlays_of_ours_pass(path):
    bounds.check_file(path)


def test_the_command(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a [*a]\n")
    command = [sys.executable, "-m", "blackholes.config", "--check"]
    where = ROOT / "workflow/scripts"
    good = subprocess.run([*command, ROOT / "config/quick.yaml"], cwd=where, capture_output=True, text=True)
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
    bad = subprocess.run([*command, tmp_path / "a.yaml"], cwd=where, capture_output=True, text=True)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr == f"error: {tmp_path}/a.yaml: line 1: *a contains itself\n"
