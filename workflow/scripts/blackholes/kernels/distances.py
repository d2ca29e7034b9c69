"""All distances between tokens under one name (docs/definitions.md).

The rows' own code imports chebyshev or euclidean instead, so that an edit of one reruns no stage of the other.
"""

from blackholes.kernels.chebyshev import FLOATS, cell_matrices, chebyshev_matrices
from blackholes.kernels.euclidean import euclidean_blocks, euclidean_matrix

__all__ = ["FLOATS", "cell_matrices", "chebyshev_matrices", "euclidean_blocks", "euclidean_matrix"]
