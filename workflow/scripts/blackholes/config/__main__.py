"""`python -m blackholes.config` prints config/README.md."""

from blackholes.config.reference import markdown

print(markdown(), end="")
