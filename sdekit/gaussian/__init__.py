"""Gaussian laws and their mixtures, in closed form: `sk.gaussian.Gaussian(mean, cov)`, `sk.gaussian.kl(p, q)`, ..."""

from sdekit.gaussian.distances import TotalVariation, hellinger, kl, total_variation, wasserstein
from sdekit.gaussian.law import Gaussian, mutual_information, product
from sdekit.gaussian.mixture import Mixture

__all__ = ["Gaussian", "Mixture", "TotalVariation", "hellinger", "kl", "mutual_information", "product",
           "total_variation", "wasserstein"]
