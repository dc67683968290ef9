"""Import this before diffusers or smalldiffusion: both import torchvision, if only for its transforms of images.

The wheel of torchvision that package indices offer is built for CUDA. Beside a torch for CPUs alone its compiled
operators don't load, and the import ends at the first one that it describes. Nobody here calls them: declaring those
two lets the import pass.
"""

import sys

import torch

try:
    import torchvision  # noqa: F401  # pyright: ignore[reportMissingImports]
except RuntimeError:
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")
    for module in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[module]  # what was imported up to the error
