"""metrics.jsonl: how a training went, a line of JSON every 20 steps.

    {"step", "images", "loss" (the mean since the line before), "learning_rate", "rate" (samples per second), "seconds",
     "levels": [[level, error, the closed-form Gaussian's], ...]}

Lines reach the disk before the checkpoint of their steps does; those after the checkpoint that a run resumes from are
taken back.
"""

import json
import os
from pathlib import Path
from typing import Any

EVERY = 20  # steps
NAME = "metrics.jsonl"


class Journal:
    """The lines of one run in its folder; without a folder none are kept.

    folder   made if it is not there
    step     the one that the run begins at: lines beyond are of a run that was lost
    losses   those since the last line, kept up to date here
    """

    def __init__(self, folder: Path | None, step: int, losses: list[float]):
        self.path = None if folder is None else folder / NAME
        self.lines: list[str] = []
        self.losses = losses
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_lines(self.path) if line["step"] <= step] if step else []
        part = self.path.with_name(NAME + ".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept))
        os.replace(part, self.path)  # a run killed here loses no line
        self.size = self.path.stat().st_size

    def add(self, record: Any) -> None:
        """A training's `Record`."""
        if self.path is None:
            return
        self.losses.append(record.loss)
        if record.step % EVERY and record.step != record.steps:
            return
        line = {"step": record.step, "steps": record.steps, "loss": sum(self.losses) / len(self.losses),
                "learning_rate": record.learning_rate, "rate": round(record.rate, 1),
                "seconds": round(record.seconds, 2)}
        if record.levels is not None:
            line["levels"] = [[float(f"{v:.4g}") for v in (row.level, row.error, row.gaussian)]
                              for row in record.levels.rows()]
        self.lines.append(json.dumps(line))
        self.losses.clear()

    def flush(self) -> None:
        """Write what was added since."""
        if self.path is not None and self.lines:
            with self.path.open("ab") as file:
                file.truncate(min(self.size, file.tell()))  # what a write that was broken off left: no line twice
                file.write("".join(line + "\n" for line in self.lines).encode())
                file.flush()
                size = file.tell()
            self.size, self.lines = size, []


def read_lines(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a training's metrics.jsonl, by its folder or the file; one cut off at the end is left out."""
    path = Path(folder)
    path = path / NAME if path.is_dir() else path
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            break
        lines.append(line)
    return lines
