"""Predicted memory; `tests/benchmarks/training_memory.py` compares it with trainings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from conftest import draw_sample
from tfseg.data import Arrays
from tfseg.models import build, instances
from tfseg.training import TrainConfig, train
from tfseg.training.training_memory import largest_batch, predict_memory

SMALL = (64, 64)
FILTERS = (16, 32)
MIB = 2**20


@pytest.fixture(scope="module")
def network():
    return build("unet", 2, filters=FILTERS)


def test_memory_of_features_is_proportional_to_the_batch(network):
    one, two, four = (predict_memory(network, (512, 512), count, SMALL, 1) for count in (1, 2, 4))
    assert two - one > 100 * MIB
    assert four - two == pytest.approx(2 * (two - one), abs=MIB)
    # four crops of half the sides have as many features, and so has a long one
    assert predict_memory(network, (256, 256), 4, SMALL, 1) == pytest.approx(one, abs=MIB)
    assert predict_memory(network, (1024, 256), 1, SMALL, 1) == pytest.approx(one, abs=MIB)


def test_memory_of_a_pixel():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
    pixels = 512 * 1024

    def predict(batch_size, val_batch_size=1, val_size=(512, 1024)):
        return predict_memory(model, (512, 1024), batch_size, val_size, val_batch_size)

    # In bytes: the image 12, which the convolution keeps, the gradient of the logits 8, and the
    # loss 2.3 x 8 + 10 x 4, all times 1.27; images in five batches 5 x 12; 8 maps of metrics 32.
    assert predict(2) - predict(1) == pytest.approx(191.6 * pixels, rel=1e-3)
    # the logits 8 instead of image and gradient
    assert predict(1, 4) - predict(1, 3) == pytest.approx(176.3 * pixels, rel=1e-3)


def test_the_larger_of_train_step_and_validation_counts(network):
    def predict(batch_size, val_size, val_batch_size=None):
        return predict_memory(network, SMALL, batch_size, val_size, val_batch_size)

    assert predict(2, (1024, 1024)) == predict(1, (1024, 1024), 2) > predict(2, SMALL) + 100 * MIB
    # batches of validation images have at most 2 ** 22 pixels, and tiles 1024 x 1024
    assert predict(2, (1024, 1024), 4) == predict(2, (1024, 1024), 9)
    assert predict(2, (1024, 1024)) == predict(2, (3000, 4000))
    assert predict(2, (512, 1024)) == predict(2, (512, 5000))


def test_memory_of_the_optimizer(network):
    weights = 4 * sum(weight.numpy().size for weight in network.trainable_weights)

    def predict(*options):
        return predict_memory(network, SMALL, 2, SMALL, None, *options)

    # each of its variables counts twice: it is copied to be saved
    assert predict("adamw") == predict()
    assert predict("adam") - predict("sgd") == pytest.approx(2 * weights, abs=1)
    assert predict("adam", True) - predict("adam") == pytest.approx(2 * weights, abs=1)


def test_instances_are_validated_one_image_at_a_time():
    model = instances(head="star", network="tiny_unet", filters=4)
    assert predict_memory(model, SMALL, 1, (512, 512)) == predict_memory(
        model, SMALL, 1, (512, 512), 8
    )


def test_the_largest_batch_just_fits(network):
    crop = (256, 256)
    four, five = (predict_memory(network, crop, count, SMALL) for count in (4, 5))
    assert largest_batch(network, crop, four, SMALL) == 4
    assert largest_batch(network, crop, five - 1, SMALL) == 4
    assert largest_batch(network, crop, 100 * five, SMALL, most=6) == 6
    assert largest_batch(network, crop, 500 * MIB, SMALL) == 0


def test_errors_name_what_to_change(network):
    with pytest.raises(ValueError, match="rmsprop"):
        predict_memory(network, SMALL, 2, SMALL, optimizer="rmsprop")


def run_training(folder):
    """Train a small U-Net and print its peak memory in bytes."""
    samples = [draw_sample(index, 256, 256) for index in range(18)]
    reader = Arrays(*zip(*samples, strict=True), ["ground", "disc", "band"])
    config = TrainConfig(out=folder, model="unet", filters=FILTERS, epochs=1, batch_size=8)
    train(config, reader.subset(range(16)), reader.subset([16, 17]))
    with open("/proc/self/status", encoding="utf-8") as status:
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    print(json.dumps(1024 * int(peak)))


@pytest.mark.slow
def test_a_training_takes_the_predicted_memory(tmp_path):
    code = (
        f"from training.test_training_memory import run_training; run_training({str(tmp_path)!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    model = build("unet", 3, filters=FILTERS)
    predicted = predict_memory(model, (256, 256), 8, (256, 256))
    assert predicted > 1400 * MIB  # 400 of them are features
    assert predicted == pytest.approx(json.loads(done.stdout.splitlines()[-1]), rel=0.2)
