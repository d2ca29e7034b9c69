"""Kernels: torch tensors in and out, on any device; no files, no configuration, no logging.

docs/kernels.md lists them, with the compiled counterpart of each and how closely the two agree.
"""
