"""From what a user types to data: a name, a folder, an archive, a file."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from diffusion.data.archives import unpack
from diffusion.data.folder import SUFFIXES, folder, subfolders
from diffusion.data.images import Images
from diffusion.data.labelled import SPLITS, check_split
from diffusion.data.npz import npz
from diffusion.data.points import Points
from diffusion.data.published import fashion_mnist, holds_idx, idx, mnist
from diffusion.data.toys import checkerboard, eight_gaussians, moons, swiss_roll

PUBLISHED = {"mnist": mnist, "fashion": fashion_mnist}
TOYS = {"moons": moons, "swiss-roll": swiss_roll, "eight-gaussians": eight_gaussians, "checkerboard": checkerboard}
_TEST = 2**38  # the first of a toy's test points


def load(what: str | os.PathLike, split: str = "train", **options) -> Images | Points:
    """The data that `what` names, the command line's DATA:

        mnist, fashion                                    options folder, download
        moons, swiss-roll, eight-gaussians, checkerboard  options n, seed, noise
        a folder of IDX files as MNIST's                  none
        a folder of pictures                              options size, channels
        a .zip or .tar of either, or https://... of one   the same, and sha256
        a file .npz                                       option span

    split   "train" or "test". A toy's are different points of its seed; a folder's are its subfolders train/ and
            test/, and without them all of it is "train", as all of a .npz file is

    Raises ValueError for a name or a split that is not known, TypeError for what is no name and an option that is not
    taken there, and what the functions of these names raise.

    >>> load("moons", n=500, seed=1).shape, load("eight-gaussians", "test", n=100).classes[0]
    ((2,), 'east')
    >>> load("mnst")
    Traceback (most recent call last):
    ValueError: unknown data 'mnst'; known are mnist, fashion, moons, swiss-roll, eight-gaussians, checkerboard, ...
    """
    check_split(split)
    if not isinstance(what, str | os.PathLike):
        raise TypeError(f"data are named by a text or a path, got {what!r} ({type(what).__name__}); {_known()}")
    name = str(what).lower().replace("_", "-")
    if name in PUBLISHED:
        return _called(partial(PUBLISHED[name], split), name, options)
    if name in TOYS:
        return _called(partial(TOYS[name], first=_TEST if split == "test" else 0), name, options)
    if Path(what).is_file() and Path(what).suffix.lower() in SUFFIXES:
        raise ValueError(f"{what} is one picture; name the folder that it lies in, {Path(what).parent}.")
    if "://" in str(what) or (Path(what).is_file() and Path(what).suffix.lower() != ".npz"):
        return _folder(unpack(what, options.pop("sha256", None)), split, options)
    if Path(what).is_dir():
        return _folder(Path(what), split, options)
    if Path(what).is_file():
        _all_is_train(what, split)
        return _called(partial(npz, what), str(what), options)
    if Path(what).name != str(what) or Path(what).suffix:
        raise FileNotFoundError(f"there is no file or folder {what}; {_known()}")
    raise ValueError(f"unknown data {str(what)!r}; {_known()}")


def _known() -> str:
    return (f"known are {', '.join((*PUBLISHED, *TOYS))}, and a folder of pictures or of IDX files, a .zip or .tar of "
            "one, an https:// address of such, or a .npz file, by its path.")


def _folder(place: Path, split: str, options: dict) -> Images:
    if holds_idx(place):
        return _called(partial(idx, place, split), str(place), options)
    inner = {entry.name: entry for entry in subfolders(place)}
    if not set(SPLITS) <= set(inner):
        _all_is_train(place, split)
        return _called(partial(folder, place), str(place), options)
    train, test = ([entry.name for entry in subfolders(inner[name])] for name in SPLITS)
    if train != test:  # label k would mean one class here and another there
        odd = sorted(set(train) ^ set(test))
        raise ValueError(f"{place}: train/ and test/ must hold the same classes, and {', '.join(map(repr, odd))} are "
                         "in one of them alone.")
    return replace(_called(partial(folder, inner[split]), str(place), options), name=place.resolve().name)


def _all_is_train(what: str | os.PathLike, split: str) -> None:
    if split != "train":
        raise ValueError(f"{what} has no test split; only MNIST, Fashion-MNIST, toys, IDX files and folders with "
                         "train/ and test/ do. Make such folders, or name the test data by a path of their own.")


def _called(make: Callable, name: str, options: dict):
    """make(**options), or a TypeError that says which options there are."""
    set_already = {*(make.keywords if isinstance(make, partial) else ())}
    taken = [option for option in inspect.signature(make).parameters if option not in set_already]
    unknown = [option for option in options if option not in taken]
    if unknown:
        raise TypeError(f"{name} does not take {', '.join(unknown)}; its options are {', '.join(taken) or 'none'}.")
    return make(**options)
