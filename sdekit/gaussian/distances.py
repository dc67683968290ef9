"""Distances of two Gaussian laws: Kullback-Leibler, total variation, Hellinger, 2-Wasserstein.

All but the last do not change under an invertible affine map of both laws, and one such map takes q to N(0, I) and p to
N(mu, diag s^2) (`_canonical`). Laws on different supports have nothing in common.

Sources: Kullback 1959; Pardo 2006; Bhatia, Jain & Lim 2019.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sdekit.gaussian.law import Gaussian, check_same, rounding


@dataclass(frozen=True)
class TotalVariation:
    """sup_A |P(A) - Q(A)|: its value, how it was had, and between what it lies.

    kind    "exact": a closed form, lower = value = upper
            "numerical": a quadrature, lower and upper its own error to either side
            "bound": the quadrature failed; value is the middle of lower and upper, which are Hellinger's
    """

    value: float
    kind: Literal["exact", "numerical", "bound"]
    lower: float
    upper: float

    def __float__(self) -> float:
        return self.value


def kl(p: Gaussian, q: Gaussian) -> float:
    """KL(p, q) = E_p log(p / q) in nats; inf where the supports differ.

    KL = (|S'^{-1/2} (m - m')|^2 + tr(S'^{-1} S) - d + log det S' / det S) / 2, p = N(m, S), q = N(m', S')
       = sum_i (mu_i^2 + s_i^2 - 1 - log s_i^2) / 2

    Of singular laws on the same support, it is that of their densities there. Kullback 1959, chapter 9, eq. 1.4.

    >>> round(kl(Gaussian(1.0, 1.0), Gaussian(0.0, 1.0)), 6), kl(Gaussian(0.0, 1.0), Gaussian(0.0, 0.0))
    (0.5, inf)
    """
    pair = _canonical(p, q)
    if pair is None:
        return math.inf
    mu, s = pair
    excess = (s - 1.0) * (s + 1.0)
    with np.errstate(divide="ignore"):  # near 1 the one, far from it the other has its digits
        logs = np.where(np.abs(excess) < 0.5, np.log1p(np.maximum(excess, -0.5)), 2.0 * np.log(s))
    return float(0.5 * (mu**2 + np.maximum(excess - logs, 0.0)).sum())


def hellinger(p: Gaussian, q: Gaussian) -> float:
    """H(p, q) = (1 - int sqrt(p q))^{1/2}, a metric between 0 and 1; 1 where the supports differ.

    int sqrt(p q) = prod_i (2 s_i / (1 + s_i^2))^{1/2} exp(-mu_i^2 / (4 (1 + s_i^2))). Pardo 2006, section 1.3.

    >>> round(hellinger(Gaussian(2.0, 1.0), Gaussian(0.0, 1.0)) ** 2, 6)     # 1 - e^{-1/2}
    0.393469
    """
    pair = _canonical(p, q)
    return 1.0 if pair is None else math.sqrt(-math.expm1(_log_affinity(*pair)))


def wasserstein(p: Gaussian, q: Gaussian) -> float:
    """W_2(p, q) = min (E |X - Y|^2)^{1/2} over all joint laws of X ~ p and Y ~ q, in the units of X.

    W_2^2 = |m - m'|^2 + tr(S + S' - 2 (S S')^{1/2}) = |m - m'|^2 + min_O |B - B' O|^2, O orthogonal

    Its square is the Frechet distance of the FID. The second form, a Procrustes problem, loses no digits where the laws
    are close, nor needs S to be invertible. Dowson & Landau 1982; Bhatia, Jain & Lim 2019, theorem 1.

    >>> round(wasserstein(Gaussian([0.0, 3.0], [4.0, 1.0]), Gaussian([0.0, 0.0], [0.0, 25.0])) ** 2, 6)  # 9 + 4 + 16
    29.0
    """
    check_same(p, q)
    U, _, V = np.linalg.svd(q.factor.B.T @ p.factor.B)
    return float(np.hypot(np.linalg.norm(p.mean - q.mean), np.linalg.norm(p.factor.B - q.factor.B @ U @ V)))


def total_variation(p: Gaussian, q: Gaussian) -> TotalVariation:
    """TV(p, q) = sup_A |P(A) - Q(A)| = (1/2) int |p - q| = 1 - int min(p, q); 1 where the supports differ.

    | the pair      | TV                                                                | kind      |
    | ------------- | ----------------------------------------------------------------- | --------- |
    | S = S', any d | 2 Phi(|S^{-1/2} (m - m')| / 2) - 1                                | exact     |
    | one dimension | |P - Q| of the interval between the points where p = q            | exact     |
    | any other     | 1 - (1 / 2 pi i) int M(z) / (z (1 - z)) dz along z = 1/2 + i u    | numerical |

    M(z) = int p^z q^{1-z} is closed for Gaussians, and min(1, r) = (1 / 2 pi i) int r^z / (z (1 - z)) dz is Mellin's
    inversion: one contour integral in every dimension, by the trapezoidal rule. `float(...)` gives the value alone.

    >>> total_variation(Gaussian([1.0, 1.0], 0.5), Gaussian([0.0, 0.0], 0.5)).kind
    'exact'
    >>> round(float(total_variation(Gaussian([1.0, 0.0], [1.0, 4.0]), Gaussian([0.0, 0.0], 1.0))), 9)
    0.488680622
    """
    pair = _canonical(p, q)
    if pair is None:
        return TotalVariation(1.0, "exact", 1.0, 1.0)
    mu, s = pair
    if len(s) == 1 or (s == 1.0).all():
        value = _equal_scales(mu) if (s == 1.0).all() else _one_dimension(float(mu[0]), float(s[0]))
        return TotalVariation(value, "exact", value, value)

    # Le Cam 1986: 1 - A <= TV <= (1 - A^2)^{1/2} with the affinity A = 1 - H^2
    log_affinity = _log_affinity(mu, s)
    least, most = -math.expm1(log_affinity), math.sqrt(-math.expm1(2.0 * log_affinity))
    value, error = min((_contour(mu, s, tilt) for tilt in (0.0, 0.5, -0.5)), key=lambda result: result[1])
    if error > 1e-6:
        return TotalVariation((least + most) / 2.0, "bound", least, most)
    lower, upper = max(value - error, least), min(value + error, most)
    return TotalVariation(min(max(value, lower), upper), "numerical", lower, upper)


def _equal_scales(mu: np.ndarray) -> float:
    return math.erf(float(np.linalg.norm(mu)) / math.sqrt(8.0))


def _one_dimension(mu: float, s: float) -> float:
    """TV of N(mu, s^2) and N(0, 1), which cross where (s^2 - 1) x^2 + 2 mu x - mu^2 - 2 s^2 log s = 0."""
    from scipy.special import ndtr
    a, c = (s - 1.0) * (s + 1.0), -(mu**2) - 2.0 * s**2 * math.log(s)
    r = -(mu + math.copysign(s * math.sqrt(mu**2 + 2.0 * a * math.log(s)), mu))  # of the sign that does not cancel
    x = np.array([r / a, c / r])
    p, q = ndtr((x - mu) / s), ndtr(x)
    return float(abs((p[1] - p[0]) - (q[1] - q[0])))


def _contour(mu: np.ndarray, s: np.ndarray, tilt: float) -> tuple[float, float]:
    """1 - (1 / pi) int_0^inf Im(M(z) z' / (z (1 - z))) dt on z = 1/2 + tilt (cosh t - 1)/2 + i sinh(t)/2; its error.

    M decays as a power of |z| at worst, and a factor e^{-kappa z} makes it oscillate: with the right tilt that decays
    too. The error is the difference of the steps h and 2h, and what rounding and the end at t = 42 leave.
    """
    t = np.arange(0.0, 42.0, 1.0 / 16.0)
    z = 0.5 + 0.5 * tilt * (np.cosh(t) - 1.0) + 0.5j * np.sinh(t)
    dz = 0.5 * tilt * np.sinh(t) + 0.5j * np.cosh(t)
    log_m = np.zeros(len(t), complex)
    for mu_i, s_i in zip(mu, s):
        w = s_i**2 + z * ((1.0 - s_i) * (1.0 + s_i))
        log_m += (1.0 - z) * math.log(s_i) - 0.5 * np.log(w) - 0.5 * z * (1.0 - z) * mu_i**2 / w
    with np.errstate(over="ignore", invalid="ignore"):  # a tilt to the wrong side
        f = np.exp(log_m) * dz / (z * (1.0 - z)) / math.pi
    if not np.isfinite(f).all():
        return 0.0, math.inf
    f[0] *= 0.5
    fine, coarse = f.imag.sum() / 16.0, f.imag[::2].sum() / 8.0
    return float(1.0 - fine), float(abs(fine - coarse) + 64.0 * np.finfo(float).eps * (1.0 + np.abs(f).sum() / 16.0))


def _canonical(p: Gaussian, q: Gaussian) -> tuple[np.ndarray, np.ndarray] | None:
    """(mu, s), each (rank,): what p is where q is N(0, I), p = N(mu, diag s^2); None where their supports differ."""
    check_same(p, q)
    (B, _, rank, _), G = p.factor, q.factor.G
    size = np.abs(p.mean) + np.abs(q.mean)
    if rank != q.factor.rank or not q.reaches(p.mean - q.mean, size):
        return None
    if rank < p.d:
        off = np.linalg.norm(B - q.factor.B @ (G @ B), axis=1)
        if (off > math.sqrt(rounding(p.d)) * np.maximum(p.std, q.std)).any():
            return None
    U, s, _ = np.linalg.svd(G @ B)
    mu = U.T @ (G @ (p.mean - q.mean))
    if np.array_equal(p.cov, q.cov):
        s = np.ones(p.d)
    return mu[:rank], s[:rank]


def _log_affinity(mu: np.ndarray, s: np.ndarray) -> float:
    """log int sqrt(p q), where 2 s / (1 + s^2) = 1 - (1 - s)^2 / (1 + s^2)."""
    return float((0.5 * np.log1p(-((1.0 - s) ** 2) / (1.0 + s**2)) - 0.25 * mu**2 / (1.0 + s**2)).sum())
