"""smalldiffusion's U-Net on MNIST, with the settings of its examples/fashion_mnist_unet.py and its own loops.

The network (64 channels, multiples 1, 1, 2, attention at 14 x 14), 1,024 images a step, AdamW(7e-4) throughout, 800
sigmas from .01 to 20 equally spaced in their logarithm, eps predicted, an EMA of .999 (torch_ema, which warms up). The
class goes in as in its conditional example: `CondEmbedderLabel`, dropped one time in ten. Mirroring is left out.

Samples: its own accelerated sampler, gam = 1.6, without guidance, as the examples have it: a call a step.
"""

from collections.abc import Iterable, Iterator

import torch
from accelerate import Accelerator  # pyright: ignore
from smalldiffusion import CondEmbedderLabel, Scaled, ScheduleLogLinear, Unet, samples, training_loop  # pyright: ignore
from torch import Tensor
from torch_ema import ExponentialMovingAverage  # pyright: ignore

CHANNELS = 64
GAM = 1.6


class SmallDiffusion:
    """A U-Net of smalldiffusion, its noise and its averaged weights."""

    def __init__(self) -> None:
        self.batch = 1024
        self.net = Scaled(Unet)(28, 1, 1, ch=CHANNELS, ch_mult=(1, 1, 2), attn_resolutions=(14,),
                                cond_embed=CondEmbedderLabel(4 * CHANNELS, 10, 0.1))
        self.schedule = ScheduleLogLinear(sigma_min=0.01, sigma_max=20, N=800)
        self.cpu = Accelerator(cpu=True)

    def train(self, batches: Iterable[tuple[Tensor, Tensor]], steps: int) -> Iterator[float]:
        """The loss of each step, before it is taken; after the last the network has the averaged weights."""
        ema = ExponentialMovingAverage(self.net.parameters(), decay=0.999)
        for now in training_loop(batches, self.net, self.schedule, self.cpu, epochs=1, lr=7e-4, conditional=True):
            ema.update()
            yield now.loss.item()
        ema.update()
        ema.copy_to()

    @torch.no_grad()
    def sample(self, labels: Tensor, calls: int, random: torch.Generator) -> Tensor:
        """x, (n, 1, 28, 28), about in [-1, 1]."""
        sigmas = self.schedule.sample_sigmas(calls)
        x = sigmas[0] * torch.randn(len(labels), 1, 28, 28, generator=random)
        *_, last = samples(self.net, sigmas, gam=GAM, xt=x, cond=labels, accelerator=self.cpu)
        return last
