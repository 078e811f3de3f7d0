"""Two replicas give the same losses and training steps as one device.

This file is also the program of the subprocess: logical devices must be set before TensorFlow
starts.
"""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from tfseg.losses import LOSSES, CrossEntropy, Dice

# A mean over pixels or images is the mean of two halves of equal size. Region losses need per_image
# for that, and TopK must not select pixels from each half.


def make(name):
    if name == "topk":
        return LOSSES[name](keep_fraction=1)
    if hasattr(LOSSES[name](), "per_image"):
        return LOSSES[name](per_image=True)
    return LOSSES[name]()


COMPARED = {name: make(name) for name in LOSSES}
COMPARED["sum"] = CrossEntropy() + 0.5 * Dice(per_image=True)
# Keras' own handling of replicas
COMPARED["keras"] = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def step(names):
    """Return {loss: its value and the change of its kernel by one step of gradient descent}."""
    images = np.random.default_rng(0).normal(size=(4, 6, 7, 2)).astype("float32")
    labels = (images[..., 0] > 0).astype("int32") + (images[..., 1] > 0.5)
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 7, 2))
    model = keras.Model(
        image, {name: keras.layers.Conv2D(3, 1, name=name)(image) for name in names}
    )
    model.compile(keras.optimizers.SGD(0.1), {name: COMPARED[name] for name in names})
    before = {name: model.get_layer(name).kernel.numpy() for name in names}
    history = model.fit(images, dict.fromkeys(names, labels), batch_size=4, verbose=0).history
    return {
        name: [
            history[f"{name}_loss"][0],
            *(model.get_layer(name).kernel.numpy() - before[name]).ravel().tolist(),
        ]
        for name in names
    }


def main(names):
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    one = step(names)
    with strategy.scope():
        two = step(names)
    print(json.dumps({"replicas": strategy.num_replicas_in_sync, "one": one, "two": two}))


def compare(names):
    run = subprocess.run(
        [sys.executable, __file__, *names], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    values = json.loads(run.stdout.splitlines()[-1])
    assert values["replicas"] == 2
    for name in names:
        assert np.abs(values["one"][name][1:]).max() > 1e-4, name
    return values["two"], {
        name: pytest.approx(values["one"][name], rel=1e-4, abs=1e-6) for name in names
    }


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_two_replicas_equal_one_device():
    two, one = compare(COMPARED)
    assert two == one


if __name__ == "__main__":
    main(sys.argv[1:])
