"""All scores of a model or of its samples in one report, each beside what real images score.

    samples x: n        reference: the data y        floor: n real images that are not in the reference

FID compares with all the data; KID, precision and recall with n of them, drawn at random, since balls about neighbours
shrink as a set grows. Real images are n of `held_out`; without those, n of the data, which are then taken out of the
reference of the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from diffusion.data import Images
from diffusion.denoiser import Denoiser
from diffusion.guidance import Derived
from diffusion.metrics.accuracy import Evaluation, judged
from diffusion.metrics.extractor import Extractor, Features, digits
from diffusion.metrics.frechet import fid
from diffusion.metrics.inception import inception_score
from diffusion.metrics.kernel import kid
from diffusion.metrics.memorisation import check_apart, memorisation
from diffusion.metrics.neighbours import K, precision, recall
from diffusion.metrics.report import Report
from diffusion.metrics.score import Score, share
from diffusion.metrics.statistics import Statistics, shipped
from diffusion.sampling import Samples, sample
from sdekit.noise import check_seed, whole

Pictures = Images | Tensor
LEAST = 4 * (K + 1)  # images of a reference, so that halves of halves have neighbours
N = 1000


def evaluate(source: Denoiser | Samples | Pictures, n: int | None = None, *,
             data: Pictures | Features | Statistics | None = None, held_out: Pictures | Features | None = None,
             extractor: Extractor | None = None, seed: int = 0, progress: bool | None = None, **options) -> Report:
    """Measure n samples: class accuracy, FID, inception score, KID, precision, recall, and whether they are copies.

    source      a denoiser, of which n samples are drawn, the classes in turn where it has any; or samples: `Samples`,
                `Images`, or (n, channels, height, width) in [-1, 1]
    n           1000 of a denoiser; of samples all, or the first n
    data        the training data: images, or `Features` of them, made once by extractor(data). `Statistics` do for FID
                alone. Without, the shipped statistics of MNIST do for the digits' extractor
    held_out    images of the same law that were not trained on
    extractor   what sees them; the shipped `digits` for 28 x 28 grey, else one of `df.metrics.extractor`
    seed        of the samples, and of what is drawn from the data
    options     of `sample`: steps, method, grid, guidance, label, ...

    Returns `Report`; what could not be measured is in its `missing`, with what it needs. Raises TypeError or ValueError
    for images that the extractor does not take, too few of them, held-out ones that are among the data, or features
    that another extractor made.

    >>> from diffusion.checkpoint import load
    >>> report = evaluate(load(), n=20, steps=2, seed=0)
    >>> sorted(report.scores), sorted(report.missing)
    (['accuracy', 'fid', 'inception'], ['copying', 'kid', 'precision', 'recall'])
    """
    see, seed = digits() if extractor is None else extractor, check_seed(seed)
    if not isinstance(see, Extractor):
        raise TypeError("extractor is one of df.metrics.extractor(module, layer, name=, shape=), or of "
                        "df.metrics.trained(model) for a classifier that was trained with --preset classifier; got "
                        f"{type(extractor).__name__}")
    if isinstance(data, Pictures) and isinstance(held_out, Pictures):
        check_apart(data, held_out)
    drawn = _drawn(source, n, see, seed, progress, options)
    x = see(drawn.images, drawn.name, progress=progress)
    if len(x) < 2:
        raise ValueError(f"scores take two samples or more, got {len(x)}")
    scores: dict[str, Score] = {}
    missing: dict[str, str] = {}
    read = _read(x, drawn, see, data, missing)
    if read is not None:
        scores["accuracy"] = share("accuracy", read.right, read.n, "", x.extractor)
    if x.probabilities is not None:
        scores["inception"] = inception_score(x)
    else:
        missing["inception"] = "the extractor gives no probabilities of classes; name its classes="
    reference = _default(drawn, x, missing) if data is None else data
    if isinstance(reference, Statistics):
        scores["fid"] = fid(x, reference)
        scores = {k: v.over(reference.floor(k, v.n)) for k, v in scores.items()}
    elif reference is not None:
        scores = _against(x, scores, _seen(reference, see, progress),
                          None if held_out is None else _seen(held_out, see, progress), seed)
        _floor_of_accuracy(scores, read, data, held_out, see)
    for name in ("kid", "precision", "recall"):
        if name not in scores:
            missing[name] = "it compares with images one by one; give them as data="
    copies = None
    if isinstance(data, Pictures) and isinstance(held_out, Pictures):
        copies = memorisation(drawn.images, data, held_out)
        scores["copying"] = copies.copying
    else:
        missing["copying"] = "it takes the training images, data=, and others of the same law, held_out="
    info = {"n": len(x), "extractor": str(see), "features": see.dim, "nfe": drawn.nfe, "seconds": drawn.seconds}
    return Report(scores, read, copies, missing, info)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Samples, what was asked for, what they cost; `name` of the data that they are to be like, `classes` of it."""

    images: Pictures
    asked: np.ndarray | None
    nfe: float | None = None
    seconds: float | None = None
    name: str = ""
    classes: tuple[str, ...] | None = None


def _drawn(source, n, see: Extractor, seed: int, progress, options: dict[str, Any]) -> _Drawn:
    if isinstance(source, Samples | Images | Tensor | np.ndarray):
        if options:
            raise TypeError(f"{', '.join(options)}: options are for drawing samples, and these are drawn already")
        count = len(source) if n is None else whole("n", n, len(source), start=1)
        if isinstance(source, Images):
            return _Drawn(source.subset(count), source.labels[:count], None, None, source.name, source.classes)
        if not isinstance(source, Samples):
            return _Drawn(torch.as_tensor(source[:count]), None)
        return _of(source, count, "", None)
    if not callable(source):
        raise TypeError(f"evaluate takes a denoiser, `Samples`, `Images`, or a tensor (n, channels, height, width); "
                        f"got {source!r}")
    base: Any = source
    while isinstance(base, Derived):
        base = base.base
    about = getattr(getattr(base, "header", None), "data", {})
    count, classes = N if n is None else n, getattr(source, "classes", None)
    if classes and count < classes:
        raise ValueError(f"evaluation needs at least one digit of each of the {classes} classes, got n={count}"
                         if classes == len(see.classes) else
                         f"evaluation needs at least one sample of each of the {classes} classes, got n={count}")
    shape = options.get("shape") or getattr(source, "shape", None)
    if shape is not None and see.shape is not None and tuple(shape) != see.shape:
        raise ValueError(f"the extractor {see.name} takes images of {see.shape}, and this denoiser makes "
                         f"{tuple(shape)}; give an extractor for those: df.metrics.extractor(module, ...)")
    label = options.pop("label", torch.arange(whole("n", count, 2**31, start=2)) % classes if classes else None)
    found = sample(cast(Denoiser, source), count, label=label, seed=seed, progress=progress, **options)
    return _of(found, count, about.get("name", ""), about.get("classes"))


def _of(found: Samples, n: int, name: str, classes) -> _Drawn:
    nfe = float(torch.as_tensor(found.nfe, dtype=torch.float64).mean())
    asked = None if found.label is None else found.label[:n].cpu().numpy()
    return _Drawn(found.samples[:n], asked, nfe, found.seconds, name, None if classes is None else tuple(classes))


def _default(drawn: _Drawn, x: Features, missing: dict[str, str]) -> Statistics | None:
    """The shipped statistics, where they are of the same data and the same extractor."""
    mnist = shipped()
    if drawn.name not in ("", mnist.data):
        missing["fid"] = f"these are of {drawn.name}, and the statistics that are shipped of {mnist.data}; give data="
    elif x.extractor != mnist.extractor:
        missing["fid"] = f"the statistics that are shipped are of {mnist.extractor}; give data="
    else:
        return mnist
    return None


def _read(x: Features, drawn: _Drawn, see: Extractor, data, missing: dict[str, str]) -> Evaluation | None:
    """What the extractor reads, where its classes are those of the data."""
    classes = drawn.classes or (data.classes if isinstance(data, Images) else None)
    if drawn.asked is None:
        missing["accuracy"] = "no classes were asked for; it takes samples drawn with label="
    elif x.probabilities is None:
        missing["accuracy"] = "the extractor reads no classes"
    elif (classes or see.classes) != see.classes or drawn.asked.max() >= len(see.classes):
        missing["accuracy"] = f"the extractor {see.name} reads {', '.join(see.classes)}, and these are other classes"
    else:
        return judged(drawn.asked, x.probabilities.argmax(1), see.classes, drawn.nfe, drawn.seconds)
    return None


def _seen(images: Pictures | Features, see: Extractor, progress) -> Features:
    found = images if isinstance(images, Features) else see(images, progress=progress)
    if len(found) < LEAST:
        raise ValueError(f"data and held-out images must be {LEAST} or more, for a reference and a floor; got "
                         f"{len(found)}")
    return found


def _against(x: Features, scores: dict[str, Score], y: Features, held: Features | None, seed: int) -> dict[str, Score]:
    """All scores of features against the data's, over their floors."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(y))
    if held is None:
        m = min(len(x), len(y) // 2)
        peers, real, rest = y.subset(order[:m]), y.subset(order[m:2 * m]), y.subset(np.r_[order[:m], order[2 * m:]])
    else:
        peers, real, rest = y.subset(order[:len(x)]), held.subset(random.permutation(len(held))[:len(x)]), y
    if len(real) < 2 or min(len(x), len(peers), len(real)) <= K:
        raise ValueError(f"nearest neighbours take more than {K} images of each set; got {len(x)} samples")
    found = {"fid": fid(x, y).over(fid(real, rest))}
    for name, score in (("kid", kid), ("precision", precision), ("recall", recall)):
        found[name] = score(x, peers).over(score(real, peers))
    if "inception" in scores:
        found["inception"] = scores["inception"].over(inception_score(real))
    return scores | found


def _floor_of_accuracy(scores: dict[str, Score], read: Evaluation | None, data, held_out, see: Extractor) -> None:
    """What the extractor reads in real images with labels, the first n held out or of the data."""
    real = held_out if isinstance(held_out, Images) else data
    if read is None or not isinstance(real, Images) or real.classes != see.classes:
        return
    some = real.subset(min(read.n, len(real)))
    p = see(some).probabilities
    assert p is not None  # it read the samples' classes
    found = judged(some.labels, p.argmax(1), see.classes)
    scores["accuracy"] = scores["accuracy"].over(share("accuracy", found.right, found.n, "", str(see)))
