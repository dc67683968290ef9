"""An eleven-class folder of coloured pictures: shapes on grounds, drawn by a seed.

    python examples/shapes.py out/shapes --size 32 --each 400 --seed 0

writes out/shapes/arrow/000.png, ... A shape is polygons of the unit disc, some of them holes. Its mask m is drawn
SUPERSAMPLING times as large, turned by an angle, scaled, moved, and shrunk by averaging, so that its edge is smooth.
The picture is m c_1 + (1 - m) c_0, with a random colour c_1 and a ground c_0 that runs from one shade to another.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

SUPERSAMPLING = 8
CONTRAST = 0.35  # the least difference in brightness between shape and ground
TURN = np.pi / 6  # shapes are turned by up to this, either way


def circle(radius: float = 1.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """A polygon of 64 corners, (64, 2)."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def regular(corners: int, inner: float | None = None) -> np.ndarray:
    """A regular polygon with a corner on top; with `inner`, a star whose inner corners lie that far out."""
    count = corners if inner is None else 2 * corners
    angle = -np.pi / 2 + 2 * np.pi * np.arange(count) / count
    radius = np.ones(count) if inner is None else np.where(np.arange(count) % 2, inner, 1.0)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def heart() -> np.ndarray:
    """x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, scaled."""
    t = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y - 2], axis=1) / 16


def drop() -> np.ndarray:
    """A disc below, a point on top."""
    angle = np.linspace(-0.15 * np.pi, 1.15 * np.pi, 48)
    below = 0.62 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + (0.0, 0.38)
    return np.concatenate([below, [(0.0, -1.0)]])


CROSS = np.array([(-.3, -1), (.3, -1), (.3, -.3), (1, -.3), (1, .3), (.3, .3), (.3, 1), (-.3, 1), (-.3, .3), (-1, .3),
                  (-1, -.3), (-.3, -.3)])
ARROW = np.array([(-1, -.28), (.1, -.28), (.1, -.8), (1, 0), (.1, .8), (.1, .28), (-1, .28)])
BOLT = np.array([(.2, -1), (-.65, .2), (-.05, .2), (-.3, 1), (.65, -.3), (.05, -.3), (.45, -1)])
SQUARE = 0.8 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])

# class: what is filled, and what is cut out of it
SHAPES = {
    "arrow": ([ARROW], []),
    "bolt": ([BOLT], []),
    "crescent": ([circle()], [circle(0.85, 0.45, 0.0)]),
    "cross": ([CROSS], []),
    "disc": ([circle()], []),
    "drop": ([drop()], []),
    "heart": ([heart()], []),
    "ring": ([circle()], [circle(0.55)]),
    "square": ([SQUARE], []),
    "star": ([regular(5, inner=0.42)], []),
    "triangle": ([regular(3)], []),
}


def draw(name: str, size: int, random: np.random.Generator) -> Image.Image:
    """One picture of a class, size x size, RGB."""
    scale = random.uniform(0.26, 0.42) * size
    middle = random.uniform(1.02 * scale, size - 1.02 * scale, 2)
    angle = random.uniform(-TURN, TURN)
    turn = scale * np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    mask = Image.new("L", (SUPERSAMPLING * size,) * 2)
    pen = ImageDraw.Draw(mask)
    for polygons, fill in zip(SHAPES[name], (255, 0)):
        for polygon in polygons:
            pen.polygon([tuple(corner) for corner in SUPERSAMPLING * (polygon @ turn + middle)], fill=fill)
    m = np.asarray(mask.resize((size, size), Image.Resampling.BOX), float)[..., None] / 255
    shape, ground = colours(random)
    shade = ground + random.uniform(-0.12, 0.12, 3) * np.linspace(-1, 1, size)[:, None, None]
    picture = m * shape + (1 - m) * np.broadcast_to(shade, (size, size, 3))
    return Image.fromarray(np.rint(255 * picture.clip(0, 1)).astype(np.uint8))


def colours(random: np.random.Generator) -> np.ndarray:
    """Two colours, (2, 3) in [0, 1], that differ in brightness by CONTRAST or more."""
    while True:
        pair = random.uniform(0, 1, (2, 3))
        bright = pair @ (0.299, 0.587, 0.114)
        if abs(bright[0] - bright[1]) >= CONTRAST:
            return pair


def write(out: Path, size: int, each: int, seed: int, progress: bool = True) -> None:
    """`each` pictures of each class into its folder; picture k of a class depends on (seed, class, k) and size."""
    for number, name in enumerate(tqdm(SHAPES, unit="class", disable=not progress)):
        (out / name).mkdir(parents=True, exist_ok=True)
        for k in range(each):
            random = np.random.default_rng((seed, number, k))
            draw(name, size, random).save(out / name / f"{k:0{len(str(each - 1))}d}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--size", type=int, default=32, help="pixels along a side")
    parser.add_argument("--each", type=int, default=400, help="pictures of each class")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.size < 8 or given.each < 1 or given.seed < 0:
        parser.error("--size must be at least 8, --each at least 1 and --seed at least 0")
    write(given.out, given.size, given.each, given.seed)
    print(f"wrote {len(SHAPES) * given.each} pictures of {len(SHAPES)} classes to {given.out}")
