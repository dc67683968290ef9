"""Every row of the curriculum gives the numbers that it has to reproduce, and a picture.

Those that train on MNIST are tested where SDEKIT_MNIST names its folder.
"""

import os

import matplotlib
import pytest

matplotlib.use("Agg")
from examples.curriculum import grades
from examples.curriculum.__main__ import drawn, has_mnist, page
from examples.curriculum.rows import ROWS

REAL = [pytest.mark.mnist, pytest.mark.skipif("SDEKIT_MNIST" not in os.environ, reason="SDEKIT_MNIST names no folder")]


def test_the_rows_are_those_of_random_motion_and_of_denoisers_exact_and_learned():
    assert [number for number, learned in sorted(ROWS) if not learned] == [*range(1, 40), 41, 42, 43]
    assert [number for number, learned in sorted(ROWS) if learned] == [33, 36, 37, 38, 39]


def test_without_mnist_its_rows_are_known_to_be_impossible(monkeypatch, tmp_path):
    monkeypatch.setenv("SDEKIT_MNIST", str(tmp_path))
    grades.mnist.cache_clear()
    assert not has_mnist()
    grades.mnist.cache_clear()


@pytest.mark.parametrize("row", [pytest.param(row, marks=REAL if row.mnist else [], id=row.name.replace("-", " "))
                                 for row in ROWS.values()])
def test_a_row_gives_its_numbers(row, tmp_path):
    numbers = drawn(row, tmp_path)
    off = [n for n in numbers if not n.held]
    assert numbers and not off, off
    assert (tmp_path / f"{row.name}.png").stat().st_size > 5000
    assert page(row, numbers).count("\n") == 5 + len(numbers)
