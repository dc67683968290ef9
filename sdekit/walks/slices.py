"""The slice experiment: draw (X_0, X_1 = X_0 + s Z) many times, keep X_0 where X_1 fell near k, and look at its law.

The samples in a slice of width w around k have the density p(x) int phi_s(k' - x) dk' / int q(k') dk', both integrals
over the slice: that of `Posterior(prior, s, k, width=w)`.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sdekit.noise import check_seed, normals, whole
from sdekit.starts import draw
from sdekit.walks.posterior import Posterior
from sdekit.walks.priors import Prior


@dataclass(frozen=True)
class Histogram:
    """Bins between `edges` (m + 1,): the samples' density in each and its standard error, and the exact one (m,)."""

    edges: np.ndarray
    density: np.ndarray
    stderr: np.ndarray
    exact: np.ndarray


@dataclass(frozen=True)
class SliceExperiment:
    """Many (X_0, X_1), of which those with X_1 in a slice around k are looked at.

    posterior  the exact law of X_0 in the slice; posterior.k and posterior.width tell the slice
    x0, x1     all samples (n,)
    """

    posterior: Posterior
    x0: np.ndarray = field(repr=False)
    x1: np.ndarray = field(repr=False)

    @property
    def inside(self) -> np.ndarray:
        """Which samples (n,) lie in the slice, |X_1 - k| < width/2."""
        return np.abs(self.x1 - self.posterior.k) < self.posterior.width / 2.0

    @property
    def slice(self) -> np.ndarray:
        """X_0 of the samples in the slice, (count,)."""
        return self.x0[self.inside]

    @property
    def count(self) -> int:
        """How many samples lie in the slice."""
        return int(self.inside.sum())

    @property
    def expected(self) -> float:
        """E count = n P, P = the integral of q over the slice."""
        return len(self.x0) * self.posterior.width * self.posterior.evidence

    @property
    def stderr(self) -> float:
        """The standard deviation of the count, sqrt(n P (1 - P))."""
        return (self.expected * (1.0 - self.expected / len(self.x0))) ** 0.5

    def histogram(self, bins: int = 40) -> Histogram:
        """X_0 in the slice, beside the exact law: each bin's mean density, from the samples and from the integral."""
        x = self.slice
        counts, edges = np.histogram(x, whole("bins", bins, 2**20, start=1))
        p, length = np.diff(self.posterior.cdf(edges)), np.diff(edges)
        return Histogram(edges, counts / (len(x) * length), (p * (1.0 - p) / len(x)) ** 0.5 / length, p / length)


def slice_experiment(prior, s: float, k: float, samples: int = 10**6, width: float = 0.01, *, seed: int | None = None,
                     stream: int = 0, first: int = 0) -> SliceExperiment:
    """Draw (X_0, X_1 = X_0 + s Z) many times and keep X_0 where X_1 fell within width/2 of k.

    prior    a distribution of scipy.stats, or a `Prior` with a sampler
    samples  how many; sample i depends on (seed, stream, first + i) alone
    width    of the slice, > 0

    Returns a `SliceExperiment`. Raises TypeError for a prior that cannot be drawn from, ValueError for a slice that
    holds no sample.

    >>> import scipy.stats
    >>> tried = slice_experiment(scipy.stats.beta(2, 7), s=0.1, k=0.3, samples=100_000, seed=1)
    >>> abs(tried.count - tried.expected) < 4 * tried.stderr
    True
    """
    posterior = Posterior(prior, s, k, width)
    if not width > 0:
        raise ValueError("a slice needs a width > 0; for k itself use Posterior(prior, s, k)")
    source = prior.sampler if isinstance(prior, Prior) else prior
    if source is None:
        raise TypeError("a density alone cannot be drawn from; give the prior a sampler, a function of uniforms: "
                        "Prior(lambda x: 2 * x, support=(0, 1), sampler=np.sqrt)")
    paths: Any = range(first, first + whole("samples", samples, 2**40, start=1))
    seed = check_seed(seed)
    x0 = np.asarray(draw(source, seed, stream, paths), float)
    x1 = x0 + s * normals(seed, stream, paths)[:, 0, 0]
    experiment = SliceExperiment(posterior, x0, x1)
    if not experiment.count:
        raise ValueError(f"none of {samples} samples fell within {width / 2:g} of {k:g}, where "
                         f"{experiment.expected:.3g} were expected; take more samples, a wider slice, or a k nearer to "
                         "the prior")
    return experiment
