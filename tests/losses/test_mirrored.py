"""Two replicas give the losses and the training steps of one device.

This file is also the program that is run: the logical devices have to be there before TensorFlow starts.
"""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from tfseg.losses import LOSSES, CrossEntropy, Dice

# What is a mean over the pixels of the batch, or over its images, is the mean of two halves of equal size. TopK picks
# the hardest of each half; k = 1 picks them all.
OPTIONS = {"topk": {"k": 1}}
COMPARED = {
    name: cls(**OPTIONS.get(name, {"per_image": True} if hasattr(cls(), "over") else {}))
    for name, cls in LOSSES.items()
}
COMPARED["sum"] = CrossEntropy() + 0.5 * Dice(per_image=True)
COMPARED["keras"] = keras.losses.SparseCategoricalCrossentropy(
    from_logits=True
)  # what Keras makes of its own
# One of each kind by default: a graph of all of them takes half a minute to build.
QUICK = ["cross_entropy", "sum", "keras"]
SLOW = [name for name in COMPARED if name not in QUICK]


def step(names):
    """{loss: its value, and what one step of plain gradient descent adds to the kernel}, all trained side by side."""
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
    figures = json.loads(run.stdout.splitlines()[-1])
    assert figures["replicas"] == 2
    for name in names:
        assert np.abs(figures["one"][name][1:]).max() > 1e-4, name
    return figures["two"], {
        name: pytest.approx(figures["one"][name], rel=1e-4, abs=1e-6) for name in names
    }


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
@pytest.mark.parametrize(
    "names", [pytest.param(QUICK, id="quick"), pytest.param(SLOW, marks=pytest.mark.slow)]
)
def test_two_replicas_give_the_figures_of_one_device(names):
    two, one = compare(names)
    assert two == one


if __name__ == "__main__":
    main(sys.argv[1:])
