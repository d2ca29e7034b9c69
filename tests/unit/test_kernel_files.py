"""What kernels may import, and what the machine code of a compiled kernel may depend on."""

import ast
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
from blackholes import kernels
from blackholes.kernels import compiled

TESTS = Path(__file__).parent
TABLE = (TESTS.parents[1] / "docs" / "kernels.md").read_text().split("\n## ")[0]
HELPERS = {"backends", "checks", "device", "distances"}
FOLDER, COMPILED = Path(kernels.__file__).parent, Path(compiled.__file__).parent


def imports(path):
    """Dotted names of everything of ours that a file imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name for name in names if name.split(".")[0] == "blackholes"}


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_kernels_import_nothing_of_ours_but_kernels_and_errors(path):
    assert {".".join(name.split(".")[:2]) for name in imports(path)} <= {"blackholes.kernels", "blackholes.errors"}


@pytest.mark.parametrize("path", sorted(COMPILED.glob("[!_]*.py")), ids=lambda path: path.name)
def test_compiled_files_share_no_compiled_code(path):
    """numba's cache would not notice an edit of a function in another file."""
    assert imports(path) == {"blackholes.kernels.compiled.compiled"}


def test_numba_is_not_optional(monkeypatch):
    """Without it the import fails, where it used to fall back to torch in silence."""
    for name in [name for name in sys.modules if name.startswith("blackholes.kernels.compiled")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match="numba"):
        import_module("blackholes.kernels.compiled.chebyshev")


def functions(path):
    """Names of the public functions that a file defines."""
    return [n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef) and n.name[0] != "_"]


def test_the_table_has_every_kernel():
    kernels_ = [path for path in FOLDER.glob("[!_]*.py") if path.stem not in HELPERS]
    public = {f"{path.stem}.{name}" for path in kernels_ for name in functions(path)}
    shared = {"components.inclusive_limit", "components.named_statistics", "components.counted", "gpt2.layer_count"}
    listed = set(
        re.findall(r"`(\w+\.\w+)`", "".join(row.split(" | ")[0] for row in TABLE.splitlines() if row[:1] == "|"))
    )
    assert listed == public - shared


def test_the_table_names_tests_that_exist():
    named = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", TABLE)
    assert len(named) > 20
    for file, name in named:
        assert not name or name in functions(TESTS / file), f"{file}::{name}"


def test_the_table_names_every_compiled_file():
    assert {path.name for path in COMPILED.glob("[!_]*.py")} == set(re.findall(r"` \| `(\w+\.py)` \|", TABLE))
