"""diffusers' UNet2DModel on MNIST, with the recipe of its examples/unconditional_image_generation.

`SCRIPT` is train_unconditional.py as it stands: its network, 16 images a step, AdamW(1e-4; .95, .999; weight decay
1e-6), 1,000 steps of linear betas, eps predicted, gradients clipped at 1, an EMA of min(.9999, 1 - (1 + n)^{-3/4}), a
cosine from 500 warm-up steps down to 0 at the last one. It is for three-channel pictures of 64 x 64; here they have one
channel and are padded to 32 x 32, its smallest size. Not kept is what would do harm: no random mirroring, and where a
run has less than 5,000 steps a tenth of them warms up. The class goes into the network's own embedding.

`COURSE` is the network that the diffusion course of the same authors (unit 2) takes for MNIST with classes, at 28 x 28,
a hundredth of the size: its batch, betas and learning rate, in the same loop, which adds EMA, clipping and the cosine.

Samples: the library's DDIM scheduler as it comes (eta = 0, clipped, "leading" steps), no guidance: a call a step.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel  # pyright: ignore
from diffusers.optimization import get_scheduler  # pyright: ignore
from diffusers.training_utils import EMAModel  # pyright: ignore
from torch import Tensor
from torch.nn import functional as F

WARM_UP = 500


@dataclass(frozen=True)
class Recipe:
    """A network by its channels at each size, R plain or A with attention, and what it is trained with."""

    channels: tuple[int, ...]
    blocks: str
    size: int
    batch: int
    rate: float
    betas: str


SCRIPT = Recipe((128, 128, 256, 256, 512, 512), "RRRRAR", 32, 16, 1e-4, "linear")
COURSE = Recipe((32, 64, 64), "RAA", 28, 128, 1e-3, "squaredcos_cap_v2")


class Diffusers:
    """A U-Net of diffusers, its noise and its averaged weights."""

    def __init__(self, recipe: Recipe):
        kind = {"R": "", "A": "Attn"}
        self.recipe, self.batch = recipe, recipe.batch
        self.net = UNet2DModel(
            sample_size=recipe.size, in_channels=1, out_channels=1, layers_per_block=2, num_class_embeds=10,
            block_out_channels=recipe.channels, down_block_types=tuple(f"{kind[b]}DownBlock2D" for b in recipe.blocks),
            up_block_types=tuple(f"{kind[b]}UpBlock2D" for b in reversed(recipe.blocks)))
        self.noise = DDPMScheduler(num_train_timesteps=1000, beta_schedule=recipe.betas)

    def train(self, batches: Iterable[tuple[Tensor, Tensor]], steps: int) -> Iterator[float]:
        """The loss of each step, once it is taken; after the last the network has the averaged weights."""
        weights = list(self.net.parameters())
        adam = torch.optim.AdamW(weights, lr=self.recipe.rate, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
        rate = get_scheduler("cosine", adam, num_warmup_steps=min(WARM_UP, steps // 10), num_training_steps=steps)
        ema = EMAModel(weights, decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75, foreach=True)
        self.net.train()
        for images, labels in batches:
            x = F.pad(images, [(self.recipe.size - 28) // 2] * 4, value=-1.0)
            eps, t = torch.randn_like(x), torch.randint(1000, (len(x),))
            noised = self.noise.add_noise(x, eps, t)  # type: ignore[arg-type]
            loss = F.mse_loss(self.net(noised, t, labels).sample.float(), eps)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            adam.step()
            rate.step()
            adam.zero_grad()
            ema.step(weights)
            yield loss.item()
        ema.copy_to(weights)

    @torch.no_grad()
    def sample(self, labels: Tensor, calls: int, random: torch.Generator) -> Tensor:
        """x, (n, 1, 28, 28), about in [-1, 1]."""
        ddim = DDIMScheduler.from_config(self.noise.config)
        ddim.set_timesteps(calls)
        x = torch.randn(len(labels), 1, self.recipe.size, self.recipe.size, generator=random)
        self.net.eval()
        for t in ddim.timesteps:
            x = ddim.step(self.net(x, t, labels).sample.float(), t, x).prev_sample
        edge = (self.recipe.size - 28) // 2
        return x[..., edge:edge + 28, edge:edge + 28]
