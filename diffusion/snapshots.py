"""What a model in training draws from the same few noises, after 100 steps, 200, 400, ...

    shots = df.Snapshots(8)
    for record in shots.taken(df.train(df.mnist(), minutes=20)): ...
    df.plot.snapshots(shots)

The noises are those of `sample`, keyed by (seed, i), so that a column is one sample that grows up; the training, whose
own numbers are keyed by its step, does not see that it was looked at. Only its clock does: a run by minutes counts the
pictures in.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from diffusion.sampling import sample
from diffusion.training import Record
from sdekit.noise import whole


@dataclass(frozen=True, eq=False)
class Snapshot:
    """After a step: the samples (n, ...) of the average so far, and how long the training had taken."""

    step: int
    seconds: float
    samples: Tensor = field(repr=False)


class Snapshots:
    """Keeps samples of a training as it goes on.

    n         how many samples each time
    first     the step of the first; then at twice the step of the one before, and at the end
    label     the classes asked for, by default each in turn; options are those of `sample`: steps, method, ...

    `kept` are the `Snapshot`s so far. Raises as `sample`, when the first is taken.
    """

    def __init__(self, n: int = 10, *, first: int = 100, label: int | Sequence[int] | None = None, seed: int = 0,
                 **options: Any):
        self.n, self.first = whole("n", n, 2**31, start=1), whole("first", first, 2**62, start=1)
        self.label, self.options = label, {"seed": seed, "progress": False, **options}
        self.kept: list[Snapshot] = []

    def taken(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records of a training as they are, while samples are kept."""
        due = self.first
        for record in records:
            if record.step >= due or record.step == record.steps:
                self.kept.append(self._taken(record))
                while due <= record.step:
                    due *= 2
            yield record

    def _taken(self, record: Record) -> Snapshot:
        classes, label = getattr(record.model, "classes", None), self.label
        if label is None and classes:
            label = [i % classes for i in range(self.n)]
        return Snapshot(record.step, record.seconds, sample(record.model, self.n, label=label, **self.options).samples)
