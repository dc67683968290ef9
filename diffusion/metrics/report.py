"""What `evaluate` measured: scores with intervals and floors, what they were measured on, and what was not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffusion.metrics.accuracy import Evaluation
from diffusion.metrics.memorisation import Memorisation
from diffusion.metrics.score import Score
from sdekit.convergence import table

NAMES = {"accuracy": "class accuracy", "fid": "Fréchet distance (FID)", "kid": "kernel distance (KID)",
         "inception": "inception score", "precision": "precision", "recall": "recall", "copying": "copying"}


@dataclass(frozen=True, eq=False)
class Report:
    """Scores by name, `report["fid"]`; print it, or take its .as_dict() or .json().

    scores          by name; each has its interval, its reference and its floor
    read            what the extractor read in samples of a class, or None
    memorisation    distances to the training images, or None
    missing         what was not measured, and what it needs
    info            n, extractor, features, nfe, seconds

    `a - b` are the differences of the scores that both have. Raises ValueError across extractors or references.
    """

    scores: Mapping[str, Score]
    read: Evaluation | None
    memorisation: Memorisation | None = field(repr=False)
    missing: Mapping[str, str]
    info: Mapping[str, Any]

    def __getitem__(self, name: str) -> Score:
        if name not in self.scores:
            raise KeyError(f"{name} was not measured: {self.missing.get(name, 'there is no such score')}")
        return self.scores[name]

    @property
    def accuracy(self) -> float:
        """The share of samples that were read as the class asked for."""
        return self["accuracy"].value

    def __sub__(self, other: Report) -> dict[str, Score]:
        return {name: score - other.scores[name] for name, score in self.scores.items() if name in other.scores}

    def __str__(self) -> str:
        about = self.info
        lines = [f"{self.read}\n"] if self.read else []
        lines.append(f"{about['n']:,} samples, as {about['extractor']} sees them ({about['features']} features)\n")
        lines += table(["score", "value", "95% interval", "floor", "in floors", "reference"],
                       [self._row(name, score) for name, score in self.scores.items()])
        lines.append("\nfloor: the same of real images, as many where there are; values compare at equal n alone")
        if about["n"] <= about["features"] and "fid" in self.scores:
            lines.append(f"{about['n']} samples for {about['features']} features: their covariance is singular, and "
                         "FID is mostly bias")
        if self.memorisation:
            lines.append(str(self.memorisation))
        for why in dict.fromkeys(self.missing.values()):
            names = ", ".join(NAMES[name] for name in self.missing if self.missing[name] == why)
            lines.append(f"not measured: {names}. {why[0].upper() + why[1:]}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, as JSON can hold them."""
        return {"scores": {name: score.as_dict() for name, score in self.scores.items()}, "missing": dict(self.missing),
                "by_class": [None if v != v else float(v) for v in self.read.by_class] if self.read else None,
                **self.info}

    def json(self) -> str:
        """`as_dict` as text."""
        return json.dumps(self.as_dict(), indent=1)

    @staticmethod
    def _row(name: str, score: Score) -> list[str]:
        floor, told = score.floor, "-"
        if floor is not None:
            told = f"{floor.value:.4g} ({floor.low:.4g} to {floor.high:.4g})"
            told += f", n = {floor.n:,}" * (floor.n != score.n)
        ratio = f"{score.floors:.2f}" if floor is not None and name == "fid" else ""
        return [NAMES[name], f"{score.value:.4g}", f"{score.low:.4g} to {score.high:.4g}", told, ratio,
                score.reference or "-"]
