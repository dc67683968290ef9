"""Draw all rows, or those whose numbers are given: `python -m examples.curriculum 1 5 20`.

Rows that need MNIST read it from the folder named by SDEKIT_MNIST, or where it was fetched to; without it they are
left out, and so is the page.
"""

import argparse
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from examples.curriculum import (  # noqa: F401  (for their rows)
    coloured,
    courses,
    densities,
    gaussians,
    generation,
    grades,
    guidance,
    learned,
    motion,
    posterior,
    processes,
    walks,
)
from examples.curriculum.rows import ROWS, Number, Row

DOCS = Path(__file__).parents[2] / "docs"


def drawn(row: Row, folder: Path) -> list[Number]:
    """Draw the row's picture into the folder."""
    figure = plt.figure(figsize=row.size, layout="constrained")
    numbers = row.draw(figure)
    figure.savefig(folder / f"{row.name}.png", dpi=100)
    plt.close(figure)
    return numbers


def main() -> None:
    """Draw, print, and, if all rows were drawn, write the page."""
    parser = argparse.ArgumentParser(prog="python -m examples.curriculum", description=__doc__)
    known = sorted({number for number, _ in ROWS})
    parser.add_argument("rows", type=int, nargs="*", help=f"numbers from {known[0]} to {known[-1]}; by default all")
    asked = parser.parse_args().rows or known
    unknown = sorted(set(asked) - set(known))
    if unknown:
        parser.error(f"there are rows {known}; got {unknown}")
    chosen = [ROWS[key] for number in asked for key in ((number, False), (number, True)) if key in ROWS]
    folder = DOCS / "curriculum"
    folder.mkdir(exist_ok=True)
    pages, failed, start = [], 0, time.perf_counter()
    for row in chosen:
        print(f"{row.number:3}  {row.title}", flush=True)
        if row.mnist and not has_mnist():
            print("       left out: it needs MNIST, in the folder named by SDEKIT_MNIST")
            continue
        numbers = drawn(row, folder)
        for one in numbers:
            print(f"       {'ok' if one.held else 'NO'}  {one.what}: asked {one.asked}, got {one.got}")
            failed += not one.held
        pages.append(page(row, numbers))
    print(f"\n{len(pages)} rows in {time.perf_counter() - start:.0f} s; pictures in {folder}; {failed} numbers off")
    if len(pages) == len(ROWS):
        write(pages)
    raise SystemExit(failed > 0)


def has_mnist() -> bool:
    """Whether MNIST is there, without fetching it."""
    try:
        return len(grades.mnist("train")) > 0 and len(grades.mnist("test")) > 0
    except OSError:
        return False


def page(row: Row, numbers: list[Number]) -> str:
    """The row as Markdown."""
    lines = [f"## {row.number}. {row.title}", "", f"![{row.title}](curriculum/{row.name}.png)", "",
             "| number | asked for | got |", "| --- | --- | --- |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in (n.what, n.asked, n.got)) + " |" for n in numbers]
    return "\n".join(lines)


def write(pages: list[str]) -> None:
    """docs/curriculum.md"""
    head = ("# Random motion and generation, row by row\n\nWhat the courses say about random motion, and about "
            "generation by denoising, as functions with the exact answer beside the simulated one; where networks are "
            "trained, on MNIST, the claim beside what was measured. `make curriculum` draws these pictures and writes "
            "this page, with MNIST in the folder named by SDEKIT_MNIST; the suite checks every number. \"Allowed\" is "
            "rounding, or 4.5 standard errors of what was simulated.\n")
    (DOCS / "curriculum.md").write_text("\n\n".join([head.rstrip(), *pages]) + "\n")


if __name__ == "__main__":
    main()
