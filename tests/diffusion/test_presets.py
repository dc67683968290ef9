"""Presets: each network fits data of its shape, and its options are those that it says."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import diffusion as df
from diffusion.denoiser import parameter_count
from diffusion.presets import PRESETS, precision
from diffusion.records import reading, written

sizes = st.integers(1, 8).map(lambda k: 4 * k)
shapes = st.tuples(st.sampled_from((1, 3)), sizes).map(lambda s: (s[0], s[1], s[1]))


@settings(max_examples=6)
@given(shape=shapes, classes=st.integers(2, 4), name=st.sampled_from(sorted(PRESETS)))
def test_a_network_fits_the_data_that_it_was_asked_for(shape, classes, name):
    network, options = PRESETS[name](shape, classes)
    network.check(shape, classes, "these")
    assert reading(written([network, options])) == (network, options)
    net = network.build(torch.zeros(shape), 0.5)
    x, level = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 3.0])
    found = net(x, 1.0, level)
    assert found.shape == ((2, classes) if name == "classifier" else x.shape)
    label = torch.tensor([0, classes - 1])
    assert options.loss(net, x, label, torch.Generator().manual_seed(0)).value.shape == (2,)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_points_have_a_perceptron(name):
    assert PRESETS[name]((5,), 3)[0] == df.MLPConfig((5,), 3)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_the_gpu_s_is_twice_as_wide_and_of_the_same_data(shape):
    (small, few), (large, many) = (PRESETS[name](shape, 11) for name in ("cpu", "gpu"))
    assert large.widths == tuple(2 * w for w in small.widths) and (large.blocks, large.attention) == (2, True)
    same = {"widths": small.widths, "blocks": small.blocks, "attention": small.attention, "embedding": small.embedding}
    assert replace(large, **same) == small
    assert (few.batch, many.batch) == (64, 512) and many.learning_rate < few.learning_rate
    counts = [parameter_count(c.build(torch.zeros(shape), 0.5)) for c in (small, large)]
    assert counts[1] > 4 * counts[0]  # of convolutions, whose weights go like the square of the width


def test_a_classifier_sees_little_noise_and_drops_no_label():
    _, options = PRESETS["classifier"]((1, 8, 8), 2)
    low, high = options.loss.levels(torch.tensor([0.5, 0.9]))
    assert options.drop_label == 0.0 and low < 0.2 and high < 1.0


@pytest.mark.parametrize("shape, classes, message", [((2,), 2, "is for pictures"), ((1, 8, 8), 1, "two classes"),
                                                     ((1, 30, 30), 3, "multiple of 4")])
def test_a_classifier_says_what_it_is_not_for(shape, classes, message):
    with pytest.raises(ValueError, match=message):
        df.presets.classifier(shape, classes)


@pytest.mark.parametrize("told, exact", [({"amx_bf16": True}, "bfloat16"), ({"amx_bf16": False}, "float32"),
                                         ({"avx512_bf16": True}, "float32"), ({}, "float32")])
def test_bfloat16_where_the_processor_has_matrix_units_for_it(monkeypatch, told, exact):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert precision("cpu") == precision(torch.device("cpu")) == exact
    assert PRESETS["cpu"]((2,), 1)[1].precision == exact
    assert PRESETS["classifier"]((1, 8, 8), 2)[1].precision == "float32"


@pytest.mark.parametrize("there, units, exact", [(True, True, "bfloat16"), (True, False, "float16"),
                                                 (False, True, "float16")])
def test_of_a_gpu_by_its_units(monkeypatch, there, units, exact):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: units)
    assert precision("cuda:1") == exact
    assert PRESETS["gpu"]((2,), 1)[1].precision == exact


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("shape, kind, message", [
    ("ab", TypeError, r"\(channels, side, side\) of pictures, \(d,\) of points, in whole numbers; got 'ab'"),
    (8, TypeError, "got 8"), ((1.0, 8, 8), TypeError, "in whole numbers"), ((True,), TypeError, "in whole numbers"),
    ((), ValueError, r"each number 1 or more; got \(\)"), ((0,), ValueError, r"got \(0,\)"),
    ((3, -8, 8), ValueError, r"got \(3, -8, 8\)"), ((1, 8, 12), ValueError, "is not square. Crop the pictures")])
def test_what_is_no_shape_is_refused(name, shape, kind, message):
    with pytest.raises(kind, match=message):
        PRESETS[name](shape, 3)


def test_a_list_does_for_a_shape():
    assert df.presets.cpu([1, 28, 28], 10)[0] == df.presets.cpu((1, 28, 28), 10)[0]
