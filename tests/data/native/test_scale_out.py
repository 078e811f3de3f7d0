"""What TensorFlow reads works beyond one iterator in one process."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from conftest import draw_sample
from tfseg.data import Augment, Folder, pipeline

COUNT = 12
AUGMENT = Augment(16, scale=(0.8, 1.2), flip="horizontal")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for index in range(COUNT):
        image, mask = draw_sample(index, 48, 56)
        Image.fromarray(image).save(folder / "images" / f"p{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"p{index}.png")
    return folder


def reader_of(folder):
    return Folder(folder / "images", folder / "masks", ["ground", "disc", "band"])


def arrays(dataset):
    return [image.numpy() for image, _ in dataset]


@pytest.mark.parametrize("cache", [None, "memory", "folder"])
@pytest.mark.parametrize("augment", [None, AUGMENT])
def test_no_python_is_called(cache, augment, folder, tmp_path, monkeypatch, without_xla):
    def fail(*arguments, **options):
        raise AssertionError("a call of Python in the dataset")

    monkeypatch.setattr(tf, "py_function", fail)
    monkeypatch.setattr(tf, "numpy_function", fail)
    cache = tmp_path / "cache" if cache == "folder" else cache
    dataset = pipeline(reader_of(folder), 3, augment, cache=cache)
    assert len(arrays(dataset)) == len(dataset) == 4


@pytest.mark.parametrize("augment", [None, AUGMENT])
def test_two_workers_of_the_service_share_the_steps(augment, folder, without_xla):
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    workers = [service.WorkerServer(service.WorkerConfig(address)) for _ in range(2)]
    expected = arrays(pipeline(reader_of(folder), 2, augment))
    shared = pipeline(reader_of(folder), 2, augment).apply(
        service.distribute(service.ShardingPolicy.DYNAMIC, dispatcher.target)
    )
    found = arrays(shared)
    assert len(workers) == 2
    assert sorted(map(np.sum, found)) == sorted(map(np.sum, expected))


def test_repeated_passes_of_the_service_differ(folder, without_xla):
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    worker = service.WorkerServer(service.WorkerConfig(dispatcher.target.split("://")[1]))
    expected = pipeline(reader_of(folder), 2, AUGMENT)
    expected = arrays(expected) + arrays(expected)
    shared = (
        pipeline(reader_of(folder), 2, AUGMENT)
        .repeat(2)
        .apply(service.distribute(service.ShardingPolicy.DYNAMIC, dispatcher.target))
    )
    found = arrays(shared)
    assert worker is not None
    assert sorted(map(np.sum, found)) == sorted(map(np.sum, expected))


def test_batches_can_be_saved_and_loaded(folder, tmp_path, without_xla):
    expected = arrays(pipeline(reader_of(folder), 3, AUGMENT))
    pipeline(reader_of(folder), 3, AUGMENT).save(str(tmp_path / "saved"))
    loaded = tf.data.Dataset.load(str(tmp_path / "saved"))
    assert all(map(np.array_equal, arrays(loaded), expected))


SCRIPT = """
import sys
sys.path.insert(0, "tests")
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from plain_augment import uncompiled
from tfseg.data import Augment, Folder, pipeline

reader = Folder(sys.argv[1] + "/images", sys.argv[1] + "/masks", ["ground", "disc", "band"])
dataset = pipeline(reader.subset([0] * 8), 4, uncompiled(Augment(16, scale=(0.5, 2))))
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for images, masks in strategy.experimental_distribute_dataset(dataset):
    first, second = strategy.experimental_local_results(images)
    assert first.shape == second.shape == (2, 16, 16, 3)
    assert not np.array_equal(first, second)
"""


def test_replicas_get_different_draws(folder):
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
