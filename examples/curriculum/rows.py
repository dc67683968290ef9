"""A row of the curriculum: a picture, and numbers beside those that it has to reproduce."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Number:
    """What a row has to reproduce, `asked`, and what came out, `got`, as they are printed; whether they agree."""

    what: str
    asked: str
    got: str
    held: bool


def near(what: str, asked: float, got: float, within: float, digits: int = 6) -> Number:
    """|got - asked| <= within; `within` is rounding, or K standard errors of what was simulated."""
    held = bool(abs(got - asked) <= within)
    return Number(what, f"{asked:.{digits}g}", f"{got:.{digits}g} (allowed ± {within:.2g})", held)


def claim(what: str, got: str, held: bool) -> Number:
    """Something that has to be so, and by what it shows."""
    return Number(what, "yes", f"{'yes' if held else 'NO'}: {got}", bool(held))


@dataclass(frozen=True)
class Row:
    """`draw` fills an empty figure and returns the numbers.

    learned   a second part of a row that has been drawn with exact denoisers: with trained networks
    mnist     it needs MNIST
    """

    number: int
    title: str
    draw: Callable[[Figure], list[Number]]
    size: tuple[float, float]
    learned: bool = False
    mnist: bool = False

    @property
    def name(self) -> str:
        """Of its picture's file."""
        return f"row-{self.number:02}" + "-learned" * self.learned


ROWS: dict[tuple[int, bool], Row] = {}
K = 4.5  # standard errors: a true number lies further off once in 150,000


def row(number: int, title: str, size: tuple[float, float] = (10.0, 4.0), learned: bool = False,
        mnist: bool = False) -> Callable:
    """Make a function of a figure the row of this number, or its part on learning."""
    def add(draw: Callable[[Figure], list[Number]]) -> Callable[[Figure], list[Number]]:
        assert (number, learned) not in ROWS, number
        ROWS[number, learned] = Row(number, title, draw, size, learned, mnist)
        return draw

    return add


def bare(ax: Axes, title: str = "", x: str = "", y: str = "") -> Axes:
    """Titles, and no lines where none are needed."""
    ax.set(title=title, xlabel=x, ylabel=y)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
