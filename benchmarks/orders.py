"""What methods claim and what is measured: `python benchmarks/orders.py` prints the table and writes docs/orders.md.

One row for each method and problem that fits: strong orders on paths of W, weak ones without sampling, each with its
interval (see `sdekit.laws`). --only NAME measures one method, --check runs all the laws; neither writes the file.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

import sdekit as sk
from sdekit import laws
from sdekit.orders import BATCHES, strong_claim

DOCUMENT = Path(__file__).parent.parent / "docs" / "orders.md"
NAMES = ("euler_maruyama", "tamed_euler", "theta", "srock", "milstein", "sra", "sri", "strong_general", "dri1",
         "euler_heun", "heun_stratonovich", "midpoint", "reversible_heun", "milstein_stratonovich", "baoab")
HEAD = f"""# Orders: claimed and measured

Written by `make orders`. Strong orders are of E|X_h(T) - X(T)| on {BATCHES} batches of paths, with intervals of
{laws.LEVEL:.1%} by the jackknife; weak ones of E phi(X_h(T)) - E phi(X(T)), worked out by quadrature, with the spread
of the last slopes. A claim is the smallest order over all equations of a kind: single problems may do better. The
problems are in `sdekit/problems.py`, what is done in `sdekit/orders.py` and `sdekit/weak.py`.

| method | order | problem | noise | claimed | measured |
| --- | --- | --- | --- | --- | --- |
"""


def methods() -> dict[str, sk.Method]:
    """The library's, as far as they are there; `theta` is a family, of which the trapezoidal rule is taken."""
    found = {name: getattr(sk, name) for name in NAMES if hasattr(sk, name)}
    return {name: m if isinstance(m, sk.Method) else m(0.5) for name, m in found.items()}


def rows(method: sk.Method) -> list[str]:
    lines = []
    for kind, settings in laws.measured_on(method).items():
        for p, *setting in settings:
            found = laws.strong(method, p, *setting)
            lines.append(f"| {method} | strong | {p} | {p.kind} | {strong_claim(method, kind):g} | {found} |")
    for p in laws.WEAK:
        if laws.taken(method, p.sde, p.x0) == method:
            lines += [f"| {method} | weak | {name} | {p.kind} | {method.weak:g} | {found} |"
                      for name, found in laws.weak(method, p).items()]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="NAME")
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    chosen = {asked.only: methods()[asked.only]} if asked.only else methods()
    missing = [name for name in NAMES if not hasattr(sk, name)]
    if asked.check:
        for method in chosen.values():
            print(laws.check_method(method), end="\n\n")
        return
    lines = [line for method in tqdm(chosen.values(), unit="method") for line in rows(method)]
    text = HEAD + "\n".join(lines) + "\n"
    print(text + (f"\nNot in sdekit: {', '.join(missing)}\n" if missing else ""))
    if not asked.only:
        DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
