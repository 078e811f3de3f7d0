"""One small run that the tests of this folder share."""

import shutil

import pytest

from conftest import draw_sample, untraced
from tfseg.data import Arrays
from tfseg.models import tiny_unet
from tfseg.training import Run, TrainConfig, train

NAMES = ["ground", "disc", "band"]


def small_config(out, **changes):
    """Three epochs of two steps for a network of 3,000 weights."""
    values = {
        "model": "tiny_unet",
        "filters": 4,
        "epochs": 3,
        "batch_size": 2,
        "augment": {"size": 16, "flip": "horizontal"},
        "learning_rate": 0.01,
        "class_weights": "median",
        **changes,
    }
    return TrainConfig(out=str(out), **values)


def small_readers():
    """Return readers of four and two images."""
    samples = [draw_sample(index, 32, 32) for index in range(6)]
    reader = Arrays(*zip(*samples, strict=True), NAMES)
    return reader.subset(range(4)), reader.subset(range(4, 6))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Return the folder of a run that ended; do not change it."""
    config = small_config(tmp_path_factory.mktemp("finished") / "run")
    with untraced():
        return train(config, *small_readers()).folder


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of that run."""
    return Run(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def network():
    """Return an uncompiled network with random weights."""
    return tiny_unet(3, filters=4)
