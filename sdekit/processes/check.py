"""Checks on the parameters of processes."""

import numpy as np

from sdekit.sde import SDE, numbers


def positive(process: SDE, *names: str) -> None:
    """Raise ValueError unless these parameters are > 0."""
    for name in names:
        value = process.parameters[name]
        if np.min(numbers(value)) <= 0:
            raise ValueError(f"{type(process).__name__} needs {name} > 0, got {value}")
