"""The moments of a run of sampling, from whatever holds them, as pictures.

A state x = alpha x_0 + sigma eps is shown over r = sqrt(alpha^2 + sigma^2), by which it stays in the range of pictures
and of noise; noise, N(0, 1), over NOISE, so that one pixel in twenty is cut.
"""

from collections.abc import Iterable, Sequence

from torch import Tensor

from diffusion.sampling import Samples, Step

NOISE = 2.0  # standard deviations from grey to black or white


def moments(run: Samples | Iterable[Step]) -> list[Step]:
    """All `Step`s of `Samples` with a trajectory, or of `df.steps`.

    Raises ValueError where nothing was kept.
    """
    if not isinstance(run, Samples):
        found = list(run)
        if not found:
            raise ValueError("there is no moment to draw")
        return found
    kept = run.trajectory
    if kept is None:
        raise ValueError("these samples have no trajectory; draw them with keep=True, or give df.steps(...)")
    return [Step(n, level, *each) for n, (level, *each) in enumerate(zip(run.grid, kept.x, kept.x0, kept.eps))]


def visible(moment: Step) -> Tensor:
    """The state in the range of pictures, (n, ...)."""
    return moment.x / (moment.level.alpha**2 + moment.level.sigma**2) ** 0.5


def after(found: Sequence[Step], n: int) -> Tensor:
    """The state after the n-th moment as it is seen; after the last it is the estimate of x_0, the closing step's."""
    return visible(found[n + 1]) if n + 1 < len(found) else found[n].x0


def chosen(found: Sequence[Step], at: Sequence[int] | None) -> list[int]:
    """The numbers of the moments asked for, negative ones from the end; without, the first, the middle and the last.

    Raises ValueError for others than there are.
    """
    n = len(found)
    if at is None:
        return list(dict.fromkeys((0, (n - 1) // 2, n - 1)))
    if not len(at) or any(not -n <= k < n for k in at):
        raise ValueError(f"at names steps from 0 to {n - 1} of this run; got {list(at)}")
    return [k % n for k in at]
