"""Data in memory, all of it behind one interface, `Data`: images of bytes, and points.

    from diffusion import data
    data.load("mnist"), data.load("moons", n=1000), data.load("my/pictures", size=32)
"""

from diffusion.data.archives import unpack
from diffusion.data.folder import folder
from diffusion.data.idx import read_idx
from diffusion.data.images import Images
from diffusion.data.labelled import Data
from diffusion.data.load import load
from diffusion.data.npz import npz
from diffusion.data.points import Points
from diffusion.data.published import FASHION_MD5, FASHION_MIRRORS, MIRRORS, MNIST_MD5, fashion_mnist, idx, mnist
from diffusion.data.toys import checkerboard, eight_gaussians, moons, swiss_roll

__all__ = ["FASHION_MD5", "FASHION_MIRRORS", "MIRRORS", "MNIST_MD5", "Data", "Images", "Points", "checkerboard",
           "eight_gaussians", "fashion_mnist", "folder", "idx", "load", "mnist", "moons", "npz", "read_idx",
           "swiss_roll", "unpack"]
