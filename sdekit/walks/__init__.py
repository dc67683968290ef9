"""Walks in discrete time with their exact laws, as `CoinWalk(0.5)`; and where they came from, as `Posterior(...)`."""

from sdekit.walks.chains import Chain, mutation_clock
from sdekit.walks.finite import Finite
from sdekit.walks.line import CoinWalk, GaussianWalk, LazyWalk
from sdekit.walks.posterior import Posterior
from sdekit.walks.priors import Prior
from sdekit.walks.slices import SliceExperiment, slice_experiment
from sdekit.walks.weights import Weighted, weigh

__all__ = ["Chain", "CoinWalk", "Finite", "GaussianWalk", "LazyWalk", "Posterior", "Prior", "SliceExperiment",
           "Weighted", "mutation_clock", "slice_experiment", "weigh"]
