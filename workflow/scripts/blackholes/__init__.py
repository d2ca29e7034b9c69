"""Token Black Holes: the package that every script of the workflow calls, and `blackholes.open`, which reads results.

Nothing is imported here, so `import blackholes` is fast. The version is in `pyproject.toml` alone; an installed package
gives it as `importlib.metadata.version("token-black-holes")`.
"""


def __getattr__(name: str):
    """`blackholes.results.open`, once it is used. A statement that imports it would count for every script's digest."""
    if name != "open":
        raise AttributeError(f"module 'blackholes' has no attribute '{name}'")
    import importlib

    return importlib.import_module("blackholes.results").open
