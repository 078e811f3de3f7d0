"""The smallest detector, and a short training of it, for tests."""

from unittest import mock

import keras
from object_scenes import NAMES, SIDE, write_coco
from plain_encoder import PLAIN

from tfseg.models import faster_rcnn, mask_rcnn
from tfseg.models.encoders import ENCODERS
from tfseg.training import TrainConfig, compile_for, train


def small_detector(masks=True, **options):
    """Return a detector with few proposals and random weights."""
    build = mask_rcnn if masks else faster_rcnn
    options = {
        "encoder": "plain",
        "proposals": (20, 10),
        "samples": (16, 8),
        "anchor_sizes": (8, 12, 16, 24, 32),
        "pyramid_width": 16,
        "max_detections": 5,
        **options,
    }
    with mock.patch.dict(ENCODERS, PLAIN):
        return build(len(NAMES), **options)


def eager_detector():
    """Return a compiled Mask R-CNN whose steps are not traced, which takes longer than to run."""
    keras.utils.set_random_seed(0)
    model = small_detector()
    compile_for(model, "adam", 1e-3, steps=2)
    model.run_eagerly = True
    return model


def detector_config(folder, out):
    """Return the config of two epochs of one step on the images of a folder."""
    return TrainConfig(
        task="instances",
        images=str(folder / "images"),
        labels=str(folder / "instances.json"),
        epochs=2,
        batch_size=4,
        augment={"size": SIDE, "flip": "horizontal"},
        out=str(out),
    )


def train_detector(folder):
    """Write scenes into a folder, train on them, and return the `Run`."""
    write_coco(folder, range(5))
    return train(detector_config(folder, folder / "run"), model=eager_detector())
