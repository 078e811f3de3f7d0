"""Means over flips. The predictors return the exact targets of the labels that they are shown."""

import numpy as np
import pytest
from detector_runs import small_detector
from numpy.testing import assert_allclose
from object_scenes import Scenes

from tfseg.inference import (
    evaluate_instances,
    instance_predictor,
    predict_instances,
    tune_instances,
)
from tfseg.inference.flips import FLIPS, average_over_flips
from tfseg.models import instances
from tfseg.models.instance_settings import InstanceSettings
from tfseg.ops import center_offsets, object_centers, object_probabilities, star_distances

RAYS = 8


def scene(height, width):
    """Return labels (H, W, 1) of two objects without symmetry, away from the border."""
    labels = np.zeros((height, width, 1), np.int32)
    labels[5:12, 4:21] = 1
    labels[8:12, 12:21] = 0
    labels[14:19, 9:24] = 2
    return labels


@pytest.mark.parametrize("grid", [1, 2, 4])
@pytest.mark.parametrize("size", [(25, 29), (24, 30), (27, 31)])
def test_distances_and_probabilities_of_flips_are_those_of_the_image(size, grid):
    labels = scene(*size)
    seen = []

    def predict(image):
        seen.append(image)
        numbers = image[None, ..., 0]
        probability = object_probabilities(numbers[:, ::grid, ::grid])[0]
        return {
            "object_logits": probability[..., None],
            "distances": star_distances(numbers, RAYS, grid)[0],
        }

    expected = predict(labels)
    found = average_over_flips(predict, labels, InstanceSettings("star", 1, grid, RAYS))
    for name, values in expected.items():
        assert_allclose(found[name], values, atol=1e-5, err_msg=name)
    assert len({image.tobytes() for image in seen[1:]}) == len(FLIPS)


def test_offsets_of_flips_are_those_of_the_image():
    labels = scene(24, 30)

    def predict(image):
        numbers = image[None, ..., 0]
        return {"offsets": center_offsets(numbers, object_centers(numbers))[0]}

    found = average_over_flips(predict, labels, InstanceSettings("center", 1, thing_ids=(1,)))
    assert_allclose(found["offsets"], predict(labels)["offsets"], atol=1e-5)


@pytest.fixture(scope="module")
def star():
    return instances(2, network="tiny_unet", filters=4, rays=RAYS)


def test_flips_are_averaged_where_instances_are_predicted(star):
    # of all flips of an image the mean is the same, but for their flips; sides are odd, so that no
    # border is added
    image = np.random.default_rng(0).uniform(0, 255, (33, 41, 3)).astype("float32")
    found = predict_instances(star, image, object_threshold=0, nms_overlap=0.1, flips=True)
    flipped = predict_instances(star, image[::-1], object_threshold=0, nms_overlap=0.1, flips=True)
    assert len(found["scores"]) > 3
    assert_allclose(flipped["scores"], found["scores"], atol=1e-5)
    single = predict_instances(star, image, object_threshold=0, nms_overlap=0.1)
    assert len(single["scores"]) != len(found["scores"]) or not np.allclose(
        single["scores"], found["scores"], atol=1e-4
    )
    tiled = predict_instances(star, image, 32, object_threshold=0, nms_overlap=0.1, flips=True)
    assert len(tiled["scores"]) > 3


def test_flips_are_evaluated_and_tuned(star, monkeypatch):
    calls, average = [], instance_predictor.average_over_flips
    monkeypatch.setattr(
        instance_predictor,
        "average_over_flips",
        lambda *arguments: calls.append(0) or average(*arguments),
    )
    reader = Scenes([0, 1])
    evaluate_instances(star, reader, flips=True)
    tune_instances(star, reader, flips=True)
    assert len(calls) == 4
    evaluate_instances(star, reader)
    assert len(calls) == 4


def test_outputs_that_cannot_be_flipped_are_refused():
    odd = instances(network="tiny_unet", filters=4, rays=7)
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="even number of rays, .* has 7"):
        predict_instances(odd, image, flips=True)
    with pytest.raises(ValueError, match="is a detector"):
        predict_instances(small_detector(), image, flips=True)
