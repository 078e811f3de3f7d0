"""Time and peak memory of losses, forward and backward, compared with keras.losses and torch.

Time: tfseg and each peer take turns on the same logits (2, 256, 256, C), C = 19 and 150. Peers that
need one-hot targets or channels first get tensors created beforehand; conversions inside of the
loss count. Each library runs in a separate process: the threads of torch keep spinning for a while
after their work, and would slow down TensorFlow's. The ratio is that of our median to the fastest
peer's.
Memory: the peak of the process beyond the logits, in multiples of their size, for Dice + cross
entropy on 8 x 512 x 512 x 150, one process each (Linux). torch and its libraries are optional.
"""

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

ROUNDS, BUDGET = 15, 20
SHAPE = (2, 256, 256)
TARGET = 2.5


def tensorflow_step(loss, y, x):
    import tensorflow as tf

    @tf.function
    def step(y, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(y, x)
        return value, tape.gradient(value, x)

    return lambda: step(y, x)[0].numpy()


def tfseg_steps(labels, logits):
    """Return {row: step}."""
    import keras  # noqa: F401  imports TensorFlow first
    import tensorflow as tf

    from tfseg import losses

    rows = {
        "cross entropy": losses.CrossEntropy(),
        "Dice": losses.Dice(),
        "Dice + cross entropy": losses.CrossEntropy() + losses.Dice(),
        "Tversky": losses.Tversky(),
        "Jaccard": losses.Jaccard(),
        "focal": losses.Focal(),
        "Lovász": losses.Lovasz(),
    }
    y, x = tf.constant(labels), tf.constant(logits)
    return {row: tensorflow_step(loss, y, x) for row, loss in rows.items()}


def on_one_hot(loss):
    """Apply a loss of keras.losses to integer labels, as its users have to."""
    import tensorflow as tf

    return lambda y, x: loss(tf.one_hot(y, x.shape[-1]), tf.nn.softmax(x))


def keras_steps(labels, logits):
    """Return {row: step}."""
    import tensorflow as tf
    from keras import losses

    pixel, regions = losses.SparseCategoricalCrossentropy(from_logits=True), {"axis": (0, 1, 2)}
    dice = on_one_hot(losses.Dice(**regions))
    rows = {
        "cross entropy": pixel,
        "Dice": dice,
        "Dice + cross entropy": lambda y, x: pixel(y, x) + dice(y, x),
        "Tversky": on_one_hot(losses.Tversky(**regions)),
        "focal": on_one_hot(losses.CategoricalFocalCrossentropy()),
    }
    y, x = tf.constant(labels), tf.constant(logits)
    return {row: tensorflow_step(loss, y, x) for row, loss in rows.items()}


def torch_tensors(labels, logits):
    import torch

    y = torch.from_numpy(labels.astype("int64"))
    return y, torch.from_numpy(np.ascontiguousarray(logits.transpose(0, 3, 1, 2))).requires_grad_()


def torch_step(loss, y, x):
    def step():
        x.grad = None
        loss(x, y).backward()

    return step


def torch_steps(labels, logits):
    """Return {row: step}."""
    import torch

    return {
        "cross entropy": torch_step(torch.nn.CrossEntropyLoss(), *torch_tensors(labels, logits))
    }


def smp_steps(labels, logits):
    """Return {row: step} of segmentation_models.pytorch."""
    import torch
    from segmentation_models_pytorch import losses

    dice, pixel = losses.DiceLoss("multiclass"), torch.nn.CrossEntropyLoss()
    rows = {
        "Dice": dice,
        "Dice + cross entropy": lambda x, y: dice(x, y) + pixel(x, y),
        "Tversky": losses.TverskyLoss("multiclass"),
        "Jaccard": losses.JaccardLoss("multiclass"),
        "focal": losses.FocalLoss("multiclass"),
        "Lovász": losses.LovaszLoss("multiclass"),
    }
    return {row: torch_step(loss, *torch_tensors(labels, logits)) for row, loss in rows.items()}


def monai_steps(labels, logits):
    """Return {row: step}."""
    from monai import losses

    options = {"softmax": True, "to_onehot_y": True, "batch": True}
    rows = {
        "Dice": losses.DiceLoss(**options),
        "Dice + cross entropy": losses.DiceCELoss(**options),
        "Tversky": losses.TverskyLoss(**options),
        "Jaccard": losses.DiceLoss(**options, jaccard=True),
        "focal": losses.FocalLoss(to_onehot_y=True, use_softmax=True),
    }
    y, x = torch_tensors(labels, logits)
    return {row: torch_step(loss, y[:, None], x) for row, loss in rows.items()}


SIDES = {
    "tfseg": tfseg_steps,
    "keras": keras_steps,
    "torch": torch_steps,
    "smp": smp_steps,
    "monai": monai_steps,
}


def serve(side, classes, pipe):
    """Receive names of rows from the pipe and send back the seconds of one step."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, SHAPE).astype("uint8")
    logits = rng.standard_normal((*SHAPE, classes), dtype="float32")
    try:
        steps = SIDES[side](labels, logits)
    except ImportError:
        steps = {}
    pipe.send(list(steps))
    while row := pipe.recv():
        start = time.perf_counter()
        steps[row]()
        pipe.send(time.perf_counter() - start)


def in_turns(row, pipes):
    """Return the median seconds of a row by side, in turns; the first turn compiles.

    Slow steps get fewer turns.
    """
    taken, first = {side: [] for side in pipes}, time.perf_counter()
    for turn in range(ROUNDS + 1):
        if turn > 1 and time.perf_counter() - first > BUDGET:
            break
        for side, pipe in pipes.items():
            pipe.send(row)
            seconds = pipe.recv()
            if turn:
                taken[side].append(seconds)
    return {side: statistics.median(values) for side, values in taken.items()}


def compare(classes):
    spawn = multiprocessing.get_context("spawn")
    pipes, rows = {}, {}
    for side in SIDES:
        pipes[side], theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(side, classes, theirs), daemon=True).start()
    for side, pipe in pipes.items():
        rows[side] = pipe.recv()
    ratios = {}
    for row in rows["tfseg"]:
        taken = in_turns(row, {side: pipe for side, pipe in pipes.items() if row in rows[side]})
        others = [seconds for side, seconds in taken.items() if side != "tfseg"]
        ratios[row] = taken["tfseg"] / min(others) if others else None
        ratio = f"ratio to the fastest {ratios[row]:.2f}" if others else "no peer"
        each = (f"{side} {1e3 * seconds:.1f} ms," for side, seconds in taken.items())
        print(f"C = {classes:3d} {row:21s}", *each, ratio, flush=True)
    for pipe in pipes.values():
        pipe.send("")
    return ratios


def peak(name, size=512, batch=8, classes=150):
    """Return the memory of one step beyond the logits, in multiples of their size.

    Needs a fresh process.
    """
    import keras
    import tensorflow as tf

    from tfseg import losses

    losses_by_name = {
        "tfseg": losses.CrossEntropy() + losses.Dice(),
        "keras": on_one_hot(keras.losses.Dice(axis=(0, 1, 2))),
    }
    rng = np.random.default_rng(0)

    def tensors(batch, size):
        y = tf.constant(rng.integers(0, classes, (batch, size, size)).astype("uint8"))
        tile = tf.constant(rng.standard_normal((1, 8, 8, classes), dtype="float32"))
        return y, tf.tile(tile, (batch, size // 8, size // 8, 1))

    tensorflow_step(
        losses_by_name[name], *tensors(1, 8)
    )()  # TensorFlow loads libraries at the first step
    y, x = tensors(batch, size)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _memory("VmRSS")
    tensorflow_step(losses_by_name[name], y, x)()
    return (_memory("VmHWM") - before) / (4 * classes * batch * size**2)


def _memory(field):
    """Return the memory of this process in bytes: VmRSS now, VmHWM at its peak (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def main():
    if sys.argv[1:2] == ["peak"]:
        print(peak(sys.argv[2]))
        return
    ratios = {classes: compare(classes) for classes in (19, 150)}
    peaks = {}
    for name in ("tfseg", "keras"):
        output = subprocess.run(
            [sys.executable, __file__, "peak", name], capture_output=True, text=True, check=True
        )
        peaks[name] = float(output.stdout.split()[-1])
        what = "Dice + cross entropy" if name == "tfseg" else "keras.losses.Dice on one-hot labels"
        print(f"peak extra memory of {what}: {peaks[name]:.2f} x the logits", flush=True)
    print(json.dumps({"ratios": ratios, "peak": peaks, "targets": {"ratio": 1.0, "peak": TARGET}}))


if __name__ == "__main__":
    main()
