"""Densities on a grid: `sk.density.fokker_planck(sde, start, sk.density.grid(-5, 5, 400), t=1.0, steps=100)`."""

from sdekit.density.cells import grid
from sdekit.density.equations import Density, continuity, fokker_planck

__all__ = ["Density", "continuity", "fokker_planck", "grid"]
