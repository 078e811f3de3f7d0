"""Small detectors on the plain encoder, and a batch of objects, shared by the tests."""

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


@pytest.fixture
def batch():
    """Two images of 61 x 70 pixels and their labels."""
    return batch_of_objects()


@pytest.fixture(scope="session")
def trained():
    """A small Mask R-CNN after six steps on one batch, and the history of `fit`."""
    model = small()
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    history = model.fit(*batch_of_objects(), epochs=6, verbose=0).history
    return model, history
