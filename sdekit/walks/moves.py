"""Times of a walk: how many moves were made."""

import numpy as np

MOST = 2**53  # counts that a float holds
SITES = 10**7  # numbers that are worked out one by one


def counts(name: str, n) -> np.ndarray:
    """n as whole floats >= 0, so that the times of a result will do."""
    numbers = np.asarray(n, float)
    if not ((numbers >= 0) & (numbers == np.floor(numbers)) & (numbers < MOST)).all():
        raise ValueError(f"{name} counts moves: whole numbers from 0 on, got {n!r}")
    return numbers[()]


def moves(name: str, n) -> int:
    """n as one whole number >= 0."""
    if np.ndim(n):
        raise ValueError(f"{name} must be one whole number, got shape {np.shape(n)}")
    return int(counts(name, n))


def check_sites(n: int, instead: str) -> None:
    """Raise ValueError where n moves are too many to go through one by one."""
    if n > SITES:
        raise ValueError(f"this goes through all {n:,} moves, and {SITES:,} are the most; {instead}")


def ordered(n, m) -> tuple[int, int]:
    """0 <= n <= m, whole."""
    n, m = moves("n", n), moves("m", m)
    if n > m:
        raise ValueError(f"n must lie between 0 and m, got n={n}, m={m}")
    return n, m
