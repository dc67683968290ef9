"""Diffusion models on sdekit's solvers: train a denoiser, sample from it, measure what it makes.

    import diffusion as df
    result = df.sample(df.load(), 16, label=8, seed=0)      # the shipped digits
    df.plot.grid(result.samples)
"""

from importlib.util import find_spec

if not all(map(find_spec, ("torch", "safetensors", "pooch"))):
    raise ModuleNotFoundError("diffusion needs torch, safetensors and pooch; install them with: "
                              'pip install "sdekit[diffusion]"')

from diffusion import exact, losses, plot
from diffusion.checkpoint import load
from diffusion.data import Images, mnist
from diffusion.denoiser import Denoiser, Preconditioned, eps, score
from diffusion.grid import Grid
from diffusion.guidance import classifier_free
from diffusion.metrics import evaluate
from diffusion.networks.classifier import classifier
from diffusion.networks.unet import UNetConfig
from diffusion.process import EDM, VP, linear_betas
from diffusion.sampling import Samples, ddpm, flow_ode, heun, reverse_sde, sample
from diffusion.training import Options, Record, train

__all__ = [
    "EDM", "VP", "Denoiser", "Grid", "Images", "Options", "Preconditioned", "Record", "Samples", "UNetConfig",
    "classifier", "classifier_free", "ddpm", "eps", "evaluate", "exact", "flow_ode", "heun", "linear_betas", "load",
    "losses", "mnist", "plot", "reverse_sde", "sample", "score", "train",
]
