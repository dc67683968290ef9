"""Stochastic differential equations: a user's own drift and diffusion, simulated at the speed of the hardware.

    import sdekit as sk
    gbm = sk.GeometricBrownianMotion(mu=0.05, sigma=0.2)
    paths = sk.simulate(gbm, x0=100.0, t=1.0, steps=252, paths=10_000, seed=7)
"""

from sdekit.brownian import Brownian
from sdekit.files import load
from sdekit.interp import interp
from sdekit.methods import Method, euler_maruyama, exact
from sdekit.noise import normals
from sdekit.ode import ODEMethod, euler, heun, rk4
from sdekit.paths import Paths
from sdekit.processes import BrownianMotion, GeometricBrownianMotion, LinearDrift, OrnsteinUhlenbeck
from sdekit.reverse import probability_flow, reverse
from sdekit.sde import ODE, SDE
from sdekit.simulation import integrate, plan, simulate, summarize
from sdekit.summary import Summary
from sdekit.tracking import first_passage, integral, maximum, minimum
from sdekit.variates import exponentials, gammas, poissons, uniforms

__version__ = "0.1.0"
__all__ = [
    "ODE", "SDE", "Brownian", "BrownianMotion", "GeometricBrownianMotion", "LinearDrift", "Method", "ODEMethod",
    "OrnsteinUhlenbeck", "Paths", "Summary", "euler", "euler_maruyama", "exact", "exponentials", "first_passage",
    "gammas", "heun", "integral", "integrate", "interp", "load", "maximum", "minimum", "normals", "plan", "poissons",
    "probability_flow", "reverse", "rk4", "simulate", "summarize", "uniforms",
]
