"""Sizes beyond which the workflow works differently."""

LARGE = 1024  # tokens; for larger vocabularies no (V, V) matrices are stored, and graphs are computed from the vectors
