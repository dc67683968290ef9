"""Checks on the parameters of processes, and on what their closed forms are asked for."""

from typing import Any

import numpy as np

from sdekit.inputs import Start, check_domain
from sdekit.sde import Equation, numbers


def asked(process: Equation, x0, *times, spread: bool = False) -> tuple[Any, ...]:
    """(x0, *times) of a closed form: numbers, or arrays that broadcast with each other and with the parameters.

    x0      in the process's domain; of a system a tuple of components, which comes back as one
    times   finite, from 0 on, and not beyond the process's end
    spread  the law has to have one: t > 0, and before the end of a bridge

    Raises TypeError for what is no real number, ValueError outside these bounds.
    """
    system, domain, end = isinstance(x0, tuple), process.domain, getattr(process, "lifetime", np.inf)
    state = tuple(real("x0", v) for v in (x0 if system else (x0,)))
    if domain is not None and (system != (len(domain) > 1) or len(state) != len(domain)):
        wanted = f"a tuple of {len(domain)}" if len(domain) > 1 else "a number or an array"
        raise TypeError(f"x0 of {process!r} must be {wanted}, got {x0!r}")
    check_domain(process, Start(tuple(np.ravel(v) for v in state), 1, not system, tensor=False))
    times = tuple(real("t", t, "; the law that it tends to is stationary()" * hasattr(process, "stationary"))
                  for t in times)
    for t in map(np.asarray, times):
        if (t < 0).any():
            raise ValueError(f"t must be a time from 0 on, got {t[t < 0].flat[0]}")
        if (t > end * (1 + 1e-12)).any():
            raise ValueError(f"{process!r} lives until t = {end:g}, got t={t.max()}")
        if spread and ((t == 0) | (t >= end)).any():
            raise ValueError(f"at t = {t[(t == 0) | (t >= end)].flat[0]:g} the state of {process!r} is known, it has "
                             "no law of scipy.stats; ask for times between")
    shapes = [("x0", np.shape(v)) for v in state] + [("t", np.shape(t)) for t in times]
    shapes += [(k, np.shape(numbers(v))) for k, v in process.parameters.items()]
    try:
        np.broadcast_shapes(*(shape for _, shape in shapes))
    except ValueError:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes if shape)
        raise ValueError(f"x0, times and parameters must broadcast, got {told}; t[:, None] makes a row for each "
                         "time") from None
    return state if system else state[0], *times


def real(name: str, value, advice: str = "") -> Any:
    """A finite real number, or an array of them; TypeError or ValueError for anything else."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a real number or an array of them, got {value!r}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)].flat[0]}{advice}")
    return array.astype(float) if array.ndim else float(array)


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
