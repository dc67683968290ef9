"""Problems with exact answers, on which samplers are proven."""

import torch

from diffusion.exact import GaussianMixture


def mixture() -> GaussianMixture:
    """Three Gaussians in the plane, wide enough to overlap, each of its own shape; components are classes.

    The denoiser is far from linear between noise levels 0.3 and 3, and hardly any path of the reverse SDE is torn
    between two components, so that an order shows at some dozens of steps.

    >>> mixture().classes
    3
    """
    means = torch.tensor([[1.0, 0.5], [-1.1, 0.4], [0.2, -1.2]], dtype=torch.float64)
    roots = torch.tensor([[[0.6, 0.2], [0.0, 0.5]], [[0.55, 0.0], [0.2, 0.45]], [[0.5, -0.2], [0.0, 0.6]]],
                         dtype=torch.float64)
    return GaussianMixture(means, roots @ roots.mT, [0.4, 0.35, 0.25])
