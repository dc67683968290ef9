"""Stochastic differential equations: a user's own drift and diffusion, simulated at the speed of the hardware.

    import sdekit as sk
    gbm = sk.GeometricBrownianMotion(mu=0.05, sigma=0.2)
    paths = sk.simulate(gbm, x0=100.0, t=1.0, steps=252, paths=10_000, seed=7)
"""

from sdekit import black_scholes, density, draws, gaussian, points, walks
from sdekit.antithetic import antithetic
from sdekit.brownian import Brownian
from sdekit.calculus import to_ito, to_stratonovich
from sdekit.convergence import Convergence, convergence
from sdekit.diagnosis import Diagnosis, diagnose
from sdekit.files import load
from sdekit.interp import interp
from sdekit.langevin import baoab
from sdekit.laws import check_method
from sdekit.markov import MarkovProcess
from sdekit.methods import Method, almost_exact, euler_maruyama, exact
from sdekit.milstein import milstein, milstein_stratonovich
from sdekit.noise import normals
from sdekit.ode import ODEMethod, dopri5, euler, heun, rk4
from sdekit.paths import Paths
from sdekit.processes import (
    BrownianBridge,
    BrownianMotion,
    CorrelatedGeometricBrownianMotion,
    CoxIngersollRoss,
    DoubleWell,
    GeometricBrownianMotion,
    Heston,
    LinearDrift,
    Lorenz,
    OrnsteinUhlenbeck,
    PoissonProcess,
    Queue,
    UnderdampedLangevin,
)
from sdekit.reverse import probability_flow, reverse
from sdekit.runge_kutta import dri1, sra, sri, strong_general
from sdekit.sde import ODE, SDE, Stratonovich
from sdekit.simulation import integrate, plan, simulate, summarize
from sdekit.stiff import srock, srock_with, tamed_euler, theta
from sdekit.stratonovich import euler_heun, heun_stratonovich, midpoint, reversible_heun
from sdekit.summary import Summary
from sdekit.tracking import first_passage, integral, maximum, minimum
from sdekit.variates import exponentials, gammas, poissons, uniforms

__version__ = "0.1.0"
__all__ = [
    "ODE", "SDE", "Brownian", "BrownianBridge", "BrownianMotion", "Convergence",
    "CorrelatedGeometricBrownianMotion", "CoxIngersollRoss", "Diagnosis", "DoubleWell", "GeometricBrownianMotion",
    "Heston", "LinearDrift", "Lorenz", "MarkovProcess", "Method", "ODEMethod", "OrnsteinUhlenbeck", "Paths",
    "PoissonProcess", "Queue", "Stratonovich", "Summary", "UnderdampedLangevin", "almost_exact", "antithetic",
    "baoab", "black_scholes", "check_method", "convergence", "density", "diagnose", "dopri5", "draws", "dri1",
    "euler", "euler_heun", "euler_maruyama", "exact", "exponentials", "first_passage", "gammas", "gaussian", "heun",
    "heun_stratonovich", "integral", "integrate", "interp", "load", "maximum", "midpoint", "milstein",
    "milstein_stratonovich", "minimum", "normals", "plan", "points", "poissons", "probability_flow", "reverse",
    "reversible_heun", "rk4", "simulate", "sra", "sri", "srock", "srock_with", "strong_general", "summarize",
    "tamed_euler", "theta", "to_ito", "to_stratonovich", "uniforms", "walks",
]
