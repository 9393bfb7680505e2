"""The largest eigenvalue of a matrix that is only known by its products with vectors, by SciPy's ARPACK.

The matrix is real. If it is symmetric, the norm of the residual Mv - λv of a unit vector v bounds the distance from λ
to an eigenvalue.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs, eigsh

from ammup.arrays import Array
from ammup.errors import InputError

Product = Callable[[Array], Array]
# The number of Lanczos vectors, which bounds the products between two checks of the convergence. For three nets of the
# paper's families at tolerance 0.01, 5 to 8 vectors needed 19 to 27 products, and 20 vectors needed 49.
LANCZOS_VECTORS = 8
RESTARTS = 100  # the largest number of restarts, of at most LANCZOS_VECTORS products each
# Smaller matrices are computed column by column, because ARPACK needs more rows than eigenvalues.
SMALLEST = 4


@dataclass(frozen=True, kw_only=True)
class Eigenpair:
    """An eigenvalue, its unit eigenvector, and the norm of the residual."""

    value: float
    vector: Array
    residual: float


def largest_eigenpair(product: Product, start: Array, *, tolerance: float, symmetric: bool = True) -> Eigenpair:
    """The eigenvalue with the largest real part.

    Args:
        product: the matrix times a vector.
        start: the first vector of the iteration, not orthogonal to the eigenvector; a random one is suitable.
        tolerance: the iteration stops when the residual is below this fraction of the eigenvalue.
        symmetric: whether the matrix is symmetric.

    Raises:
        InputError: the matrix is zero or not finite, or the iteration does not converge.
    """

    def checked(vector: Array) -> Array:
        result = product(vector)
        if not np.isfinite(result).all():
            raise InputError("the curvature is not finite; check the weights and the inputs, or use float64")
        return result

    first = checked(start)
    if not first.any():
        raise InputError(
            "the curvature matrix is zero, because the loss does not depend on the trainable weights to second order; "
            "if all gradients are zero at these weights, measure after a few training steps"
        )
    size = len(start)
    if size < SMALLEST:
        vector = _of_small_matrix(np.stack([checked(column) for column in np.eye(size)], axis=1))
    else:
        vector = _by_arpack(LinearOperator((size, size), matvec=checked, dtype=np.float64), first, tolerance, symmetric)
    vector = vector / np.linalg.norm(vector)
    image = checked(vector)
    value = float(vector @ image)
    return Eigenpair(value=value, vector=vector, residual=float(np.linalg.norm(image - value * vector)))


def _by_arpack(operator: LinearOperator, start: Array, tolerance: float, symmetric: bool) -> Array:
    solve, which = (eigsh, "LA") if symmetric else (eigs, "LR")
    vectors = min(operator.shape[0], LANCZOS_VECTORS)
    try:
        _, found = solve(operator, k=1, which=which, v0=start, tol=tolerance, ncv=vectors, maxiter=RESTARTS)
    except ArpackNoConvergence as error:
        raise InputError(
            f"the largest eigenvalue did not converge to tolerance={tolerance:.1g} in {RESTARTS} restarts; increase "
            "tolerance"
        ) from error
    return np.asarray(found[:, 0].real)


def _of_small_matrix(matrix: Array) -> Array:
    values, vectors = np.linalg.eig(matrix)
    return np.asarray(vectors[:, int(np.argmax(values.real))].real)
