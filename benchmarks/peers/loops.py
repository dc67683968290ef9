"""The works of the table as loops over steps in NumPy, vectorised over paths; the current state is kept alone."""

import numpy as np

STEPS, HESTON_STEPS = 500, 250


def gbm(paths: int) -> np.ndarray:
    """dS = 0.05 S dt + 0.2 S dW, S(0) = 100: S(1), (paths,)."""
    random, x, h = np.random.default_rng(0), np.full(paths, 100.0), 1 / STEPS
    for _ in range(STEPS):
        x += 0.05 * x * h + 0.2 * x * np.sqrt(h) * random.standard_normal(paths)
    return x


def gbm_stored(paths: int) -> np.ndarray:
    """The same as courses write it: every state in an array, (steps + 1, paths)."""
    np.random.seed(0)  # noqa: NPY002
    h = 1 / STEPS
    x = np.zeros((STEPS + 1, paths))
    x[0] = 100.0
    for n in range(STEPS):
        dw = np.random.normal(0.0, np.sqrt(h), paths)  # noqa: NPY002
        x[n + 1] = x[n] + 0.05 * x[n] * h + 0.2 * x[n] * dw
    return x


def wave(paths: int) -> np.ndarray:
    """dX = -p^2 sin X cos^3 X dt + p cos^2 X dW, p = 0.1, X(0) = 1: X(1), (paths,)."""
    random, x, h, p = np.random.default_rng(0), np.full(paths, 1.0), 1 / STEPS, 0.1
    for _ in range(STEPS):
        c = np.cos(x)
        x += -p**2 * np.sin(x) * c * c * c * h + p * c * c * np.sqrt(h) * random.standard_normal(paths)
    return x


def heston(paths: int) -> tuple[np.ndarray, np.ndarray]:
    """Heston's stock and variance, full truncation (Lord et al. 2010): S(1) and v(1), (paths,) each.

    dS = 0.05 S dt + sqrt(v) S dW, dv = 2 (0.04 - v) dt + 0.3 sqrt(v) dB, dW dB = -0.7 dt, S(0) = 100, v(0) = 0.04.
    """
    random, h, rho = np.random.default_rng(0), 1 / HESTON_STEPS, -0.7
    s, v = np.full(paths, 100.0), np.full(paths, 0.04)
    for _ in range(HESTON_STEPS):
        dw, db = np.sqrt(h) * random.standard_normal((2, paths))
        u = np.maximum(v, 0.0)
        vol = np.sqrt(u)
        s += 0.05 * s * h + vol * s * dw
        v += 2.0 * (0.04 - u) * h + 0.3 * vol * (rho * dw + np.sqrt(1 - rho**2) * db)
    return s, v
