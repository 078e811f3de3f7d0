import sys

import numpy as np
import pytest
from oracles import dense_crf, normalized_gaussian

from tfseg.inference.crf import mean_field, softmax
from tfseg.inference.permutohedral import Permutohedral

PARAMETERS = {
    "iterations": 5,
    "smooth": 3.0,
    "near": 3.0,
    "bilateral": 4.0,
    "far": 20.0,
    "color": 10.0,
}


def noisy(height, width, classes, channels=3):
    """Logits that know the classes badly, and an image that shows them: bands of color."""
    rng = np.random.default_rng(0)
    truth = (
        np.mgrid[:height, :width][1] * classes // width + np.mgrid[:height, :width][0] // 8
    ) % classes
    colors = rng.integers(0, 256, (classes, channels))
    image = np.clip(colors[truth] + rng.normal(0, 4, (height, width, channels)), 0, 255).astype(
        np.uint8
    )
    logits = 2 * np.eye(classes)[truth] + rng.normal(0, 1.5, (height, width, classes))
    return logits.astype(np.float32), image[..., 0] if channels == 1 else image, truth


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_the_lattice_is_near_a_gaussian(dimensions):
    rng = np.random.default_rng(0)
    points, values = (
        rng.uniform(0, 3, (dimensions, 500)),
        rng.uniform(0, 1, (500, 3)).astype(np.float32),
    )
    ratio = Permutohedral(points)(values) / (normalized_gaussian(points.T) @ values)
    assert ratio.mean() == pytest.approx(1, abs=0.02)
    assert ratio.std() < 0.04


def test_points_far_apart_see_themselves_only():
    points = 1000 * np.eye(3)
    values = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    assert Permutohedral(points)(values) == pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize(("size", "channels"), [((17, 22), 3), ((16, 23), 1)])
def test_it_is_near_the_exact_field(size, channels):
    logits, image, truth = noisy(*size, 3, channels)
    found, exact = mean_field(logits, image, **PARAMETERS), dense_crf(logits, image, **PARAMETERS)
    shares = softmax(found.reshape(-1, 3)).reshape(found.shape)
    assert np.abs(shares - exact).mean() < 0.01
    assert np.mean(found.argmax(-1) == exact.argmax(-1)) > 0.98
    assert np.mean(found.argmax(-1) == truth) > 0.97 > 0.8 > np.mean(logits.argmax(-1) == truth)


def test_it_is_pydensecrf_s():
    dense = pytest.importorskip(
        "pydensecrf.densecrf", reason="needs pydensecrf2, which needs a C++ compiler"
    )
    logits, image, _ = noisy(61, 47, 4)
    field = dense.DenseCRF2D(47, 61, 4)
    field.setUnaryEnergy(np.ascontiguousarray(-np.log(softmax(logits.reshape(-1, 4))).T))
    field.addPairwiseGaussian(sxy=3, compat=3)
    field.addPairwiseBilateral(sxy=20, srgb=10, rgbim=image, compat=4)
    expected = np.array(field.inference(5)).T
    assert softmax(mean_field(logits, image, **PARAMETERS).reshape(-1, 4)) == pytest.approx(
        expected, abs=1e-4
    )


def test_a_kernel_may_be_left_out():
    logits, image, _ = noisy(17, 22, 3)
    for name in ("smooth", "bilateral"):
        parameters = {**PARAMETERS, name: 0.0}
        found, exact = (
            mean_field(logits, image, **parameters),
            dense_crf(logits, image, **parameters),
        )
        assert np.mean(found.argmax(-1) == exact.argmax(-1)) > 0.97
        assert not np.allclose(found, mean_field(logits, image, **PARAMETERS), atol=0.1)


def test_without_scipy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(ImportError, match=r"tfseg-keras\[classical\]"):
        Permutohedral(np.zeros((2, 4)))
