"""Where a file comes from, in its own metadata: digests of configuration, code and inputs, seed, device, versions.

Nothing here depends on the time, the host or the path, so the same inputs give the same bytes anywhere.
"""

import ast
import hashlib
import json
import platform
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

_PACKAGES = ("torch", "numba", "numpy", "safetensors", "transformers", "matplotlib")


def digest(value) -> str:
    """16 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: str | Path) -> str:
    """16 hexadecimal digits that identify a file's contents.

    A safetensors file with provenance is known by its header: that fixes the rest, and a matrix of gigabytes need not
    be read a second time. So is such an HDF5 file, by its attributes. Of all others every byte counts.
    """
    if Path(path).suffix == ".h5":
        import h5py  # few jobs read such a file

        with suppress(OSError), h5py.File(path) as file:
            facts = {name: str(value) for name, value in file.attrs.items()}
            if "code_digest" in facts:
                return digest([facts, {key: [str(value.dtype), value.shape] for key, value in file.items()}])
    with open(path, "rb") as file:
        if Path(path).suffix == ".safetensors":
            head = file.read(8)
            length = min(int.from_bytes(head, "little"), 100_000_000)  # the format's limit; more is no such file
            header = head + file.read(length)
            if b'"code_digest":' in header:
                return hashlib.sha256(header).hexdigest()[:16]
            file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def code_files(script: Path, package: Path, *modules: str) -> list[Path]:
    """A script and every module of `package` that it imports, however indirectly, or by name (`modules`), sorted.

    Imports are read from the syntax tree, so nothing is executed and imports inside functions count too.
    """
    found, queue = {script}, [script]
    names = list(modules)
    while queue:
        names += _code(queue.pop(), package)[1]
        while names:
            for module in _module_files(names.pop(), package):
                if module not in found:
                    found.add(module)
                    queue.append(module)
    for name in modules:
        file = package.parent.joinpath(*name.split(".")).with_suffix(".py")
        if file not in found:
            raise FileNotFoundError(f"{file}: no such module")
    return sorted(found)


@cache  # a process sees each file once: every job of a workflow asks for the code of all stages
def _code(file: Path, package: Path) -> tuple[str, list[str]]:
    """A file's digest, and the names of `package` that it imports."""
    text, names = file.read_bytes(), []
    for node in _statements(ast.parse(text, filename=str(file)).body):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names += [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            raise SyntaxError(f"{file}: relative imports are not followed by the code digest")
    return hashlib.sha256(text).hexdigest(), [name for name in names if name.split(".")[0] == package.name]


def _statements(body: list[ast.AST]) -> Iterator[ast.AST]:
    """All statements, however nested, without the expressions, where no import can be."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(node, part, ()))


@cache
def _module_files(name: str, package: Path) -> list[Path]:
    """The files that importing a name runs: of a.b.c those of a, a.b and a.b.c, where they are modules."""
    parts, files = name.split("."), []
    for depth in range(1, len(parts) + 1):
        base = package.parent.joinpath(*parts[:depth])
        files += [file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()]
    return files


@cache
def code_digest(script: Path, package: Path, *modules: str) -> str:
    """Digest of the contents of a script, the modules it imports and the `modules` it imports by name."""
    files = code_files(script, package, *modules)
    return digest({file.relative_to(package.parent).as_posix(): _code(file, package)[0] for file in files})


def forget_code() -> None:
    """Read files anew: for a process that edits them."""
    for known in (code_digest, _code, _module_files):
        known.cache_clear()


def describe(params: dict, inputs: dict[str, str], threads: int) -> dict[str, str]:
    """The metadata of a job's outputs: text → text.

    Args:
        params: the rule's parameters; `code` and `upstream` are digests, a seed in `settings` is recorded as such.
            `runs` is left out: the file of a run must not depend on which runs share its job.
        inputs: name → path of every input file.
        threads: threads that the job may use.
    """
    settings = {key: value for key, value in params.items() if key not in ("code", "upstream", "runs")}
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    described = {
        "config_digest": digest(settings),
        "config": json.dumps(settings, sort_keys=True, default=str),
        "code_digest": str(params.get("code", "")),
        "upstream_digest": str(params.get("upstream", "")),
        "input_digests": json.dumps({name: file_digest(path) for name, path in sorted(inputs.items())}),
        "threads": str(threads),
        "versions": json.dumps(versions, sort_keys=True),
    }
    seed = params.get("settings", {}).get("seed")
    if seed is not None:
        described["seed"] = str(seed)
    return described
