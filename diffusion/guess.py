"""What a mixture of Gaussians knows of the data in closed form, handed to the network beside its noisy input.

Of each class K Gaussians N(m_k, C_k) with weights w_k, C_k = V diag(l) V^T + t (I - V V^T) of rank r (the rest of the
variance spread evenly: probabilistic PCA, Tipping & Bishop 1999). Then E[x_0 | alpha x_0 + sigma eps = x, y] is

    g = sum_k p_k(x) (m_k + alpha C_k (alpha^2 C_k + sigma^2 I)^-1 (x - alpha m_k)),
    p_k(x) proportional to w_k N(x; alpha m_k, alpha^2 C_k + sigma^2 I)

over the Gaussians of class y; for no class, over K of all the data. Where the noise is high it is nearly all that can
be known, and a network that is told it need not learn it (measured by benchmarks/design.py).
"""

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from diffusion.denoiser import column

LEAST = 50  # samples that a Gaussian is fitted to, as far as there are


class Mixture(nn.Module):
    """g above for labels 0 ... classes - 1, and for label `classes`, none.

    shape        of one sample, of d elements
    components   K, Gaussians of each class
    rank         r, at most d
    """

    means: Tensor  # (classes + 1, K, d)
    vectors: Tensor  # (classes + 1, K, d, r)
    values: Tensor  # (classes + 1, K, r)
    rest: Tensor  # (classes + 1, K)
    log_weights: Tensor  # (classes + 1, K), -inf for one that is not used

    def __init__(self, shape: tuple[int, ...], classes: int, components: int, rank: int):
        super().__init__()
        d = int(torch.Size(shape).numel())
        rank = min(rank, d)
        for name, of in (("means", (d,)), ("vectors", (d, rank)), ("values", (rank,)), ("rest", ()),
                         ("log_weights", ())):
            self.register_buffer(name, torch.zeros(classes + 1, components, *of))

    @torch.no_grad()
    def fit(self, x: Tensor, labels: Tensor) -> None:
        """To x (n, *shape) with labels (n,): K-means of each class, then the moments of what is in each cluster."""
        flat = x.flatten(1).float()
        self.log_weights.fill_(-torch.inf)
        for y in range(len(self.means)):
            some = flat[labels == y]
            some = some if len(some) else flat  # no class, or one without data: all there is
            for k, part in enumerate(_clusters(some, self.means.shape[1], seed=y)):
                self.means[y, k], self.log_weights[y, k] = part.mean(0), np.log(len(part) / len(some))
                self._spread(y, k, part - part.mean(0))

    def _spread(self, y: int, k: int, x: Tensor) -> None:
        n, d = x.shape
        rank = min(self.values.shape[2], n - 1)  # n points about their mean span n - 1 directions
        if rank > 0:
            _, singular, vectors = torch.pca_lowrank(x, q=min(rank + 8, n, d), center=False, niter=4)
            self.values[y, k, :rank], self.vectors[y, k, :, :rank] = singular[:rank] ** 2 / n, vectors[:, :rank]
        left = float(x.square().sum()) / n - float(self.values[y, k].sum())
        self.rest[y, k] = max(1e-6, left / max(1, d - rank))

    def forward(self, x: Tensor, alpha, sigma, label: Tensor) -> Tensor:
        flat = x.flatten(1)
        a, s = (column(v, flat).expand(len(flat), 1) for v in (alpha, sigma))
        out = torch.empty_like(flat)
        for y in label.unique().tolist():
            at = (label == y).nonzero()[:, 0]
            out[at] = self._of(y, flat[at], a[at], s[at])
        return out.view(x.shape)

    def _of(self, y: int, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Of one class: x (n, d), alpha and sigma (n, 1); shapes below are (components, n, ...)."""
        m, v, l, t, w = (b[y] for b in (self.means, self.vectors, self.values, self.rest, self.log_weights))
        z = x - alpha * m[:, None]
        q = z @ v  # along the vectors
        even, along = alpha**2 * t[:, None, None] + sigma**2, alpha**2 * l[:, None] + sigma**2  # variances of x
        far = (z.square().sum(2) - q.square().sum(2)) / even[..., 0] + (q.square() / along).sum(2)
        volume = (x.shape[1] - v.shape[2]) * even[..., 0].log() + along.log().sum(2)
        p = torch.softmax(w[:, None] - 0.5 * (far + volume), 0)[..., None]
        keep = alpha * t[:, None, None] / even
        less = alpha * l[:, None] / along - keep
        return (p * (m[:, None] + keep * z)).sum(0) + ((p * less * q) @ v.transpose(1, 2)).sum(0)


def _clusters(x: Tensor, k: int, seed: int) -> list[Tensor]:
    """At most k parts of x (n, d), each of some samples; fewer where there are few, none of nothing."""
    k = max(1, min(k, len(x) // LEAST))
    if k == 1:
        return [x]
    centred = x - x.mean(0)
    _, _, axes = torch.pca_lowrank(centred, q=min(40, *x.shape), center=False, niter=2)
    _, which = kmeans2((centred @ axes).numpy(), k, iter=30, minit="++", rng=np.random.default_rng(seed))
    return [x[torch.from_numpy(which == j)] for j in range(k) if (which == j).any()]
