"""pyproject.toml (ranges), requirements.lock (pip) and envs/*.yaml (conda) say the same."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
DEV = [Requirement(text) for text in PROJECT["dependency-groups"]["dev"]]
CONDA = {
    "python-xxhash": "xxhash",
    "pytorch": "torch",
    "matplotlib-base": "matplotlib",
    "snakemake-minimal": "snakemake",
}  # what conda calls them
# Around the scripts, not in them: the workflow system itself, its terminal and report, and the Trainer we compare with.
OUTSIDE = {"snakemake", "snakemake-executor-plugin-slurm", "rich", "pygments", "accelerate"}
COMES_WITH = {
    "pydantic_core": "pydantic",
    "llvmlite": "numba",
    "yaml": "snakemake",
    "PIL": "pillow",
}  # imported module → the dependency that brings it


def lock_lines():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


LOCK = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lock_lines()}


def conda_pins(path):
    environment = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert environment["channels"] in (["conda-forge", "nodefaults"], ["conda-forge", "bioconda", "nodefaults"])
    python, *pins = environment["dependencies"]
    assert re.fullmatch(r"python =3\.\d+", python)
    split = dict(pin.split(" ==") for pin in pins)
    return {canonicalize_name(CONDA.get(name, name)): version for name, version in split.items()}


@pytest.mark.parametrize("line", lock_lines())
def test_the_lock_has_exact_versions_for_any_machine(line):
    name, _, version = line.partition("==")
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    assert str(Version(version)) == version
    assert Version(version).local is None, "a +local version installs on one kind of machine only"
    assert not name.startswith(("nvidia", "triton")), "torch asks for these itself, where it needs them"


def test_the_lock_names_each_package_once():
    assert len(LOCK) == len(lock_lines())


@pytest.mark.parametrize("requirement", RUN + DEV, ids=str)
def test_every_direct_dependency_is_locked_within_its_range(requirement):
    assert LOCK[canonicalize_name(requirement.name)] in requirement.specifier


def hashed():
    """Package → (version, its hashes), of requirements-hashes.lock."""
    text = (ROOT / "requirements-hashes.lock").read_text(encoding="utf-8")
    found = {}
    for block in re.split(r"\n(?=[A-Za-z])", text)[1:]:
        name, version = re.match(r"([\w.-]+)==(\S+)(?: ; .*)? \\\n", block).groups()
        hashes = re.findall(r"^    --hash=sha256:([0-9a-f]{64})(?: \\)?$", block, re.MULTILINE)
        assert len(hashes) == len(block.strip().splitlines()) - 1
        found[canonicalize_name(name)] = version, hashes
    return found


def test_the_lock_with_hashes_has_the_same_versions():
    files = hashed()
    assert {name: version for name, (version, _) in files.items() if name in LOCK} == LOCK
    # what torch of PyPI needs on Linux, setuptools (which pip does not list), and what other systems need
    beside = r"nvidia-.*|cuda-.*|triton|setuptools|colorama|pyreadline3|httpx2-jsfetch"
    assert [name for name in files if name not in LOCK and not re.fullmatch(beside, name)] == []


def test_every_package_has_hashes_of_its_own():
    every = [one for _, hashes in hashed().values() for one in hashes]
    assert len(set(every)) == len(every) > 2500
    assert all(hashes for _, hashes in hashed().values())


def test_torch_is_exact():
    assert {str(r.specifier) for r in RUN if r.name == "torch"} == {"==2.13.0"}


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.name)
def test_conda_pins_are_the_locks(path):
    pins = conda_pins(path)
    assert pins == {name: LOCK[name] for name in pins}


def test_the_environment_has_what_scripts_need():
    direct = {canonicalize_name(requirement.name) for requirement in RUN}
    assert direct - OUTSIDE <= set(conda_pins(ROOT / "envs/blackholes.yaml"))


def test_everything_imported_is_a_direct_dependency():
    imported = set()
    for path in (ROOT / "workflow/scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.partition(".")[0])
    imported -= {*sys.stdlib_module_names, "blackholes"}
    assert {"torch", "numpy"} <= imported, "the search itself works"
    direct = {canonicalize_name(requirement.name) for requirement in RUN}
    assert {canonicalize_name(COMES_WITH.get(name, name)) for name in imported} <= direct


def test_pre_commit_runs_the_locks_versions():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    revisions = {hook["repo"].rpartition("/")[2].removesuffix("-pre-commit"): hook["rev"] for hook in hooks}
    for tool in ("ruff", "snakefmt"):
        assert revisions[tool] == f"v{LOCK[tool]}"


def test_an_installed_package_has_every_module():
    """setuptools leaves out a folder without __init__.py, and type checkers ignore a package without py.typed."""
    package = ROOT / "workflow/scripts/blackholes"
    folders = {path.parent for path in package.rglob("*.py")}
    assert len(folders) > 15
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
    assert (package / "py.typed").is_file()
    data = PROJECT["tool"]["setuptools"]["package-data"]
    assert data == {
        "blackholes": ["py.typed", "__init__.pyi"],
        "blackholes.page": ["*.csv", "templates/*"],
        "blackholes.reproduction": ["*.csv"],
    }


def test_the_version_is_the_same_everywhere():
    version = PROJECT["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    assert f"\n## {version} (" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_two_test_modules_have_one_name():
    """pytest imports them by their names alone."""
    names = [path.name for path in ROOT.glob("tests/*/test_*.py")]
    assert len(names) > 60
    assert len(set(names)) == len(names)
