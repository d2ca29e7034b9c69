"""Sizes beyond which the workflow works differently, or not at all."""

LARGE = 1024  # tokens; for larger vocabularies no (V, V) matrices are stored, and graphs are computed from the vectors
LARGEST_TEXT = 256 * 2**20  # bytes of a text to train on: cleaning and encoding it takes some 15 times its size
