"""Draw all rows, or those whose numbers are given: `python -m examples.curriculum 1 5 20`."""

import argparse
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from examples.curriculum import (  # noqa: F401  (for their rows)
    densities,
    gaussians,
    generation,
    guidance,
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
    figure.savefig(folder / f"row-{row.number:02}.png", dpi=100)
    plt.close(figure)
    return numbers


def main() -> None:
    """Draw, print, and, if all rows were drawn, write the page."""
    parser = argparse.ArgumentParser(prog="python -m examples.curriculum", description=__doc__)
    parser.add_argument("rows", type=int, nargs="*", help=f"numbers from {min(ROWS)} to {max(ROWS)}; by default all")
    chosen = parser.parse_args().rows or sorted(ROWS)
    unknown = sorted(set(chosen) - set(ROWS))
    if unknown:
        parser.error(f"there are rows {sorted(ROWS)}; got {unknown}")
    folder = DOCS / "curriculum"
    folder.mkdir(exist_ok=True)
    pages, failed, start = [], 0, time.perf_counter()
    for number in chosen:
        row = ROWS[number]
        numbers = drawn(row, folder)
        print(f"{number:3}  {row.title}")
        for one in numbers:
            print(f"       {'ok' if one.held else 'NO'}  {one.what}: asked {one.asked}, got {one.got}")
            failed += not one.held
        pages.append(page(row, numbers))
    print(f"\n{len(chosen)} rows in {time.perf_counter() - start:.0f} s; pictures in {folder}; {failed} numbers off")
    if len(chosen) == len(ROWS):
        write(pages)
    raise SystemExit(failed > 0)


def page(row: Row, numbers: list[Number]) -> str:
    """The row as Markdown."""
    lines = [f"## {row.number}. {row.title}", "", f"![{row.title}](curriculum/row-{row.number:02}.png)", "",
             "| number | asked for | got |", "| --- | --- | --- |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in (n.what, n.asked, n.got)) + " |" for n in numbers]
    return "\n".join(lines)


def write(pages: list[str]) -> None:
    """docs/curriculum.md"""
    head = ("# Random motion and generation, row by row\n\nWhat the courses say about random motion, and about "
            "generation by denoising as far as a denoiser in closed form can show it, as functions with the exact "
            "answer beside the simulated one. `make curriculum` draws these pictures and writes this page; the suite "
            "checks every number. \"Allowed\" is rounding, or 4.5 standard errors of what was simulated.\n")
    (DOCS / "curriculum.md").write_text("\n\n".join([head.rstrip(), *pages]) + "\n")


if __name__ == "__main__":
    main()
