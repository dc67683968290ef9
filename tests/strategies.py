"""What Hypothesis draws: words, seeds, parts of the noise, grids of times, Gaussian parameters."""

import numpy as np
from hypothesis import strategies as st

WORD = 2**32

words = st.integers(0, WORD - 1)
seeds = st.integers(0, 2**64 - 1)
streams = st.integers(0, WORD - 1)
paths = st.integers(0, 2**40 - 1)
steps = st.integers(0, WORD - 1)
components = st.integers(0, 2**24 - 1)


def parts(size: int):
    """A range inside range(size), of any direction and stride."""
    index = st.integers(0, size - 1)
    stride = st.integers(-3, 3).filter(bool)
    return st.builds(lambda a, b, c: range(min(a, b), max(a, b) + 1)[::c], index, index, stride)


def numbers(low: float, high: float):
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


def grids(min_steps: int = 2, max_steps: int = 12):
    """Increasing times from any start, steps from 1/64 to 1 (dyadic, so that their sums are exact)."""
    sizes = st.lists(st.integers(1, 64), min_size=min_steps, max_size=max_steps)
    return st.builds(lambda start, h: np.cumsum([start, *h]) / 64.0, st.integers(-128, 128), sizes)


@st.composite
def matrices(draw, rows: int, columns: int):
    """A rows x columns matrix with entries in [-2, 2], none of its rows near zero."""
    row = st.lists(numbers(-2.0, 2.0), min_size=columns, max_size=columns).filter(lambda r: np.linalg.norm(r) > 0.1)
    return np.array([draw(row) for _ in range(rows)])
