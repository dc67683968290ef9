"""Named processes, each with its law where it is known in closed form."""

from sdekit.processes.assets import CorrelatedGeometricBrownianMotion
from sdekit.processes.bridge import BrownianBridge
from sdekit.processes.brownian import BrownianMotion
from sdekit.processes.cir import CoxIngersollRoss
from sdekit.processes.drift import LinearDrift
from sdekit.processes.gbm import GeometricBrownianMotion
from sdekit.processes.heston import Heston
from sdekit.processes.jumps import PoissonProcess, Queue
from sdekit.processes.langevin import UnderdampedLangevin
from sdekit.processes.ou import OrnsteinUhlenbeck
from sdekit.processes.wells import DoubleWell, Lorenz

__all__ = [
    "BrownianBridge", "BrownianMotion", "CorrelatedGeometricBrownianMotion", "CoxIngersollRoss", "DoubleWell",
    "GeometricBrownianMotion", "Heston", "LinearDrift", "Lorenz", "OrnsteinUhlenbeck", "PoissonProcess", "Queue",
    "UnderdampedLangevin",
]
