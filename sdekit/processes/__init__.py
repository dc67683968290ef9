"""Named SDEs, each with its law where it is known in closed form."""

from sdekit.processes.brownian import BrownianMotion
from sdekit.processes.drift import LinearDrift
from sdekit.processes.gbm import GeometricBrownianMotion
from sdekit.processes.langevin import UnderdampedLangevin
from sdekit.processes.ou import OrnsteinUhlenbeck

__all__ = ["BrownianMotion", "GeometricBrownianMotion", "LinearDrift", "OrnsteinUhlenbeck", "UnderdampedLangevin"]
