"""The inception score: how surely each image is of one class, and how evenly all are of all (Salimans et al. 2016).

    IS = exp(E KL(p(y|x) || p(y))),   p(y) = E p(y|x);   1 <= IS <= classes.

It is 1 where all predictions are alike, and the number of classes where each is sure and classes are even. It knows
no real images: a set of one perfect picture for each class scores best. All n samples make one p(y), not ten parts of
them; the influence of a sample is IS (KL(p(y|x) || p(y)) - its mean). Logarithms are natural.
"""

import numpy as np
from scipy.special import rel_entr

from diffusion.metrics.extractor import Features, check_features
from diffusion.metrics.score import Score, smooth


def inception_score(x: Features) -> Score:
    """IS of samples.

    Raises ValueError for features without probabilities, or fewer than two samples.

    >>> sure = Features(np.zeros((6, 1)), np.eye(3)[[0, 1, 2, 0, 1, 2]], "mine", "toy")
    >>> round(inception_score(sure).value, 12)
    3.0
    """
    check_features(x)
    p = x.probabilities
    if p is None:
        raise ValueError(f"the extractor {x.extractor} gives no p(class | x), which an inception score is made of; "
                         "give df.metrics.extractor the classes= of its logits")
    if len(p) < 2:
        raise ValueError(f"an inception score takes two images or more, got {len(p)}")
    each = rel_entr(p, p.mean(0)).sum(1)
    value = float(np.exp(each.mean()))
    return smooth("inception", value, value * each, "", x.extractor)
