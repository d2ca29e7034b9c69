"""Streaming tensor files, atomic writes, provenance and the job that a script runs in."""
