"""Under-damped Langevin dynamics: positions Q and velocities V of one mass, in a heat bath.

    dQ = V dt,  dV = (F(Q) / m - gamma V) dt + (2 gamma kT / m)^{1/2} dW        Langevin 1908

It leaves the Boltzmann-Gibbs density exp(-(m V^2 / 2 + U(Q)) / kT) as it is, where F = -grad U.
"""

from collections.abc import Callable
from functools import lru_cache
from inspect import signature

import numpy as np

from sdekit.components import as_tuple, written
from sdekit.processes.check import positive
from sdekit.sde import SDE, numbers, takes

OWN = ("gamma", "temperature", "mass")


class UnderdampedLangevin(SDE):
    """dQ = V dt, dV = (F(Q) / m - gamma V) dt + (2 gamma kT / m)^{1/2} dW.

    force        F, a plain function of q and of parameters by name; where dim > 1 it takes and returns a tuple of dim.
                 Of the names gamma, temperature, mass and t it gets the process's own values and the time
    gamma        the friction, a rate, >= 0
    temperature  kT, an energy, >= 0
    mass         m > 0, one for all components
    dim          n, how many positions; the state is (q1, ..., qn, v1, ..., vn), with one noise for each velocity
    parameters   of the force: numbers, or arrays (paths,)

    Any method takes it; `baoab` is made for it. Raises TypeError for a force that does not fit, ValueError for
    parameters outside their domain.

    >>> import sdekit as sk
    >>> spring = UnderdampedLangevin(lambda q, k: -k * q, gamma=1.0, temperature=2.0, k=4.0)
    >>> spring
    UnderdampedLangevin(gamma=1.0, temperature=2.0, mass=1.0, k=4.0)
    >>> spring.drift((0.5, 0.1), 0.0, gamma=1.0, mass=1.0, k=4.0)
    (0.1, -2.1)
    >>> spring.diffusion((0.5, 0.1), 0.0, gamma=1.0, temperature=2.0, mass=1.0)
    ((0.0,), (2.0,))
    >>> swarm = UnderdampedLangevin(lambda q: (-q[0], -3 * q[1]), gamma=1.0, temperature=1.0, dim=2)
    >>> sk.simulate(swarm, (0.0, 1.0, 0.0, 0.0), steps=100, paths=50, seed=1).x.shape
    (50, 101, 4)
    """

    force: Callable
    dim: int
    langevin: Callable  # (x, t, parameters by name) -> the n accelerations F(q) / m, gamma, kT / m; see `baoab`

    def __init__(self, force: Callable, /, gamma: float, temperature: float, mass: float = 1.0, dim: int = 1,
                 **parameters: float):
        if not callable(force):
            raise TypeError(f"force must be a function of (q, parameters by name), got {force!r}")
        if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
            raise ValueError(f"dim is the number of positions, an integer >= 1; got {dim!r}")
        drift, diffusion, langevin = _functions(force, dim, tuple(parameters))
        super().__init__(drift, diffusion, gamma=gamma, temperature=temperature, mass=mass, **parameters)
        positive(self, "mass")
        for name in ("gamma", "temperature"):
            if np.min(numbers(self.parameters[name])) < 0:
                raise ValueError(f"UnderdampedLangevin needs {name} >= 0, got {self.parameters[name]}")
        vars(self).update(force=force, dim=dim, langevin=langevin)

    def __getstate__(self):
        return {"force": self.force, "dim": self.dim, "parameters": dict(self.parameters)}

    def __setstate__(self, state) -> None:
        self.__init__(state["force"], dim=state["dim"], **state["parameters"])


@lru_cache(maxsize=256)
def _functions(force: Callable, dim: int, given: tuple[str, ...]) -> tuple[Callable, Callable, Callable]:
    """drift, diffusion and `langevin`, written out for this force: the same functions for the same force."""
    names = _names(force, given)
    own = [k for k in names if k not in (*OWN, "t")]
    q, v, F = ([f"_{letter}{i}" for i in range(dim)] for letter in "qvF")
    named = ", ".join([q[0] if dim == 1 else as_tuple(q), *(f"{k}={k}" for k in names)])
    parts = f"{', '.join(q + v)} = _x; {', '.join(F)} = _force({named}); return "
    head = ["_x", "t", "gamma", "mass", *(["temperature"] if "temperature" in names else []), *own]
    drift = written(", ".join(head), parts + as_tuple(v + [f"{F[i]} / mass - gamma * {v[i]}" for i in range(dim)]),
                    _force=force)
    still = [as_tuple(["0.0"] * dim)] * dim
    moved = [as_tuple("s" if j == i else "0.0" for j in range(dim)) for i in range(dim)]
    diffusion = written("_x, t, gamma, temperature, mass",
                        "s = (2.0 * gamma * temperature / mass) ** 0.5; return " + as_tuple(still + moved))
    langevin = written(", ".join(["_x", "t", *OWN, *own]),
                       parts + as_tuple([*(f"{F[i]} / mass" for i in range(dim)), "gamma", "temperature / mass"]),
                       _force=force)
    return drift, diffusion, langevin


def _names(force: Callable, given: tuple[str, ...]) -> list[str]:
    """What the force takes after q, without those that have a default and no value."""
    takes(force, 0)  # raises TypeError where it cannot be told
    arguments = list(signature(force).parameters.values())
    if not arguments:
        raise TypeError("force takes no argument; it must take q and then its parameters by name")
    if any(a.name == "dim" for a in arguments[1:]):
        raise TypeError("force takes a parameter 'dim', which is the number of positions here; rename it")
    return [a.name for a in arguments[1:] if a.name in (*OWN, "t", *given) or a.default is a.empty]
