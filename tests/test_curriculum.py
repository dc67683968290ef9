"""Every row of the curriculum gives the numbers that it has to reproduce, and a picture."""

import matplotlib
import pytest

matplotlib.use("Agg")
from examples.curriculum.__main__ import drawn, page
from examples.curriculum.rows import ROWS


def test_the_rows_are_those_of_random_motion_and_of_exact_denoisers():
    assert sorted(ROWS) == [*range(1, 25), 29, 31, 32, 36, 37, 38, 39]


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: f"row {row.number}")
def test_a_row_gives_its_numbers(row, tmp_path):
    numbers = drawn(row, tmp_path)
    off = [n for n in numbers if not n.held]
    assert numbers and not off, off
    assert (tmp_path / f"row-{row.number:02}.png").stat().st_size > 5000
    assert page(row, numbers).count("\n") == 5 + len(numbers)
