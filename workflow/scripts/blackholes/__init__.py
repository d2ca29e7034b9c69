"""Token Black Holes: the package that every script of the workflow calls.

Nothing is imported here, so `import blackholes` is fast. The version is in `pyproject.toml` alone; an installed package
gives it as `importlib.metadata.version("token-black-holes")`.
"""
