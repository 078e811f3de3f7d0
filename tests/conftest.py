"""Fixtures shared by all tests."""

import os
import random
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True, scope="module")
def _seeded_module():
    """Seed TensorFlow once per module, since that clears its kernels and optimized functions."""
    if "keras" in sys.modules:  # tests that do not need Keras do not load it
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _seeded():
    """Seed every test: one in some hundred random networks is constant and fails its test.

    Keras draws the seeds of initial weights and dropout from Python's generator.
    """
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real datasets."""
    folder = Path(os.environ.get("TFSEG_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the datasets of TFSEG_DATA; there is no {folder}")
    return folder


def draw_sample(index, height=48, width=56):
    """A gray-blue image with a bright disc, and its mask: 0 ground, 1 disc, 2 the band below."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:height, :width]
    center = rng.uniform((12, 14), (height - 20, width - 14))
    mask = np.where(np.hypot(y - center[0], x - center[1]) < 9, 1, 0)
    mask[height - 8 :] = 2
    colors = np.array([(60, 70, 110), (230, 200, 90), (40, 140, 60)])
    image = colors[mask] + rng.normal(0, 12, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8), mask.astype(np.uint8)


@pytest.fixture
def without_xla(monkeypatch):
    """Run `Augment` without XLA, whose compilation takes longer than a few batches."""
    from plain_augment import run_kernel

    from tfseg.data import Augment

    monkeypatch.setattr(
        Augment, "_compiled", property(lambda augment: partial(run_kernel, augment))
    )


@contextmanager
def untraced():
    """Run TensorFlow's functions eagerly: tracing takes longer than a few small steps."""
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@pytest.fixture
def eager():
    """Run a test as `untraced`; augmentations are not compiled either."""
    with untraced():
        yield


@pytest.fixture(scope="session")
def detector(tmp_path_factory):
    """Return a folder with images, instances.json and the run of a Mask R-CNN; do not change it."""
    from detector_runs import train_detector

    with untraced():
        return train_detector(tmp_path_factory.mktemp("detector")).folder.parent


@pytest.fixture(scope="session")
def star_run(tmp_path_factory):
    """Return a folder with images, labels and the run of a star head; do not change it."""
    from instance_runs import train_instances

    with untraced():
        return train_instances(tmp_path_factory.mktemp("star")).folder.parent


@pytest.fixture
def fixed_length(monkeypatch):
    """Return a function that gives trainings by minutes a number of epochs and steps in each."""
    from tfseg.training import TrainingLength, pace, trainer

    def fix(epochs, steps):
        ends = [steps * number for number in range(1, epochs + 1)]
        length = TrainingLength(epochs, steps, 1.0, 1.0, ends, [[0, ends[-1]]])
        monkeypatch.setattr(trainer, "length_in_minutes", lambda *_: length)
        monkeypatch.setattr(pace, "CHECKS", 1e-9)

    return fix


@pytest.fixture
def folder(tmp_path):
    """Six images (JPEG) and masks (PNG) of three classes, in `images` and `masks`."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for index in range(6):
        image, mask = draw_sample(index)
        Image.fromarray(image).save(tmp_path / "images" / f"p{index}.jpg", quality=95)
        Image.fromarray(mask).save(tmp_path / "masks" / f"p{index}.png")
    return tmp_path
