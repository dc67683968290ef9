"""Gaussian laws N(m, S) on R^d: maps, conditioning, entropy and information, in closed form.

    p(x) = det(2 pi S)^{-1/2} exp(-(x - m)^T S^{-1} (x - m) / 2)          grad log p(x) = -S^{-1} (x - m)
    A X + b ~ N(A m + b, A S A^T)           X + Y ~ N(m + m', S + S') for independent X and Y
    X_a | X_b = v ~ N(m_a + K (v - m_b), S_aa - K S_ba),  K = S_ab S_bb^{-1}

S may be singular: X = m + B Z then lives on m + range B, B B^T = S. Everything is computed from one such B = D R^{1/2},
D the standard deviations and R the correlations, so that the units of the components do not matter: S is not squared
again, and eigenvalues of R up to 16 d 2^-52, which rounding alone can make, count as nought.

Sources: Bishop 2006, section 2.3; Cover & Thomas 2006, chapters 2 and 8.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sdekit.noise import MAX_PATHS, normals, whole

ROUNDING = 1e-12  # what a covariance that was computed may be off by, in asymmetry and in negative eigenvalues
CACHED = 2**14  # numbers that stay in the cache from one operation to the next
LN_2PI = math.log(2.0 * math.pi)


class Factor(NamedTuple):
    """S = B B^T with B = D R^{1/2}; G is B's pseudo-inverse; log_det is that of S, -inf where it is singular."""

    B: np.ndarray
    G: np.ndarray
    rank: int
    log_det: float


@dataclass(frozen=True, eq=False, init=False)
class Gaussian:
    """N(m, S): the law of m + S^{1/2} Z.

    mean   m, (d,), or a number for each of the d components
    cov    S, (d, d), symmetric and positive semi-definite; or the variances (d,); or one variance for all

    Both are kept as arrays (d,) and (d, d). A X, a X, X + b and the sum of independent X and Y are A @ X, a * X, X + b
    and X + Y. X + X is therefore the sum of two independent draws, of variance 2 S, and not 2 X, of variance 4 S.

    Points x are (d,), or (n, d) for n of them, or (..., d); for d = 1 also a number, or (n,) for n numbers.
    Raises TypeError or ValueError for what is no covariance.

    >>> X = Gaussian([1.0, 2.0], [[2.0, 1.0], [1.0, 2.0]])
    >>> Y = np.array([[1.0, -1.0]]) @ X + 3.0
    >>> Y.mean.round(12), Y.cov.round(12)
    (array([2.]), array([[2.]]))
    """

    mean: np.ndarray
    cov: np.ndarray
    __array_ufunc__ = None  # A @ X and b + X are ours, for arrays too

    def __init__(self, mean: ArrayLike, cov: ArrayLike):
        mean, cov = numbers("mean", mean), numbers("cov", cov)
        if mean.ndim > 1 or cov.ndim > 2 or (cov.ndim == 2 and cov.shape[0] != cov.shape[1]) or 0 in mean.shape:
            raise ValueError(f"mean must be a number or (d,) and cov a number, (d,) or (d, d), got {mean.shape} and "
                             f"{cov.shape}")
        d = len(cov) if cov.ndim else mean.size
        if mean.ndim and len(mean) != d:
            raise ValueError(f"mean has {len(mean)} components and cov has {d}; they must be of the same d")
        if cov.ndim < 2:
            cov = np.diag(np.broadcast_to(cov, d))
        scale = float(np.abs(cov).max())
        asymmetry = float(np.abs(cov - cov.T).max())
        if asymmetry > ROUNDING * scale:
            raise ValueError(f"cov must be symmetric, but S - S^T reaches {asymmetry:.3g}, {asymmetry / scale:.3g} of "
                             "the largest entry; (S + S.T) / 2 is symmetric, if that is what is meant")
        for name, value in (("mean", np.broadcast_to(mean, d).copy()), ("cov", (cov + cov.T) / 2.0)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        _ = self.factor  # which says early whether it is a covariance

    @property
    def d(self) -> int:
        """The number of components."""
        return len(self.mean)

    @property
    def std(self) -> np.ndarray:
        """The standard deviations of the components, (d,)."""
        return np.sqrt(np.maximum(np.diag(self.cov), 0.0))

    @cached_property
    def factor(self) -> Factor:
        """S = B B^T; see the module."""
        unit = self._unit
        values, Q = np.linalg.eigh(self.cov / np.outer(unit, unit))
        if values[0] < -ROUNDING:
            raise ValueError(
                f"cov must be positive semi-definite, but in units of the standard deviations its least eigenvalue is "
                f"{values[0]:.3g} and its largest {values[-1]:.3g} (in cov's own units the least is "
                f"{np.linalg.eigvalsh(self.cov)[0]:.3g}); a component that is certain has variance and covariances 0")
        kept = values > max(rounding(self.d), -values[0])
        root = np.where(kept, np.sqrt(np.abs(values)), 0.0)
        inverse = np.where(kept, 1.0 / np.where(kept, root, 1.0), 0.0)
        rank = int(kept.sum())
        log_det = float(np.log(values).sum() + 2.0 * np.log(unit).sum()) if rank == self.d else -math.inf
        return Factor(unit[:, None] * ((Q * root) @ Q.T), (Q * inverse) @ Q.T / unit, rank, log_det)

    @property
    def _unit(self) -> np.ndarray:
        """The standard deviations; for a component that has none, the largest, or 1."""
        return np.where(self.std > 0.0, self.std, self.std.max() or 1.0)

    # --- maps

    def __rmatmul__(self, A) -> "Gaussian":
        """The law of A X, A (k, d)."""
        A = _map(A, self.d)
        return Gaussian(A @ self.mean, _gram(A @ self.factor.B, np.abs(A) @ self.std))

    def __mul__(self, a) -> "Gaussian":
        """The law of a X, a a number."""
        a = scalar(a)
        return Gaussian(a * self.mean, a**2 * self.cov)

    __rmul__ = __mul__

    def __add__(self, other) -> "Gaussian":
        """The law of X + b, or of X + Y for independent X and Y."""
        if hasattr(other, "responsibilities"):  # a mixture knows how
            return NotImplemented
        if not isinstance(other, Gaussian):
            return Gaussian(self.mean + _shift(other, self.d), self.cov)
        check_same(self, other)
        return Gaussian(self.mean + other.mean, self.cov + other.cov)

    __radd__ = __add__

    def __neg__(self) -> "Gaussian":
        return -1.0 * self

    def __sub__(self, other) -> "Gaussian":
        return self + -1.0 * (other if isinstance(other, Gaussian) else np.asarray(other))

    def __rsub__(self, other) -> "Gaussian":
        return -self + other

    def joint(self, A, noise: "Gaussian") -> "Gaussian":
        """The law of (X, A X + N) on R^{d+k}: a state and its noisy observation.

        A       (k, d), or a number a for a X
        noise   the law of N, independent of X, k components

        >>> x = Gaussian(0.0, 4.0).joint(1.0, Gaussian(0.0, 1.0)).conditional([1], 5.0)     # a measurement says 5
        >>> x.mean.round(12), x.cov.round(12)
        (array([4.]), array([[0.8]]))
        """
        A = _map(A if np.ndim(A) else scalar(A) * np.eye(self.d), self.d)
        check_gaussian(noise)
        if noise.d != len(A):
            raise ValueError(f"A X has {len(A)} components and the noise has {noise.d}; they must be as many")
        B = np.block([[self.factor.B, np.zeros((self.d, noise.d))], [A @ self.factor.B, noise.factor.B]])
        mean = np.concatenate([self.mean, A @ self.mean + noise.mean])
        return Gaussian(mean, _gram(B, np.concatenate([self.std, np.abs(A) @ self.std + noise.std])))

    # --- parts

    def marginal(self, indices) -> "Gaussian":
        """The law of the components X_i, i in `indices` (a number or a sequence), in that order.

        >>> Gaussian([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).marginal([2, 0]).mean
        array([3., 1.])
        """
        b = _indices(indices, self.d)
        return Gaussian(self.mean[b], self.cov[np.ix_(b, b)])

    def conditional(self, indices, values) -> "Gaussian":
        """The law of the other components, in their order, given X_b = v: N(m_a + K (v - m_b), S_aa - K S_ba).

        indices   b, a number or a sequence, not all of them
        values    v, (len(b),), or a number for each

        K = S_ab S_bb^{-1}, or the pseudo-inverse where S_bb is singular. The covariance is computed as that of
        X_a - K X_b, which cannot become negative. Raises ValueError for values that X_b cannot take. Bishop 2006,
        eqs. 2.81 and 2.82.

        >>> X = Gaussian([0.0, 0.0], [[2.0, 2.0], [2.0, 3.0]]).conditional(1, 1.5)   # W(2) given W(3) = 1.5
        >>> X.mean.round(12), X.cov.round(12)
        (array([1.]), array([[0.66666667]]))
        """
        b = _indices(indices, self.d)
        a = np.setdiff1d(np.arange(self.d), b)
        if not len(a):
            raise ValueError(f"all {self.d} components are given, so that none is left; leave one out")
        part, B = self.marginal(b), self.factor.B
        shift = _shift(values, len(b), "values") - part.mean
        if not part.reaches(shift, part.mean):
            raise ValueError(f"X_b = {values} cannot be: the covariance of the components {b.tolist()} is singular, of "
                             f"rank {part.factor.rank}, and these values are off its range; give fewer components, or "
                             "values on m_b + range S_bb")
        K = self.cov[np.ix_(a, b)] @ part.factor.G.T @ part.factor.G
        return Gaussian(self.mean[a] + K @ shift, _gram(B[a] - K @ B[b], self.std[a]))

    def reaches(self, shift: np.ndarray, size: np.ndarray) -> bool:
        """Whether m + shift is on the support, to the square root of rounding; `size` is that of both ends."""
        if self.factor.rank == self.d:
            return True
        off = np.abs(shift - self.factor.B @ (self.factor.G @ shift))
        far = self.std * np.abs(shift / self._unit).max()  # standard deviations, and what of them rounding mixes up
        return bool((off <= math.sqrt(rounding(self.d)) * self.std + rounding(self.d) * (np.abs(size) + far)).all())

    # --- the density

    def logpdf(self, x) -> np.ndarray:
        """log p(x) at points x (..., d), shape (...); ValueError where S is singular, as there is no density.

        >>> round(float(Gaussian(0.0, 1.0).logpdf(0.0)), 6)
        -0.918939
        """
        return -0.5 * (self.mahalanobis(x) ** 2 + self.factor.log_det + self.d * LN_2PI)

    def pdf(self, x) -> np.ndarray:
        """p(x) at points x (..., d), shape (...); ValueError where S is singular.

        >>> round(float(Gaussian([0.0, 0.0], 1.0).pdf([0.0, 0.0])), 6)      # 1 / (2 pi)
        0.159155
        """
        return np.exp(self.logpdf(x))

    def mahalanobis(self, x) -> np.ndarray:
        """|S^{-1/2} (x - m)|, the distance of points x (..., d) from the mean in standard deviations, shape (...).

        >>> Gaussian([0.0, 0.0], [4.0, 1.0]).mahalanobis([[6.0, 0.0], [0.0, 3.0]])
        array([3., 3.])
        """
        return np.linalg.norm((self._points(x) - self.mean) @ self._inverse().T, axis=-1)

    def score(self, x) -> np.ndarray:
        """grad log p(x) = -S^{-1} (x - m) at points x (..., d), of the shape of x; ValueError where S is singular.

        >>> Gaussian([1.0, 0.0], [4.0, 1.0]).score([3.0, 3.0])
        array([-0.5, -3. ])
        """
        G = self._inverse()
        return np.reshape(-(self._points(x) - self.mean) @ G.T @ G, np.shape(x))

    def entropy(self) -> float:
        """H(X) = log det(2 pi e S) / 2 in nats; -inf where S is singular.

        >>> round(Gaussian(0.0, 1.0).entropy(), 6)
        1.418939
        """
        return 0.5 * (self.d * (1.0 + LN_2PI) + self.factor.log_det)

    def cdf(self, x) -> np.ndarray:
        """P(X <= x) in one dimension, at numbers x of any shape; ValueError for d > 1.

        >>> float(Gaussian(2.0, 9.0).cdf(2.0))
        0.5
        """
        from scipy.special import ndtr  # loaded where it is needed: it takes as long as all of sdekit
        mean, std = self._one("cdf")
        return ndtr((np.asarray(x, float) - mean) / std) if std else np.where(np.asarray(x) >= mean, 1.0, 0.0)

    def ppf(self, u) -> np.ndarray:
        """The number x of P(X <= x) = u in one dimension, u in (0, 1) of any shape; so a start of `simulate`.

        >>> round(float(Gaussian(2.0, 9.0).ppf(0.975)), 4)
        7.8799
        """
        from scipy.special import ndtri
        mean, std = self._one("ppf")
        return mean + std * ndtri(u)

    def sample(self, n: int, seed: int, stream: int = 0, first: int = 0) -> np.ndarray:
        """The samples first, ..., first + n - 1 of a seed: x_i = m + B Z(seed, stream, i), (n, d).

        B = D R^{1/2}, D the standard deviations and R the correlations; Z is `sdekit.normals`, path i. Sample i is
        the same, whatever else is drawn. Raises TypeError or ValueError outside the bounds of `normals`.

        >>> X = Gaussian([0.0, 1.0], [[1.0, 0.5], [0.5, 1.0]])
        >>> bool((X.sample(1, seed=7, first=500) == X.sample(1000, seed=7)[500]).all())
        True
        """
        paths: Any = samples(n, first)
        return self.transport(normals(seed, stream, paths, components=self.d)[:, 0])

    def transport(self, z: np.ndarray) -> np.ndarray:
        """m + B z at points z (n, d): samples of this law from those of N(0, I); row i depends on z_i alone."""
        x = np.tile(self.mean, (len(z), 1))
        rows = max(1, CACHED // self.d)
        for n in range(0, len(z), rows):
            for j in range(self.d):  # a matrix product's last bits would depend on how many rows it has
                x[n:n + rows] += z[n:n + rows, j, None] * self.factor.B[:, j]
        return x

    def _points(self, x) -> np.ndarray:
        x = np.asarray(x, float)
        if self.d == 1 and x.ndim < 2:
            x = x[..., None]
        if x.shape[-1:] != (self.d,):
            raise ValueError(f"points of a law on R^{self.d} are (..., {self.d}), got {x.shape}")
        return x

    def _inverse(self) -> np.ndarray:
        if self.factor.rank < self.d:
            raise ValueError(f"cov is singular (rank {self.factor.rank} of {self.d}), so that there is no density; add "
                             f"noise, as in X + Gaussian(0.0, np.full({self.d}, 1e-6)), or take a marginal")
        return self.factor.G

    def _one(self, name: str) -> tuple[float, float]:
        if self.d != 1:
            raise ValueError(f"{name} is for one dimension, and this law has d = {self.d}; take a marginal")
        return float(self.mean[0]), float(self.std[0])


def product(p: Gaussian, q: Gaussian) -> tuple[Gaussian, float]:
    """The product of two densities, p(x) q(x) = Z r(x): the Gaussian r, and log Z.

    r = N(L m + K m', L S L^T + K S' K^T), L = S' (S + S')^{-1}, K = S (S + S')^{-1};  Z = N(m; m', S + S').
    In precisions, S_r^{-1} = S^{-1} + S'^{-1}. Raises ValueError where S + S' is singular. Bishop 2006, eq. 2.116.

    >>> r, log_z = product(Gaussian(0.0, 1.0), Gaussian(4.0, 3.0))
    >>> r.mean.round(12), r.cov.round(12), round(log_z, 6)
    (array([1.]), array([[0.75]]), -3.612086)
    """
    check_same(p, q)
    both = Gaussian(q.mean, p.cov + q.cov)
    G = both._inverse()
    L, K = q.cov @ G.T @ G, p.cov @ G.T @ G
    least = np.minimum(p.std, q.std)
    B = np.hstack([L @ p.factor.B, K @ q.factor.B])
    r = Gaussian(L @ p.mean + K @ q.mean, _gram(B, np.where(least > 0.0, least, np.inf)))
    return r, float(both.logpdf(p.mean[None])[0])


def mutual_information(joint: Gaussian, indices) -> float:
    """I(X; Y) in nats, X the components `indices` of the joint law and Y the others.

    I = H(X) - H(X|Y) = H(Y) - H(Y|X) = H(X) + H(Y) - H(X, Y) = E KL(p(X|Y), p(X)) = -sum_i log(1 - rho_i^2) / 2

    with the canonical correlations rho_i, the singular values of S_x^{-1/2} S_xy S_y^{-1/2}. It is inf where Y fixes a
    part of X that is random. Cover & Thomas 2006, sections 2.4 and 8.5.

    >>> round(mutual_information(Gaussian([0.0, 0.0], [[1.0, 0.6], [0.6, 1.0]]), 0), 6)    # -log(1 - 0.36) / 2
    0.223144
    """
    check_gaussian(joint)
    a = _indices(indices, joint.d)
    b = np.setdiff1d(np.arange(joint.d), a)
    if not len(b):
        raise ValueError(f"indices name all {joint.d} components, so that there is no other part; leave one out")
    x, y = joint.marginal(a), joint.marginal(b)
    rho = np.linalg.svd(x.factor.G @ joint.cov[np.ix_(a, b)] @ y.factor.G.T, compute_uv=False)
    if rho[0] ** 2 >= 1.0 - rounding(joint.d):
        return math.inf
    return float(-0.5 * np.log1p(-(rho**2)).sum())


def rounding(d: int) -> float:
    """What rounding can make of an eigenvalue that is nought, next to 1."""
    return 16.0 * d * float(np.finfo(float).eps)


def _gram(B: np.ndarray, size: np.ndarray) -> np.ndarray:
    """B B^T; a row that is rounding next to `size`, the standard deviations it is a difference of, is nought."""
    nought = np.linalg.norm(B, axis=1) <= math.sqrt(rounding(B.shape[1])) * size
    B = np.where(nought[:, None], 0.0, B)
    return B @ B.T


def numbers(name: str, value) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number or an array of numbers, got {value!r} ({type(value).__name__})")
    array = array.astype(float)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    return array


def _map(A, d: int) -> np.ndarray:
    A = numbers("A", A)
    if A.ndim != 2 or A.shape[1] != d or not len(A):
        raise ValueError(f"a map of a law on R^{d} is a matrix (k, {d}), got {A.shape}; for one row write [[...]]")
    return A


def samples(n: int, first: int) -> range:
    """The samples first, ..., first + n - 1, as paths of the noise."""
    n, first = whole("n", n, MAX_PATHS), whole("first", first, MAX_PATHS)
    return range(first, first + n)


def scalar(a) -> float:
    a = numbers("a", a)
    if a.ndim:
        raise ValueError(f"a law is multiplied by a number, got an array {a.shape}; for a matrix write A @ X")
    return float(a)


def _shift(b, d: int, name: str = "b") -> np.ndarray:
    b = numbers(name, b)
    if b.shape not in ((), (d,)):
        raise ValueError(f"{name} must be a number or ({d},), got {b.shape}")
    return np.broadcast_to(b, d)


def _indices(indices, d: int) -> np.ndarray:
    array = np.atleast_1d(np.asarray(indices))
    if array.dtype.kind not in "iu" or array.ndim > 1 or not array.size:
        raise TypeError(f"indices must be a whole number or a sequence of them, got {indices!r}")
    if array.min() < 0 or array.max() >= d or len(np.unique(array)) < len(array):
        raise ValueError(f"indices must differ and lie between 0 and {d - 1}, got {indices!r}")
    return array


def check_gaussian(law) -> None:
    """Raise TypeError for anything but a `Gaussian`."""
    if isinstance(law, Gaussian):
        return
    if hasattr(law, "components"):
        raise TypeError("this is a formula for Gaussians, and a Mixture has none; average what it is the mean of over "
                        "samples: log p(x) - log q(x) over x = p.sample(...) for KL(p, q)")
    raise TypeError(f"this is a formula for Gaussians, got {type(law).__name__} {law!r}; give Gaussian(mean, cov)")


def check_same(p, q) -> None:
    check_gaussian(p)
    check_gaussian(q)
    if p.d != q.d:
        raise ValueError(f"both laws must have the same number of components, got {p.d} and {q.d}")
