"""Denoisers in closed form: first-class models, against which samplers are measured.

`Gaussian`, `GaussianMixture` and `Empirical` (a data set itself) each know E[x_0 | x], the score, log p, the posterior
covariance and exact samples at every noise level; see `Law`.
"""

from diffusion.exact.empirical import Empirical
from diffusion.exact.law import Law
from diffusion.exact.mixture import Gaussian, GaussianMixture

__all__ = ["Empirical", "Gaussian", "GaussianMixture", "Law"]
