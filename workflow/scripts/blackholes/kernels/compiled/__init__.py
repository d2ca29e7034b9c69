"""The kernels' formulas as compiled loops for tensors on a CPU, one file a kernel."""
