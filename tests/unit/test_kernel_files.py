"""What kernels may import, and what the machine code of a compiled kernel may depend on."""

import ast
import sys
from importlib import import_module
from pathlib import Path

import pytest
from blackholes import kernels
from blackholes.kernels import compiled

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
