"""The kernels' formulas as compiled loops for tensors on the CPU, one file a kernel.

Arguments are numpy views that the public kernel has checked. Loops release the GIL and start no threads: the caller
splits the work (`backends.in_threads`). There is no fast-math, except where a file says so, so that results equal the
torch formula's to the bit; docs/kernels.md has the table.

`cache=True` keeps machine code in __pycache__ (or in numba's own directory where that is read-only). numba recompiles
a cached function when its own file changes, not when a function it calls from another file does. So the files here
import nothing from each other but this decorator.
"""

from numba import njit

compiled = njit(cache=True, nogil=True, error_model="numpy")
