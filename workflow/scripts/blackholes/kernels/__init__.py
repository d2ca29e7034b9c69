"""Torch kernels: tensors in, tensors out, any device; no files, no configuration, no logging."""
