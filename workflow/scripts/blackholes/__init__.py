"""Token Black Holes: the package that every script of the workflow calls. Importing it costs nothing."""
