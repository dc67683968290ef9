"""Diffusion models on sdekit's solvers: train a denoiser, sample from it, measure what it makes.

    import diffusion as df
    result = df.sample(df.load(), 16, label=8, seed=0)      # the shipped digits
    df.plot.grid(result.samples)
"""

from importlib.util import find_spec

if not all(map(find_spec, ("torch", "safetensors", "pooch"))):
    raise ModuleNotFoundError("diffusion needs torch, safetensors and pooch; install them with: "
                              'pip install "sdekit[diffusion]"')

from diffusion import exact, grid, losses, plot, views
from diffusion.checkpoint import load
from diffusion.compare import Comparison, compare
from diffusion.data import Images, mnist
from diffusion.denoiser import Denoiser, Preconditioned
from diffusion.diagnosis import Diagnosis, diagnose
from diffusion.distances import mmd, sliced_wasserstein
from diffusion.encoding import decode, encode, interpolate
from diffusion.grid import Grid
from diffusion.guidance import Derived, classifier_free, classifier_guided
from diffusion.inpainting import inpaint
from diffusion.likelihood import LogLikelihood, log_likelihood
from diffusion.metrics import evaluate
from diffusion.networks.classifier import classifier
from diffusion.networks.unet import UNetConfig
from diffusion.process import (
    EDM,
    VE,
    VP,
    Cosine,
    Discrete,
    Level,
    Process,
    RectifiedFlow,
    SubVP,
    convert,
    cosine_betas,
    linear_betas,
    zero_terminal,
)
from diffusion.samplers import (
    Sampler,
    ancestral,
    churned,
    ddim,
    ddpm,
    deis,
    dpmpp_2m,
    dpmpp_2s,
    dpmpp_3m,
    dpmpp_3s,
    dpmpp_multistep,
    euler,
    flow_ode,
    heun,
    predictor_corrector,
    reverse_sde,
    sde_dpmpp_1,
    sde_dpmpp_2m,
    stepwise,
    unipc,
)
from diffusion.sampling import Samples, Step, Trajectory, contrast, sample, steps
from diffusion.training import Options, Record, train
from diffusion.views import View, denoiser, eps, flow, score, timestep, v, x0

__all__ = [
    "EDM", "VE", "VP", "Comparison", "Cosine", "Denoiser", "Derived", "Diagnosis", "Discrete", "Grid", "Images",
    "Level", "LogLikelihood", "Options", "Preconditioned", "Process", "Record", "RectifiedFlow", "Sampler", "Samples",
    "Step", "SubVP", "Trajectory", "UNetConfig", "View", "ancestral", "churned", "classifier", "classifier_free",
    "classifier_guided", "compare", "contrast", "convert", "cosine_betas", "ddim", "ddpm", "decode", "deis",
    "denoiser", "diagnose", "dpmpp_2m", "dpmpp_2s", "dpmpp_3m", "dpmpp_3s", "dpmpp_multistep", "encode", "eps",
    "euler", "evaluate", "exact", "flow", "flow_ode", "grid", "heun", "inpaint", "interpolate", "linear_betas",
    "load", "log_likelihood", "losses", "mmd", "mnist", "plot", "predictor_corrector", "reverse_sde", "sample",
    "score", "sde_dpmpp_1", "sde_dpmpp_2m", "sliced_wasserstein", "steps", "stepwise", "timestep", "train", "unipc",
    "v", "views", "x0", "zero_terminal",
]
