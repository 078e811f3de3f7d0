"""Time and peak memory of losses, forward and backward, against keras.losses and, where torch is installed, its peers.

Time: ours and each peer in turns on the same logits (2, 256, 256, C), C = 19 and 150; peers that want one-hot targets
or channels first get tensors made beforehand, and their conversion inside the loss counts. The ratio is ours to the
fastest peer, of medians. Memory: what the process' peak lies above the logits, in multiples of the logits' size, for
Dice + cross entropy on 8 x 512 x 512 x 150, one process each (Linux).
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from tfseg import losses

ROUNDS, BUDGET = 7, 20
SHAPE = (2, 256, 256)
TARGET = 2.5


def tensorflow_step(loss, y, x):
    @tf.function
    def step(y, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(y, x)
        return value, tape.gradient(value, x)

    return lambda: step(y, x)[0].numpy()


def on_one_hot(loss):
    """A keras.losses loss on integer labels, as its users have to write it."""
    return lambda y, x: loss(tf.one_hot(y, x.shape[-1]), tf.nn.softmax(x))


def ours_and_keras(labels, logits):
    y, x = tf.constant(labels), tf.constant(logits)
    regions = {"axis": (0, 1, 2)}
    rows = {
        "cross entropy": (
            losses.CrossEntropy(),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ),
        "Dice": (losses.Dice(), on_one_hot(keras.losses.Dice(**regions))),
        "Dice + cross entropy": (
            losses.CrossEntropy() + losses.Dice(),
            lambda y, x: (
                keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, x)
                + on_one_hot(keras.losses.Dice(**regions))(y, x)
            ),
        ),
        "Tversky": (losses.Tversky(), on_one_hot(keras.losses.Tversky(**regions))),
        "Jaccard": (losses.Jaccard(), None),
        "focal": (losses.Focal(), on_one_hot(keras.losses.CategoricalFocalCrossentropy())),
        "Lovász": (losses.Lovasz(), None),
    }
    return {
        name: {
            kind: tensorflow_step(loss, y, x)
            for kind, loss in zip(("tfseg", "keras"), pair, strict=True)
            if loss is not None
        }
        for name, pair in rows.items()
    }


def torch_peers(labels, logits):
    """{row: {peer: step}} of torch, segmentation_models.pytorch and MONAI, as far as they are installed."""
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    y = torch.from_numpy(labels.astype("int64"))
    x = torch.from_numpy(np.ascontiguousarray(logits.transpose(0, 3, 1, 2))).requires_grad_()

    def step(loss, y):
        def run():
            x.grad = None
            loss(x, y).backward()

        return run

    peers = {"cross entropy": {"torch": step(torch.nn.CrossEntropyLoss(), y)}}
    if importlib.util.find_spec("segmentation_models_pytorch") is not None:
        import segmentation_models_pytorch as smp

        for row, name in (("Dice", "DiceLoss"), ("Tversky", "TverskyLoss"), ("Jaccard", "JaccardLoss")):
            peers.setdefault(row, {})["smp"] = step(getattr(smp.losses, name)("multiclass"), y)
        peers["focal"] = {"smp": step(smp.losses.FocalLoss("multiclass"), y)}
        peers["Lovász"] = {"smp": step(smp.losses.LovaszLoss("multiclass"), y)}
        dice, pixel = smp.losses.DiceLoss("multiclass"), torch.nn.CrossEntropyLoss()
        peers["Dice + cross entropy"] = {"smp": step(lambda x, y: dice(x, y) + pixel(x, y), y)}
    if importlib.util.find_spec("monai") is not None:
        from monai import losses as monai

        options = {"softmax": True, "to_onehot_y": True, "batch": True}
        for row, name in (("Dice", "DiceLoss"), ("Dice + cross entropy", "DiceCELoss"), ("Tversky", "TverskyLoss")):
            peers.setdefault(row, {})["monai"] = step(getattr(monai, name)(**options), y[:, None])
        peers.setdefault("focal", {})["monai"] = step(monai.FocalLoss(to_onehot_y=True, use_softmax=True), y[:, None])
    return peers


def times(steps):
    """Median seconds of each step, run in turns after one that compiles; fewer turns where one takes long."""
    taken, start = {name: [] for name in steps}, time.perf_counter()
    for turn in range(ROUNDS + 1):
        if turn > 1 and time.perf_counter() - start > BUDGET:
            break
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if turn:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in taken.items()}


def compare(classes):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, SHAPE).astype("uint8")
    logits = rng.standard_normal((*SHAPE, classes), dtype="float32")
    peers, ratios = torch_peers(labels, logits), {}
    for row, steps in ours_and_keras(labels, logits).items():
        taken = times(steps | peers.get(row, {}))
        others = [seconds for name, seconds in taken.items() if name != "tfseg"]
        ratios[row] = taken["tfseg"] / min(others) if others else None
        ratio = f"ratio to the fastest {ratios[row]:.2f}" if others else "no peer"
        print(
            f"C = {classes:3d} {row:21s}",
            *(f"{name} {1e3 * s:.0f} ms," for name, s in taken.items()),
            ratio,
            flush=True,
        )
    return ratios


def peak(name, size=512, batch=8, classes=150):
    """Multiples of the logits' size that one step needs beyond them; to be run in a fresh process."""
    kinds = {
        "tfseg": losses.CrossEntropy() + losses.Dice(),
        "keras": on_one_hot(keras.losses.Dice(axis=(0, 1, 2))),
    }
    rng = np.random.default_rng(0)

    def tensors(batch, size):
        y = tf.constant(rng.integers(0, classes, (batch, size, size)).astype("uint8"))
        tile = tf.constant(rng.standard_normal((1, 8, 8, classes), dtype="float32"))
        return y, tf.tile(tile, (batch, size // 8, size // 8, 1))

    tensorflow_step(kinds[name], *tensors(1, 8))()  # loads what TensorFlow loads at a first step
    y, x = tensors(batch, size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _memory("VmRSS")
    tensorflow_step(kinds[name], y, x)()
    return (_memory("VmHWM") - before) / (4 * classes * batch * size**2)


def _memory(field):
    """Bytes of this process by Linux' count: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def main():
    if sys.argv[1:2] == ["peak"]:
        print(peak(sys.argv[2]))
        return
    ratios = {classes: compare(classes) for classes in (19, 150)}
    peaks = {}
    for name in ("tfseg", "keras"):
        output = subprocess.run([sys.executable, __file__, "peak", name], capture_output=True, text=True, check=True)
        peaks[name] = float(output.stdout.split()[-1])
        what = "Dice + cross entropy" if name == "tfseg" else "keras.losses.Dice on one-hot labels"
        print(f"peak extra memory of {what}: {peaks[name]:.2f} x the logits", flush=True)
    print(json.dumps({"ratios": ratios, "peak": peaks, "targets": {"ratio": 1.0, "peak": TARGET}}))


if __name__ == "__main__":
    main()
