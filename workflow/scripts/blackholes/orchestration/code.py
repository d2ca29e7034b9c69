"""Digests of code: a rule's parameter, so that an edited script or module reruns the rules that use it.

Snakemake tracks neither imported modules nor, with the triggers of profiles/default, scripts. The digest is of the
parsed statements without docstrings: comments, formatting and documentation change nothing. Imports no torch.
"""

import ast
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

PARSED = Path(".snakemake/parsed_modules.json")
_parsed_before: dict[str, tuple[str, list[str]]] = {}  # digest of a file's bytes → result of `_parse`
_parsed_now: dict[str, tuple[str, list[str]]] = {}
known: dict[str, dict[str, str]] = {}  # every digest of this process → file → digest of its statements


def digest(script: Path, package: Path, *modules: str) -> str:
    """16 hexadecimal digits of a script, the modules of `package` that it imports, and `modules` it imports by name."""
    statements = {
        file.relative_to(package.parent).as_posix(): _parsed(file, package)[0]
        for file in files(script, package, *modules)
    }
    whole = hashlib.sha256(json.dumps(statements, sort_keys=True).encode()).hexdigest()[:16]
    known[whole] = {name: own[:8] for name, own in statements.items()}
    return whole


def files(script: Path, package: Path, *modules: str) -> list[Path]:
    """A script and every module of `package` that it imports, directly or not, or by name (`modules`), sorted.

    Imports are read from the syntax tree, so nothing is executed, and imports inside functions count too.
    """
    reached, queue = {script}, [script]
    names = list(modules)
    while queue:
        names += _parsed(queue.pop(), package)[1]
        while names:
            for module in _module_files(names.pop(), package):
                if module not in reached:
                    reached.add(module)
                    queue.append(module)
    for name in modules:
        file = package.parent.joinpath(*name.split(".")).with_suffix(".py")
        if file not in reached:
            raise FileNotFoundError(f"{file}: no such module")
    return sorted(reached)


def forget() -> None:
    """Drop what is cached: for a process that edits files."""
    for cached in (_parsed, _module_files):
        cached.cache_clear()
    _parsed_before.clear()
    _parsed_now.clear()


def recall(place: Path = PARSED) -> None:
    """Read what an earlier call parsed (`keep`): files with the same bytes are not parsed again, which saves a second.

    A damaged file is no error: everything is parsed then.
    """
    with suppress(OSError, ValueError, RecursionError, TypeError):
        for key, (statements, names) in dict(json.loads(place.read_bytes())).items():
            if isinstance(statements, str) and all(isinstance(name, str) for name in names):
                _parsed_before[key] = statements, list(names)


def keep(place: Path = PARSED) -> None:
    """Keep what this process has parsed, for the next call in this folder; files that are gone are dropped."""
    if _parsed_now.keys() <= _parsed_before.keys():
        return
    with suppress(OSError):  # a read-only folder
        temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(_parsed_now), encoding="utf-8")
        os.replace(temporary, place)


@cache  # a process reads each file once, however many rules use it
def _parsed(file: Path, package: Path) -> tuple[str, list[str]]:
    """(digest of a file's statements, names of `package` that it imports)."""
    content = file.read_bytes()
    # ast.dump differs between versions of Python
    key = hashlib.sha256(content + f"{package.name} {sys.version_info[:2]}".encode()).hexdigest()
    _parsed_now[key] = _parsed_before.get(key) or _parse(content, file, package)
    return _parsed_now[key]


def _parse(content: bytes, file: Path, package: Path) -> tuple[str, list[str]]:
    tree = ast.parse(content, filename=str(file))
    names: list[str] = []
    for node in _statements(tree.body):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            raise SyntaxError(f"{file}: relative imports are not followed by the code digest")
    _drop_docstrings(tree)
    statements = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return statements, [name for name in names if name.split(".")[0] == package.name]


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All statements, however nested; no expressions, which hold no imports."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(node, part, ()))


def _drop_docstrings(tree: ast.Module) -> None:
    for node in [tree, *_statements(tree.body)]:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(ast.Constant(str())), *rest]:
                    node.body = rest


@cache
def _module_files(name: str, package: Path) -> list[Path]:
    """The files that importing a name runs: of a.b.c those of a, a.b and a.b.c, where they are modules."""
    parts, found = name.split("."), []
    for depth in range(1, len(parts) + 1):
        base = package.parent.joinpath(*parts[:depth])
        found += [file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()]
    return found
