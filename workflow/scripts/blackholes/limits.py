"""Sizes at which the workflow changes what it does."""

LARGE = 1024  # tokens of a vocabulary; above it no (V, V) matrix is made: none is stored, graphs go from the vectors
