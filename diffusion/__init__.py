"""Diffusion models on sdekit's solvers: train a denoiser, sample from it, measure what it makes.

    import diffusion as df
    result = df.sample(df.load(), 16, label=8, seed=0)      # the shipped digits
    df.plot.grid(result.samples)
"""

from importlib.util import find_spec

if not all(map(find_spec, ("torch", "safetensors", "pooch"))):
    raise ModuleNotFoundError("diffusion needs torch, safetensors and pooch; install them with: "
                              'pip install "sdekit[diffusion]"')

from diffusion import data, exact, grid, levels, losses, metrics, networks, plot, presets, views
from diffusion.bound import Bound, variational_bound
from diffusion.bytes import dequantised
from diffusion.checkpoint import load
from diffusion.compare import Comparison, compare
from diffusion.data import Data, Images, Points, fashion_mnist, mnist
from diffusion.denoiser import Denoiser, Preconditioned
from diffusion.diagnosis import Diagnosis, diagnose
from diffusion.distances import mmd, sliced_wasserstein
from diffusion.encoding import decode, encode, interpolate
from diffusion.film import film
from diffusion.grid import Grid
from diffusion.guidance import Derived, classifier_free, classifier_guided
from diffusion.inpainting import inpaint
from diffusion.laws import check_process
from diffusion.likelihood import LogLikelihood, log_likelihood
from diffusion.metrics import evaluate
from diffusion.networks.classifier import classifier
from diffusion.networks.mlp import MLPConfig
from diffusion.networks.noise_aware import noise_aware
from diffusion.networks.unet import UNetConfig
from diffusion.options import Options
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
from diffusion.snapshots import Snapshots
from diffusion.training import Record, train
from diffusion.views import View, denoiser, eps, flow, score, timestep, v, x0

__all__ = [
    "EDM", "VE", "VP", "Bound", "Comparison", "Cosine", "Data", "Denoiser", "Derived", "Diagnosis", "Discrete", "Grid",
    "Images", "Level", "LogLikelihood", "MLPConfig", "Options", "Points", "Preconditioned", "Process", "Record",
    "RectifiedFlow", "Sampler", "Samples", "Snapshots", "Step", "SubVP", "Trajectory", "UNetConfig", "View",
    "ancestral", "check_process", "churned", "classifier", "classifier_free", "classifier_guided", "compare",
    "contrast", "convert", "cosine_betas", "data", "ddim", "ddpm", "decode", "deis", "denoiser", "dequantised",
    "diagnose", "dpmpp_2m", "dpmpp_2s", "dpmpp_3m", "dpmpp_3s", "dpmpp_multistep", "encode", "eps", "euler",
    "evaluate", "exact", "fashion_mnist", "film", "flow", "flow_ode", "grid", "heun", "inpaint", "interpolate",
    "levels", "linear_betas", "load", "log_likelihood", "losses", "metrics", "mmd", "mnist", "networks", "noise_aware",
    "plot", "predictor_corrector", "presets", "reverse_sde", "sample", "score", "sde_dpmpp_1", "sde_dpmpp_2m",
    "sliced_wasserstein", "steps", "stepwise", "timestep", "train", "unipc", "v", "variational_bound", "views", "x0",
    "zero_terminal",
]
