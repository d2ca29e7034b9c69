"""What is computed from histories and checkpoints, with the kernels."""
