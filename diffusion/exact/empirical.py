"""A data set as the law of x_0: p = 1/n sum_i delta(x_0 - y_i). Its denoiser is a softmax over the data,

    l_i = -|x - alpha y_i|^2 / (2 sigma^2),   r = softmax(l),   D = sum_i r_i y_i,   C = sum_i r_i (y_i - D)(y_i - D)^T,

the optimum that a network trained on these data is drawn to (Karras et al. 2022, appendix B.3).

|x|^2 - 2 alpha x.y + alpha^2 |y|^2 is one matrix product, but at small sigma its rounding, magnified by 1/sigma^2, is
larger than what l is made of. So where it may exceed ROUNDING, the data that can matter by it are found first, and
their distances are then summed from differences. Data are kept as they were given and taken to float64 in blocks.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion.exact.law import Law, numbered, unpacked

ROUNDING = 1e-11  # of the logits, that is let pass
NOTHING = 1e-30  # beside weights of sum 1
BLOCK = 2**18  # numbers of the data in float64 at once, few enough for the cache
TABLE = 2**24  # logits at once


class Empirical(Law):
    """The denoiser of data y_1, ..., y_n, each as likely as any other.

    data     (n, *shape), floating-point, a tensor or a NumPy array; kept, not copied
    labels   (n,), the class of each, from 0; or None

    Beside the data it takes 8 n bytes for each sample asked about, at most 2^24 of them at once. Differentiable in x.
    Raises TypeError or ValueError for other data or labels; what can be asked of it is told by `Law`.

    >>> data = Empirical(torch.tensor([[-1.0], [1.0], [2.0]]), labels=[0, 1, 1])
    >>> x = torch.tensor([[0.5]], dtype=torch.float64)
    >>> data(x, alpha=1.0, sigma=1e-8), data(x, alpha=0.0, sigma=1.0, condition=1)
    (tensor([[1.]], dtype=torch.float64), tensor([[1.5000]], dtype=torch.float64))
    """

    dense = False

    def __init__(self, data: Tensor | np.ndarray, labels: Any = None):
        data = unpacked(data)
        if not isinstance(data, Tensor) or not data.is_floating_point():
            raise TypeError(f"data must be a floating-point tensor, got {getattr(data, 'dtype', type(data))}")
        if data.ndim < 1 or not data.numel():
            raise ValueError(f"data must be (n, *shape) with at least one sample, got {tuple(data.shape)}")
        self.shape, self._data = tuple(data.shape[1:]), data.detach().reshape(len(data), -1)
        n, d = self._data.shape
        bad = torch.cat([~y.isfinite().all(1) for _, y in self._blocks(None)]).nonzero().flatten()
        if len(bad):
            raise ValueError(f"data must be finite, but sample {int(bad[0])} is not ({len(bad)} of {n} are not)")
        self._center = torch.stack([y.sum(0) for _, y in self._blocks(None)]).sum(0) / n
        self._norms = torch.cat([(y - self._center).square().sum(1) for _, y in self._blocks(None)])
        self.center = self._center.reshape(self.shape)
        self.spread = float((self._norms.mean() / d).sqrt())
        if labels is not None:
            labels = numbered("data", labels, n, data.device)
            self.classes = int(labels.max()) + 1
            self.prior = labels.bincount().double() / n
            self._of = [(labels == c).nonzero().flatten() for c in range(self.classes)]

    def __repr__(self) -> str:
        return f"Empirical of {len(self._data):,} samples of shape {self.shape}"

    # --- passes over the data; rows are the numbers of those that are meant, or None for all

    def _blocks(self, rows: Tensor | None) -> Iterator[tuple[int, Tensor]]:
        """Where each block of the rows begins, and its data (block, d) in float64: valid until the next."""
        n, d = len(self._data) if rows is None else len(rows), self._data.shape[1]
        size = max(1, BLOCK // d)
        held = torch.empty(min(size, n), d, dtype=torch.float64, device=self._data.device)
        for start in range(0, n, size):
            part = self._data[start:start + size] if rows is None else self._data[rows[start:start + size]]
            yield start, held[:len(part)].copy_(part)

    def _logits(self, x: Tensor, alpha: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
        """l (n, batch)."""
        norms = self._norms if rows is None else self._norms[rows]
        u, v = x - alpha * self._center, sigma.square().T  # |x - alpha y| = |u - alpha (y - center)|
        scaled, own = (alpha * u).T.contiguous(), u.square().sum(1)
        logits = x.new_empty(len(norms), len(x))
        for start, y in self._blocks(rows):
            torch.mm(y.sub_(self._center), scaled, out=logits[start:start + len(y)])
        logits.sub_(0.5 * alpha.square().T * norms[:, None]).sub_(0.5 * own).div_(v)
        error = 4 * torch.finfo(torch.float64).eps * (own + alpha.square().T * norms.max()) / v  # (1, batch)
        inexact = (error > ROUNDING).expand(1, len(x))
        if inexact.any():
            # what lies further below the largest adds less than rounding to the sum of all
            reach = math.log(len(norms)) + 37 + 2 * error
            near = (logits > logits.amax(0) - reach) & inexact
            for pairs in near.nonzero().split(max(1, BLOCK // x.shape[1])):
                i, k = pairs.T
                y = self._data[i if rows is None else rows[i]].double()
                a, s = alpha.expand(len(x), 1)[k], sigma.expand(len(x), 1)[k, 0]
                logits[i, k] = -0.5 * (y.mul_(a).sub_(x[k]) / s[:, None]).square_().sum(1)
        return logits

    def _weights(self, x: Tensor, alpha: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
        """r (n, batch); what no sum can feel is 0, since numbers near 1e-308 slow the products down fivefold."""
        return torch.threshold_(self._logits(x, alpha, sigma, rows).softmax(0), NOTHING, 0.0)

    def _weighted(self, r: Tensor, rows: Tensor | None) -> Tensor:
        """sum_i r_i (y_i - center), (batch, d), of weights r (n, batch), whatever their sign."""
        used = (r != 0).any(1).nonzero().flatten()
        if 2 * len(used) < len(r):  # at small sigma few data matter
            r, rows = r[used], used if rows is None else rows[used]
        total = r.new_zeros(r.shape[1], self._data.shape[1])
        for start, y in self._blocks(rows):
            total.addmm_(r[start:start + len(y)].T, y.sub_(self._center))
        return total

    def _in_turn(self, function, x: Tensor, alpha: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        """function(x, alpha, sigma, rows) for one class and as many samples as the table holds at a time."""
        alpha, sigma = alpha.expand(len(x), 1), sigma.expand(len(x), 1)
        groups, size = [], max(1, TABLE // len(self._data))
        everyone = torch.arange(len(x), device=x.device)
        for c in [None] if condition is None else condition.unique().tolist():
            who = everyone if condition is None else (condition == c).nonzero().flatten()
            rows = None if c is None or c == self.classes else self._of[c]
            groups += [(part, function(x[part], alpha[part], sigma[part], rows)) for part in who.split(size)]
        found = torch.cat([values for _, values in groups])
        return found[torch.cat([part for part, _ in groups]).argsort()]

    # --- answers

    def _mean(self, x, alpha, sigma, condition) -> Tensor:
        return self._in_turn(lambda *at: _Mean.apply(self, *at), x, alpha, sigma, condition)

    def _score(self, x, alpha, sigma, condition) -> Tensor:
        return (alpha * self._mean(x, alpha, sigma, condition) - x) / sigma**2

    def _log_prob(self, x, alpha, sigma, condition) -> Tensor:
        return self._in_turn(lambda *at: _LogProb.apply(self, *at), x, alpha, sigma, condition)

    def _log_posterior(self, x, alpha, sigma) -> Tensor:
        every = self._log_prob(x, alpha, sigma, None)
        prior = torch.as_tensor(self.prior, device=x.device)
        each = [self._log_prob(x, alpha, sigma, torch.full_like(every, c, dtype=torch.long)) if p > 0
                else torch.full_like(every, -math.inf) for c, p in enumerate(prior)]
        return torch.stack(each, dim=1) + prior.log() - every[:, None]

    def _covariance(self, x, alpha, sigma, condition) -> Tensor:
        def each(x: Tensor, alpha: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
            r = self._weights(x, alpha, sigma, rows)
            off, d = self._weighted(r, rows) + self._center, x.shape[1]
            total = x.new_zeros(len(x), d, d)
            for k in range(len(x)):
                used = r[:, k].nonzero().flatten()
                for start, y in self._blocks(used if rows is None else rows[used]):
                    y.sub_(off[k])
                    total[k].addmm_((r[used[start:start + len(y)], k, None] * y).T, y)
            return total

        return self._in_turn(each, x.detach(), alpha, sigma, condition)

    def _draw(self, u, z, condition) -> Tensor:
        u = u.to(self._data.device)
        n, total = len(self._data), len(u)
        if condition is None:
            return self._data[(u * n).long().clamp(max=n - 1)].double()
        which = torch.empty(total, dtype=torch.long, device=u.device)
        for c in condition.unique().tolist():
            who = condition == c
            rows = torch.arange(n, device=u.device) if c == self.classes else self._of[c]
            which[who] = rows[(u[who] * len(rows)).long().clamp(max=len(rows) - 1)]
        return self._data[which].double()


class _Mean(torch.autograd.Function):
    """D, of the Jacobian (alpha / sigma^2) C: Tweedie's second formula, so that no table is kept for the way back."""

    @staticmethod
    def forward(ctx, law: Empirical, x: Tensor, alpha: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, alpha, sigma)
        ctx.law, ctx.rows = law, rows
        return law._weighted(law._weights(x, alpha, sigma, rows), rows) + law._center

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g: Tensor):
        (x, alpha, sigma), law, rows = ctx.saved_tensors, ctx.law, ctx.rows
        r = law._weights(x, alpha, sigma, rows)
        along = torch.cat([y.sub(law._center) @ g.T for _, y in law._blocks(rows)])  # (n, batch)
        along -= (r * along).sum(0)
        return None, alpha / sigma**2 * law._weighted(r * along, rows), None, None, None


class _LogProb(torch.autograd.Function):
    """log p, whose gradient is the score, which may be differentiated once more."""

    @staticmethod
    def forward(ctx, law: Empirical, x: Tensor, alpha: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, alpha, sigma)
        ctx.law, ctx.rows = law, rows
        logits = law._logits(x, alpha, sigma, rows)
        scale = math.log(len(logits)) + 0.5 * x.shape[1] * (2 * math.pi * sigma[:, 0].square()).log()
        return logits.logsumexp(0) - scale

    @staticmethod
    def backward(ctx, g: Tensor):
        x, alpha, sigma = ctx.saved_tensors
        mean = _Mean.apply(ctx.law, x, alpha, sigma, ctx.rows)
        return None, g[:, None] * (alpha * mean - x) / sigma**2, None, None, None
