import numpy as np
import pytest
from oracles import dense_crf

from tfseg.inference.crf import mean_field, softmax

PARAMETERS = {
    "iterations": 5,
    "smoothness_weight": 3.0,
    "smoothness_std": 3.0,
    "bilateral_weight": 4.0,
    "position_std": 20.0,
    "color_std": 10.0,
}


def noisy(height, width, num_classes, channels=3):
    """Return noisy logits, an image whose colored patches show the classes, and these classes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    mask = (x * num_classes // width + y // 8) % num_classes
    colors = rng.integers(0, 256, (num_classes, channels))
    image = np.clip(colors[mask] + rng.normal(0, 4, (height, width, channels)), 0, 255)
    image = image.astype(np.uint8)
    logits = 2 * np.eye(num_classes)[mask] + rng.normal(0, 1.5, (height, width, num_classes))
    return logits.astype(np.float32), image[..., 0] if channels == 1 else image, mask


@pytest.mark.parametrize(("size", "channels"), [((17, 22), 3), ((16, 23), 1)])
def test_the_result_is_close_to_the_exact_mean_field(size, channels):
    logits, image, mask = noisy(*size, 3, channels)
    found, exact = mean_field(logits, image, **PARAMETERS), dense_crf(logits, image, **PARAMETERS)
    probabilities = softmax(found.reshape(-1, 3)).reshape(found.shape)
    assert np.abs(probabilities - exact).mean() < 0.01
    assert np.mean(found.argmax(-1) == exact.argmax(-1)) > 0.98
    assert np.mean(found.argmax(-1) == mask) > 0.97
    assert np.mean(logits.argmax(-1) == mask) < 0.8


def test_the_result_equals_that_of_pydensecrf():
    dense = pytest.importorskip(
        "pydensecrf.densecrf", reason="needs pydensecrf2, which needs a C++ compiler"
    )
    logits, image, _ = noisy(61, 47, 4)
    field = dense.DenseCRF2D(47, 61, 4)
    field.setUnaryEnergy(np.ascontiguousarray(-np.log(softmax(logits.reshape(-1, 4))).T))
    field.addPairwiseGaussian(sxy=3, compat=3)
    field.addPairwiseBilateral(sxy=20, srgb=10, rgbim=image, compat=4)
    expected = np.array(field.inference(5)).T
    found = softmax(mean_field(logits, image, **PARAMETERS).reshape(-1, 4))
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["smoothness_weight", "bilateral_weight"])
def test_a_weight_of_0_disables_the_kernel(name):
    logits, image, _ = noisy(17, 22, 3)
    parameters = {**PARAMETERS, name: 0.0}
    found, exact = mean_field(logits, image, **parameters), dense_crf(logits, image, **parameters)
    assert np.mean(found.argmax(-1) == exact.argmax(-1)) > 0.97
    assert not np.allclose(found, mean_field(logits, image, **PARAMETERS), atol=0.1)


def test_softmax_of_large_scores():
    # e^0 / (e^0 + e^-1) and so on; 1000 would overflow without the shift
    scores = np.array([[1000, 999], [-1000, -1000], [0, np.log(3)]], np.float32)
    expected = [[1 / (1 + np.exp(-1)), 1 / (1 + np.e)], [0.5, 0.5], [0.25, 0.75]]
    assert softmax(scores) == pytest.approx(np.array(expected), abs=1e-6)
    assert scores[0, 0] == 1000  # the argument is unchanged
