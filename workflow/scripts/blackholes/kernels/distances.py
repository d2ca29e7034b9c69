"""Distances between tokens, all measures by one name (DESIGN section 7).

Analyses import the module that they need, so that an edit of one measure reruns no stage of another.
"""

from blackholes.kernels.chebyshev import FLOATS, cell_matrices, chebyshev_matrices
from blackholes.kernels.euclidean import euclidean_blocks, euclidean_matrix

__all__ = ["FLOATS", "cell_matrices", "chebyshev_matrices", "euclidean_blocks", "euclidean_matrix"]
