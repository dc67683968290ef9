"""Checks on the parameters of processes."""

import numpy as np

from sdekit.sde import Equation, numbers


def positive(process: Equation, *names: str) -> None:
    """Raise ValueError unless these parameters are > 0."""
    for name in names:
        value = process.parameters[name]
        if np.min(numbers(value)) <= 0:
            raise ValueError(f"{type(process).__name__} needs {name} > 0, got {value}")


def not_negative(process: Equation, *names: str) -> None:
    """Raise ValueError unless these parameters are >= 0."""
    for name in names:
        value = process.parameters[name]
        if np.min(numbers(value)) < 0:
            raise ValueError(f"{type(process).__name__} needs {name} >= 0, got {value}")


def correlations(matrix) -> tuple[np.ndarray, np.ndarray]:
    """A correlation matrix and L, lower triangular, with L L^T = it; ValueError for what is none.

    Singular ones are allowed: where a column has nothing left to explain, it is nought.

    >>> correlations([[1.0, 0.6], [0.6, 1.0]])[1]
    array([[1. , 0. ],
           [0.6, 0.8]])
    """
    R = np.array(matrix, float)
    if R.ndim != 2 or len(R) != len(R.T) or not np.isfinite(R).all():
        raise ValueError(f"a correlation matrix is square, its entries finite; got shape {R.shape}")
    if np.abs(R - R.T).max() > 1e-12:
        i, j = divmod(int(np.abs(R - R.T).argmax()), len(R))
        raise ValueError(f"a correlation matrix is symmetric, but [{i}][{j}] = {R[i, j]:g} and "
                         f"[{j}][{i}] = {R[j, i]:g}")
    if np.abs(np.diag(R) - 1.0).max() > 1e-12 or np.abs(R).max() > 1.0 + 1e-12:
        raise ValueError(f"a correlation matrix has 1 on its diagonal and entries from -1 to 1, got {R.tolist()}")
    least = float(np.linalg.eigvalsh(R)[0])
    if least < -1e-10 * len(R):
        raise ValueError(f"a correlation matrix is positive semi-definite, but this one has the eigenvalue "
                         f"{least:.3g}; no assets have such correlations")
    L = np.zeros_like(R)
    for j in range(len(R)):
        left = R[j:, j] - L[j:, :j] @ L[j, :j]
        if left[0] > 1e-14:
            L[j:, j] = left / left[0] ** 0.5
    return R, L
