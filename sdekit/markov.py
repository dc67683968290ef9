"""A Markov process that is known by how it is drawn: X(t + h) = transition(X(t), t, h, place, parameters by name).

Jump processes and walks in discrete time have no drift and no diffusion, but a law from one time to the next; they are
simulated, summarised, replayed and plotted like an SDE. What a transition may draw is in `sdekit.draws`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sdekit.sde import Equation, record


@dataclass(frozen=True, init=False, eq=False, repr=False)
class MarkovProcess(Equation):
    """X(t + h) given X(t) is drawn by `transition`.

    transition   a plain function (x, t, h, place, parameters by name) -> x at t + h; x is a number, or a tuple of
                 components; it draws by `sdekit.draws`: draws.uniform(place, 0), draws.poisson(place, mean, 0), ...
                 Write elementwise maths with np.*
    parameters   by the names that it uses: numbers, or arrays (paths,) with one for each path

    Class attributes: `unit`, for a walk in discrete time the time of one move, which every step then has to take
    (None: any step will do); `jumps`, whether a path is drawn as a staircase.

    Raises TypeError for a parameter that it does not take, or one that it needs and nobody gave.

    >>> import sdekit as sk
    >>> from sdekit import draws
    >>> arrivals = MarkovProcess(lambda x, t, h, place, rate: x + draws.poisson(place, rate * h, 0), rate=3.0)
    >>> paths = sk.simulate(arrivals, 0.0, t=2.0, steps=10, paths=1000, seed=1)
    >>> bool(abs(paths.mean()[-1] - 6.0) < 4 * (6.0 / 1000) ** 0.5)
    True
    """

    transition: Callable
    calculus = "ito"
    transition_draws = "P"
    transition_exact = True
    transition_pathwise = False
    unit = None
    jumps = True

    def __init__(self, transition: Callable, /, **parameters: float):
        if not callable(transition):
            raise TypeError("transition must be a function of (x, t, h, place, parameters by name) that returns x at "
                            f"t + h, got {transition!r}; it draws by sdekit.draws, as in lambda x, t, h, place, rate: "
                            "x + draws.poisson(place, rate * h, 0)")
        record(self, parameters, 4, transition=transition)
