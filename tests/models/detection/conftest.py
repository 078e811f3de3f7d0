"""Small detectors on the plain encoder, and a batch of objects, shared by the tests."""

from typing import NamedTuple

import keras
import numpy as np
import pytest
from plain_encoder import PLAIN

from tfseg.models import DETECTORS
from tfseg.models.encoders import ENCODERS

# few proposals and samples, so that 64 x 64 images suffice
FEW = {"proposals": (32, 16), "samples": (16, 8), "pyramid_width": 16, "max_detections": 7}


def small(head="mask_rcnn", num_classes=3, **options):
    """A small detector with the same random weights in every run."""
    ENCODERS.update(PLAIN)
    try:
        keras.utils.set_random_seed(1)
        return DETECTORS[head](num_classes, **({"encoder": "plain"} | FEW | options))
    finally:
        for name in PLAIN:
            del ENCODERS[name]


def batch_of_objects(height=61, width=70, count=40, batch=2):
    """Random images, the first with two objects and rows of padding, the others with none."""
    images = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)
    labels = {
        "boxes": np.zeros((batch, count, 4), np.float32),
        "classes": np.full((batch, count), -1, np.int32),
        "crowd": np.zeros((batch, count), bool),
        "instances": np.zeros((batch, height, width), np.int32),
    }
    for row, (left, top, right, bottom) in enumerate([(5, 5, 30, 40), (20, 10, 60, 50)]):
        labels["boxes"][0, row] = left, top, right, bottom
        labels["classes"][0, row] = 2 * row
        labels["instances"][0, top:bottom, left:right] = row + 1
    return images, labels


@pytest.fixture(scope="session")
def make():
    """The function `small`."""
    return small


@pytest.fixture(scope="session", name="with_boxes")
def with_boxes_fixture():
    """The function `with_boxes`."""
    return with_boxes


@pytest.fixture(scope="session")
def objects():
    """Two images of 61 x 70 pixels and their labels; do not change them."""
    return batch_of_objects()


def with_boxes(labels, boxes, classes=0, crowd=False):
    """Labels of the same shapes, with boxes (K, 4) in all images and their numbers as masks."""
    labels = {name: np.zeros_like(values) for name, values in labels.items()}
    labels["classes"] -= 1
    for row, box in enumerate(boxes):
        left, top, right, bottom = np.nan_to_num(box).astype(int).clip(0)
        labels["boxes"][:, row], labels["classes"][:, row] = box, classes
        labels["crowd"][:, row] = crowd
        labels["instances"][:, top:bottom, left:right] = row + 1
    return labels


def many_boxes():
    low = np.random.default_rng(0).uniform(0, 40, (40, 2))
    return np.concatenate([low, low + 20], axis=1)


# options of `with_boxes`, for images of 61 x 70 pixels
EXTREME = {
    "no boxes": {"boxes": []},
    "crowds": {"boxes": [(0, 0, 50, 50), (30, 30, 70, 61)], "crowd": True},
    "more than proposals": {"boxes": many_boxes()},
    "one pixel": {"boxes": [(7, 8, 8, 9), (69, 60, 70, 61)]},
    "a fraction of a pixel": {"boxes": [(7.2, 8.4, 7.21, 8.41)]},
    "at the border": {"boxes": [(0, 0, 20, 20), (50, 40, 70, 61), (0, 0, 70, 61)]},
    "partly outside": {"boxes": [(-30, -30, 20, 20), (60, 50, 500, 500)]},
}


class Trained(NamedTuple):
    """A trained model; do not change it.

    Attributes:
        model: a small Mask R-CNN after four steps on one batch, and one on each of `EXTREME`.
        history: {name: four values} of the losses on the batch.
        extreme: {name in `EXTREME`: {name: value}} of the losses.
    """

    model: keras.Model
    history: dict
    extreme: dict


@pytest.fixture(scope="session")
def trained():
    """The model that tests share, see `Trained`."""
    model = small()
    # to trace the graph takes longer than the steps: test_half_precision_fits_in_a_graph
    model.compile(keras.optimizers.Adam(2e-3), run_eagerly=True)
    images, labels = batch_of_objects()
    history = model.fit(images, labels, epochs=4, verbose=0).history
    # here, so that tests leave the shared model as it is
    extreme = {}
    for name, options in EXTREME.items():
        losses = model.fit(images, with_boxes(labels, **options), verbose=0).history
        extreme[name] = {loss: values[0] for loss, values in losses.items()}
    model.run_eagerly = False
    return Trained(model, history, extreme)
