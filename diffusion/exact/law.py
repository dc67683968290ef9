"""What every denoiser in closed form answers about x = alpha x_0 + sigma eps, for a law of x_0 that is known:

    D(x) = E[x_0 | x],    C(x) = Cov[x_0 | x] = (sigma^2 / alpha) dD/dx,    grad log p(x) = (alpha D - x) / sigma^2,

log p(x) itself, p(class | x), and exact samples (Efron 2011, eqs. 1.4 and 2.8). alpha and sigma say all: any process
will do. With a factor c > 0, D(c x, c alpha, c sigma) = D(x, alpha, sigma); p(c x, c alpha, c sigma) c^d = p(x, ...).
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

import sdekit as sk
from diffusion.denoiser import column
from sdekit.noise import MAX_PATHS, whole

STREAM = 0xDA7A  # of the noise that exact samples are made of
CHUNK = 2**20  # elements that are drawn at a time: beside the result little memory is taken, and Ctrl-C is heard


class Law(ABC):
    """A law of x_0 that tells its denoiser, density and samples at every noise level.

    shape     of one sample; None where it is that of whatever x is asked about
    center    E x_0, of that shape, or a number
    spread    the root mean square of x_0 - center over all elements
    classes   how many, or None
    prior     p(class), (classes,)

    x is (batch, *shape), alpha and sigma are numbers or (batch,), at least 0 and not both 0; where x_0 has no
    density, sigma > 0. condition is a class from 0 to classes - 1, one or (batch,); the number `classes`, and None,
    stand for any. All is computed in float64 and given in the type of x. Raises TypeError or ValueError for other
    arguments.
    """

    shape: tuple[int, ...] | None
    center: Tensor | float
    spread: float
    classes: int | None = None
    prior: Tensor | None = None
    dense: bool  # x_0 has a density of its own, without noise

    # --- what is asked

    def __call__(self, x: Tensor, alpha, sigma, condition=None) -> Tensor:
        """D = E[x_0 | x, condition], of x's shape."""
        return self._mean(*self._asked(x, alpha, sigma, condition)).reshape(x.shape).to(x.dtype)

    def score(self, x: Tensor, alpha, sigma, condition=None) -> Tensor:
        """grad log p(x | condition) = (alpha D - x) / sigma^2, of x's shape."""
        return self._score(*self._asked(x, alpha, sigma, condition)).reshape(x.shape).to(x.dtype)

    def log_prob(self, x: Tensor, alpha, sigma, condition=None) -> Tensor:
        """log p(x | condition) in nats, (batch,): its integral over x is 1."""
        return self._log_prob(*self._asked(x, alpha, sigma, condition)).to(x.dtype)

    def covariance(self, x: Tensor, alpha, sigma, condition=None) -> Tensor:
        """Cov[x_0 | x, condition], (batch, d, d) of the d elements of x in their order."""
        return self._covariance(*self._asked(x, alpha, sigma, condition)).to(x.dtype)

    def log_posterior(self, x: Tensor, alpha, sigma) -> Tensor:
        """log p(class | x), (batch, classes); its gradient in x is what guides a denoiser to a class.

        Raises TypeError for a law without classes.
        """
        if self.classes is None:
            raise TypeError(f"{self!r} has no classes; a mixture has, and data with labels")
        return self._log_posterior(*self._asked(x, alpha, sigma, None)[:3]).to(x.dtype)

    def posterior(self, x: Tensor, alpha, sigma) -> Tensor:
        """p(class | x), (batch, classes), of sum 1."""
        return self.log_posterior(x, alpha, sigma).exp()

    def sample(self, n: int, alpha=1.0, sigma=0.0, seed: int = 0, first: int = 0, condition=None) -> Tensor:
        """The samples first, ..., first + n - 1 of a seed: x = alpha x_0 + sigma eps, (n, *shape), float64.

        x_0 and eps are functions of (seed, first + i) alone, and of the condition: other levels give the same x_0 with
        the same eps, and other n the same samples. Raises MemoryError for more than the free memory holds.

        >>> from diffusion.exact import Gaussian
        >>> data = Gaussian(1.0, 0.5, shape=(2,))
        >>> bool((data.sample(1, seed=7, first=500) == data.sample(1000, seed=7)[500]).all())
        True
        """
        if self.shape is None:
            raise ValueError(f"{self!r} does not tell the shape of a sample; make it with shape=")
        first, n, d = whole("first", first, MAX_PATHS), whole("n", n, MAX_PATHS), math.prod(self.shape)
        alpha, sigma = (torch.as_tensor(v, dtype=torch.float64).reshape(-1) for v in (alpha, sigma))
        condition = self._classes(condition, n, alpha.device)
        _levels(alpha, sigma, n, True)
        need, free = 8 * n * d, psutil.virtual_memory().available
        if need > free:
            raise MemoryError(f"the result of {n:,} samples of shape {self.shape} takes {need / 2**30:,.1f} GiB, and "
                              f"{free / 2**30:,.1f} GiB are free; sample in parts, by n and first")
        x = torch.empty(n, d, dtype=torch.float64, device=torch.as_tensor(self.center).device)
        chunk = max(1, CHUNK // max(1, d))
        for k in range(0, n, chunk):
            rows = slice(k, min(k + chunk, n))
            paths = range(first + rows.start, first + rows.stop)
            z = sk.normals(seed, STREAM, paths, 2, d)  # type: ignore[arg-type]
            u = sk.uniforms(seed, STREAM, paths)[:, 0, 0]  # type: ignore[arg-type]
            data, eps = torch.from_numpy(z).unbind(1)  # (rows, d)
            x0 = self._draw(torch.from_numpy(u), data, None if condition is None else condition[rows])
            a, s = (column(v[rows] if len(v) > 1 else v, x0) for v in (alpha, sigma))
            x[rows] = a * x0 + s * eps.to(x0.device)
        return x.reshape(n, *self.shape)

    # --- how it is answered: x (batch, d) float64, alpha and sigma (batch or 1, 1), condition (batch,) or None

    @abstractmethod
    def _mean(self, x: Tensor, alpha: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _score(self, x: Tensor, alpha: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _log_prob(self, x: Tensor, alpha: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _covariance(self, x: Tensor, alpha: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _log_posterior(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor: ...

    @abstractmethod
    def _draw(self, u: Tensor, z: Tensor, condition: Tensor | None) -> Tensor:
        """x_0 (n, d) from a uniform (n,) and normals (n, d)."""

    # --- arguments

    def _asked(self, x: Tensor, alpha, sigma, condition) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise TypeError(f"x must be a tensor of floating-point numbers, got {getattr(x, 'dtype', type(x))}")
        if x.ndim < 1 or (self.shape is not None and x.shape[1:] != self.shape):
            wanted = "(batch, ...)" if self.shape is None else f"(batch, {', '.join(map(str, self.shape))})"
            raise ValueError(f"x must have the shape {wanted}, got {tuple(x.shape)}")
        flat = x.to(torch.float64).reshape(len(x), torch.Size(x.shape[1:]).numel())
        alpha, sigma = column(alpha, flat), column(sigma, flat)
        _levels(alpha, sigma, len(x), self.dense)
        return flat, alpha, sigma, self._classes(condition, len(x), x.device)

    def _classes(self, condition: Any, batch: int, device: torch.device) -> Tensor | None:
        """Class numbers (batch,), or None."""
        if condition is None:
            return None
        if self.classes is None or self.prior is None:
            raise TypeError(f"condition={condition!r} was given, but {self!r} has no classes; leave it out")
        labels = torch.as_tensor(condition, device=device)
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise TypeError(f"a condition is a whole number from 0 to {self.classes}, got {condition!r}")
        if labels.ndim > 1 or labels.numel() not in (1, batch):
            raise ValueError(f"give one condition, or one for each of the {batch} samples, got {tuple(labels.shape)}")
        wrong = labels[(labels < 0) | (labels > self.classes)].reshape(-1)
        if len(wrong):
            raise ValueError(f"class {int(wrong[0])} is outside 0 to {self.classes - 1}; {self.classes} stands for any")
        likely = torch.cat([self.prior, self.prior.new_ones(1)]).to(device)
        empty = labels[likely[labels] == 0].reshape(-1)
        if len(empty):
            raise ValueError(f"class {int(empty[0])} has probability 0: nothing is known under that condition")
        return labels.long().reshape(-1).expand(batch)


def _levels(alpha: Tensor, sigma: Tensor, batch: int, dense: bool) -> None:
    """Refuse levels that no law, or not this one, has."""
    for name, value in (("alpha", alpha), ("sigma", sigma)):
        if value.numel() not in (1, batch):
            raise ValueError(f"{name} must be a number, or one for each of the {batch} samples, got {value.numel()}")
        if not ((value >= 0) & value.isfinite()).all():
            raise ValueError(f"{name} must be at least 0 and finite, got {float(value.min()):g}")
    if not ((sigma > 0) | ((alpha > 0) & dense)).all():
        raise ValueError("sigma must be positive " + ("where alpha is 0" if dense else "where x_0 has no density")
                         + ", got sigma = 0; end the grid of times at a positive sigma")


def unpacked(value: Any) -> Any:
    """A NumPy array as a tensor of its type, copied only where torch cannot use it in place; all else as it is."""
    return torch.from_numpy(np.require(value, requirements=["C", "W"])) if isinstance(value, np.ndarray) else value


def as_given(value: Any) -> Tensor:
    """A tensor or an array in its own type; Python's numbers, which torch would round to float32, in float64."""
    return torch.as_tensor(value, dtype=None if hasattr(value, "dtype") else torch.float64)


def finite(name: str, value: Any) -> Tensor:
    """`value` as a float64 tensor of finite numbers."""
    value = as_given(value)
    if value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{name} must be real numbers, got {value.dtype}")
    bad = value.numel() - int(value.isfinite().sum())
    if bad:
        raise ValueError(f"{name} must be finite, but {bad} of {value.numel()} numbers are NaN or infinite")
    return value.detach().to(torch.float64)


def numbered(name: str, labels: Any, count: int, device: torch.device) -> Tensor:
    """Class numbers (count,), whole and from 0."""
    labels = torch.as_tensor(labels, device=device)
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be whole numbers, got {labels.dtype}")
    if labels.shape != (count,):
        raise ValueError(f"labels must be ({count},), one for each of the {name}, got {tuple(labels.shape)}")
    if labels.min() < 0:
        raise ValueError(f"labels must be at least 0, got {int(labels.min())}")
    return labels.long()
