"""Gaussians and their mixtures: x_0 ~ sum_k w_k N(m_k, S_k), S_k = U_k diag(l_k) U_k^T.

With y_k = U_k^T (x - alpha m_k) and v_k = alpha^2 l_k + sigma^2 (Bishop 2006, sections 2.3 and 9.2):

    log p_k(x) = -1/2 sum_j (y_kj^2 / v_kj + log 2 pi v_kj)
    r_k(x)     = w_k p_k(x) / sum_l w_l p_l(x)
    D          = sum_k r_k D_k,   D_k = m_k + U_k (alpha l_k / v_k) y_k
    C          = sum_k r_k (U_k diag(sigma^2 l_k / v_k) U_k^T + (D_k - D)(D_k - D)^T)
    score      = -sum_k r_k U_k (y_k / v_k)

The decompositions are made once, so that a level costs two matrix products a component; singular S_k are allowed.
"""

import math
from typing import Any

import torch
from torch import Tensor

from diffusion.denoiser import shaped
from diffusion.exact.law import Law, as_given, finite, numbered


class _Components(Law):
    """Gaussian components k: means (k, d or 1), values l (k, d or 1), bases U (k, d, d), or None for the axes."""

    def _assemble(self, means: Tensor, values: Tensor, basis: Tensor | None, logs: Tensor) -> None:
        """Keep them, with logs (classes + 1, k): log p(component | class), and in the last row log w."""
        self._means, self._values, self._basis, self._logs = means, values, basis, logs
        self.dense = bool((values > 0).all())

    def _parts(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """y (k, n, d) and v (k, n or 1, d or 1)."""
        y = x - alpha * self._means.to(x.device)[:, None]
        if self._basis is not None:
            y = y @ self._basis.to(x.device)
        return y, alpha**2 * self._values.to(x.device)[:, None] + sigma**2

    def _back(self, y: Tensor) -> Tensor:
        """U_k y_k."""
        return y if self._basis is None else y @ self._basis.to(y.device).mT

    def _joint(self, y: Tensor, v: Tensor, condition: Tensor | None) -> Tensor:
        """log w_k p_k(x), (k, n), with the weights that the condition leaves."""
        log_p = -0.5 * (y**2 / v + (2 * math.pi * v).log()).sum(-1)
        logs = self._logs.to(y.device)
        return log_p + (logs[-1, :, None] if condition is None else logs[condition].T)

    def _mean(self, x, alpha, sigma, condition) -> Tensor:
        y, v = self._parts(x, alpha, sigma)
        r = self._joint(y, v, condition).softmax(0)
        return (r[..., None] * self._means_given(y, v, alpha)).sum(0)

    def _means_given(self, y: Tensor, v: Tensor, alpha: Tensor) -> Tensor:
        """D_k, (k, n, d)."""
        gain = alpha * self._values.to(y.device)[:, None] / v
        return self._means.to(y.device)[:, None] + self._back(gain * y)

    def _score(self, x, alpha, sigma, condition) -> Tensor:
        y, v = self._parts(x, alpha, sigma)
        r = self._joint(y, v, condition).softmax(0)
        return -(r[..., None] * self._back(y / v)).sum(0)

    def _log_prob(self, x, alpha, sigma, condition) -> Tensor:
        return self._joint(*self._parts(x, alpha, sigma), condition).logsumexp(0)

    def _covariance(self, x, alpha, sigma, condition) -> Tensor:
        y, v = self._parts(x, alpha, sigma)
        r = self._joint(y, v, condition).softmax(0)
        each = self._means_given(y, v, alpha)
        off = each - (r[..., None] * each).sum(0)
        within = sigma**2 * self._values.to(x.device)[:, None] / v  # (k, n or 1, d or 1)
        within = within.expand(len(r), len(x), x.shape[1])
        total = x.new_zeros(len(x), x.shape[1], x.shape[1])
        for k in range(len(r)):
            spread = torch.diag_embed(within[k])
            if self._basis is not None:
                U = self._basis[k].to(x.device)
                spread = (U * within[k][:, None]) @ U.mT
            total = total + r[k][:, None, None] * (spread + off[k][:, :, None] * off[k][:, None])
        return total

    def _log_posterior(self, x, alpha, sigma) -> Tensor:
        y, v = self._parts(x, alpha, sigma)
        joint = self._joint(y, v, None)
        own = self._logs[:-1].to(x.device) > -math.inf  # (classes, k): whose component it is
        each = [joint[row].logsumexp(0) for row in own]
        return torch.stack(each, dim=1) - joint.logsumexp(0)[:, None]

    def _draw(self, u, z, condition) -> Tensor:
        logs = self._logs[-1:].expand(len(u), -1) if condition is None else self._logs[condition]
        edges = logs.exp().cumsum(1)
        which = torch.searchsorted(edges / edges[:, -1:], u.to(edges.device)[:, None]).squeeze(1)
        z = z.to(edges.device)
        x = torch.empty_like(z)
        for k in which.unique():
            y = self._values[k].sqrt() * z[which == k]
            x[which == k] = self._means[k] + (y if self._basis is None else y @ self._basis[k].T)
        return x


class Gaussian(_Components):
    """The denoiser of data N(mean, S): E[x_0 | x] = mean + alpha S (alpha^2 S + sigma^2)^{-1} (x - alpha mean).

    mean    a number, or a tensor of the data's shape
    std     S = std^2: a number, or a tensor of that shape, every element independent
    cov     in its place S itself, (d, d), of the data's elements in their order; it may be singular
    shape   of the data, where neither mean nor std tells it and samples are wanted

    Raises TypeError or ValueError for other parameters; what can be asked of it is told by `Law`.

    >>> import torch
    >>> Gaussian(0.0, 1.0)(torch.tensor([[2.0]]), alpha=1.0, sigma=1.0)
    tensor([[1.]])
    >>> Gaussian(0.0, cov=torch.tensor([[2.0, 1.0], [1.0, 2.0]])).score(torch.tensor([[1.0, 0.0]]), 1.0, 0.0)
    tensor([[-0.6667,  0.3333]])
    """

    def __init__(self, mean: float | Tensor, std: float | Tensor | None = None, *, cov: Any = None, shape: Any = None):
        if (std is None) == (cov is None):
            raise TypeError("give std, or in its place cov")
        middle, told = finite("mean", mean), shaped(shape)
        if std is not None:
            width = as_given(std)
            if not (width > 0).all():
                raise ValueError(f"std must be positive, got {std if width.ndim == 0 else float(width.min())}")
            width = finite("std", width).to(middle.device)
            tensors = [t.shape for t in (middle, width) if t.ndim]
            self.shape = tuple(torch.broadcast_shapes(*tensors, told or ())) if tensors or told is not None else None
            values, basis = (width**2 if width.ndim == 0 else width.expand(self.shape or ())**2).reshape(1, -1), None
        else:
            values, basis = _eigen(finite("cov", cov)[None], _eps(cov))
            values, basis = values.to(middle.device), None if basis is None else basis.to(middle.device)
            self.shape = tuple(middle.shape) if middle.ndim else told or (values.shape[1],)
            if torch.Size(self.shape).numel() != values.shape[1]:
                raise ValueError(f"cov is of {values.shape[1]} elements, but the data's shape is {self.shape}")
        if told is not None and self.shape != told:
            raise ValueError(f"shape={told} was given, but mean and std have the shape {self.shape}")
        self.mean, self.std = mean, std
        full = None if self.shape is None else middle.expand(self.shape)
        self.center = float(middle) if full is None else full.clone()
        self.spread = float(values.mean().sqrt())
        means = (middle if middle.ndim == 0 else middle.expand(self.shape or ())).reshape(1, -1)
        self._assemble(means, values, basis, values.new_zeros(1, 1))

    def __repr__(self) -> str:
        return "Gaussian" if self.shape is None else f"Gaussian of shape {self.shape}"


class GaussianMixture(_Components):
    """The denoiser of data sum_k w_k N(m_k, S_k); the components are classes, or belong to them.

    means         m, (k, *shape)
    covariances   S, (k, d, d), of the data's elements in their order; they may be singular
    weights       w, (k,), non-negative with the sum 1; by default all the same
    stds          in place of the covariances, (k,): S_k = stds_k^2 I
    labels        (k,), the class of each component, from 0; by default component k is class k

    Raises TypeError or ValueError for other parameters; what can be asked of it is told by `Law`.

    >>> import torch
    >>> data = GaussianMixture([[-1.0], [1.0]], stds=[0.1, 0.1])
    >>> x = torch.tensor([[0.5]], dtype=torch.float64)
    >>> data(x, alpha=1.0, sigma=0.3), data(x, alpha=1.0, sigma=0.3, condition=0)
    (tensor([[0.9499]], dtype=torch.float64), tensor([[-0.8500]], dtype=torch.float64))
    >>> data.posterior(x, alpha=1.0, sigma=0.3)
    tensor([[4.5398e-05, 9.9995e-01]], dtype=torch.float64)
    """

    def __init__(self, means: Any, covariances: Any = None, weights: Any = None, *, stds: Any = None,
                 labels: Any = None):
        if (stds is None) == (covariances is None):
            raise TypeError("give covariances (k, d, d), or in their place stds (k,)")
        means = finite("means", means)
        if means.ndim < 1 or not means.numel():
            raise ValueError(f"means must be (k, *shape), got {tuple(means.shape)}")
        self.shape, flat = tuple(means.shape[1:]), means.reshape(len(means), -1)
        k, d = flat.shape
        if covariances is None:
            stds = finite("stds", stds).to(means.device)
            if stds.shape != (k,) or not (stds >= 0).all():
                raise ValueError(f"stds must be ({k},), at least 0, one for each of the means, got "
                                 f"{tuple(stds.shape)} with the least {float(stds.min()):g}")
            values, basis = stds[:, None]**2, None
        else:
            S = finite("covariances", covariances).to(means.device)
            if S.shape != (k, d, d):
                raise ValueError(f"covariances must be {(k, d, d)}, one for each of the means, got {tuple(S.shape)}")
            values, basis = _eigen(S, _eps(covariances))
        w = means.new_full((k,), 1 / k) if weights is None else finite("weights", weights).to(means.device)
        if w.shape != (k,):
            raise ValueError(f"weights must be ({k},), one for each of the means, got {tuple(w.shape)}")
        if (w < 0).any() or abs(float(w.sum()) - 1) > k * _eps(weights):
            raise ValueError(f"weights must be non-negative with the sum 1, got the least {float(w.min()):g} and the "
                             f"sum {float(w.sum())!r}; w / w.sum() has it")
        labels = torch.arange(k, device=w.device) if labels is None else numbered("means", labels, k, w.device)
        self.classes = int(labels.max()) + 1
        own = torch.where(labels == torch.arange(self.classes, device=w.device)[:, None], w, 0.0)  # (classes, k)
        self.prior = own.sum(1)
        center = w @ flat
        self.center = center.reshape(self.shape)
        variance = values.expand(k, d).sum(1) + (flat - center).square().sum(1)
        self.spread = float((w @ variance / d).sqrt())
        self._assemble(flat, values, basis, torch.cat([own / self.prior[:, None], w[None]]).log())

    def __repr__(self) -> str:
        return f"GaussianMixture of {len(self._means)} components of shape {self.shape}"


def _eps(given: Any) -> float:
    """The rounding of the numbers that were given."""
    kind = torch.float64 if given is None else as_given(given).dtype
    return torch.finfo(kind).eps if kind.is_floating_point else torch.finfo(torch.float64).eps


def _eigen(S: Tensor, eps: float) -> tuple[Tensor, Tensor | None]:
    """Eigenvalues (k, d) and eigenvectors (k, d, d) of covariances; the axes (None) where all are diagonal."""
    if S.ndim != 3 or S.shape[1] != S.shape[2] or not S.shape[1]:
        raise ValueError(f"a covariance must be a (d, d) matrix, got {tuple(S.shape[1:])}")
    d, scale = S.shape[1], S.abs().amax((1, 2))
    skew = (S - S.mT).abs().amax((1, 2))
    if (skew > 8 * d * eps * scale).any():
        raise ValueError(f"covariance {int(skew.argmax())} is not symmetric: it differs from its transpose by "
                         f"{float(skew.max()):g}; (S + S.T) / 2 has no such part")
    diagonal = S.diagonal(dim1=1, dim2=2)
    if bool((torch.diag_embed(diagonal) == S).all()):
        values, basis = diagonal, None
    else:
        values, basis = torch.linalg.eigh((S + S.mT) / 2)
    least, most = values.amin(1), values.abs().amax(1)
    bad = (least < -8 * d * eps * most).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"covariance {bad[0]} is not positive semi-definite: it has the eigenvalue "
                         f"{float(least[bad[0]]):g} beside a largest of {float(values[bad[0]].max()):g}")
    # eigh knows no eigenvalue better than this, and one that is rounding must not count beside a small sigma^2
    rounding = 0.0 if basis is None else d * torch.finfo(torch.float64).eps * most[:, None]
    return torch.where(values > rounding, values, 0.0), basis
