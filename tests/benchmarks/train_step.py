"""Seconds per train step of the default U-Net, in float32 and bfloat16, compared with torch.

Both sides train the same layers (the numbers of parameters are compared) on one batch of 8 images
of 256 x 256 with 11 classes, with cross entropy and Adam. Our side uses `compile`, and `fit` over a
repeated batch; "keras_bn" is the same with the batch normalization of `keras.layers`. The peer
needs torch (`pip install -e '.[oracle]'`): channels last, network and loss through `torch.compile`,
fused Adam, bfloat16 by autocast. Each side has its own process and as many threads as there are
cores; they take turns. The ratio is the median over rounds of our time / torch's time, each from
the round's median step; the smallest and the largest ratio are printed too. The first step includes
tracing and compilation, without caches of earlier runs. Inference compares our `predict_on_batch`
with torch's bare forward pass.

With `--where`: where the time of our step goes, by kind of operation, from TensorFlow's profiler.
Operations that run in parallel both count, so the sum can exceed the step.

What was tried: seconds per step in float32 and bfloat16 on 2 cores of an AMD EPYC with AVX-512 and
bfloat16 units, TensorFlow 2.21, torch 2.13.

    Keras' batch normalization            1.82   1.26
    TensorFlow's fused kernel             1.55   0.87
    everything compiled by XLA            2.6
    torch                                 2.25   1.26

What remains in bfloat16 is convolutions, 94 % of the operations' time: gradient of the filters
0.70, gradient of the inputs 0.39, forward 0.23 seconds. With EfficientNet-Lite0 as encoder, the
fused kernel saves a third in float32 (0.74 to 0.50 for 8 x 256 x 352); there, bfloat16 is slower
than float32.
"""

import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from processes import answer, start

BATCH, SIZE, CLASSES, FILTERS = 8, 256, 11, (32, 64, 128, 256, 512)
ROUNDS, STEPS = 5, 4
TARGETS = {"float32": 0.85, "bfloat16": 1.0}


def batch():
    """Return images (B, H, W, 3) in 0..255, float32, and labels (B, H, W), uint8."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3)).astype("float32")
    return images, rng.integers(0, CLASSES, (BATCH, SIZE, SIZE)).astype("uint8")


def tfseg_side(precision):
    """Return the number of trainable parameters and {what: function}.

    The function maps a number of steps to the seconds of each step.
    """
    model, batches = tfseg_model(precision)
    images = batch()[0]
    parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    predict = clocked(lambda: model.predict_on_batch(images))
    return parameters, {"train": lambda steps: fit(model, batches, steps), "inference": predict}


def keras_bn_side(precision):
    """`tfseg_side` with the batch normalization of `keras.layers`."""
    from tfseg.models.batch_norm import BatchNorm

    BatchNorm._is_fused = lambda *_: False
    return tfseg_side(precision)


def tfseg_model(precision):
    """Return the compiled model and its endlessly repeated batch."""
    import keras
    import tensorflow as tf

    from tfseg.losses import CrossEntropy
    from tfseg.models import unet

    keras.mixed_precision.set_global_policy(
        precision if precision == "float32" else f"mixed_{precision}"
    )
    model = unet(CLASSES, filters=FILTERS)
    model.compile("adam", loss=CrossEntropy())
    return model, tf.data.Dataset.from_tensors(batch()).cache().repeat()


def fit(model, batches, steps):
    """Return the seconds of each step of an epoch."""
    from keras.callbacks import LambdaCallback

    marks = [time.perf_counter()]
    clock = LambdaCallback(on_train_batch_end=lambda batch, logs: marks.append(time.perf_counter()))
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[clock])
    return [after - before for before, after in pairwise(marks)]


def clocked(run):
    """Return a function that maps a number of steps to the seconds of each step."""

    def steps(number):
        marks = [time.perf_counter()]
        for _ in range(number):
            run()
            marks.append(time.perf_counter())
        return [after - before for before, after in pairwise(marks)]

    return steps


def torch_side(precision):
    """Return the number of trainable parameters and {what: function}.

    The function maps a number of steps to the seconds of each step.
    """
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    images, labels = batch()
    images = torch.from_numpy(images).permute(0, 3, 1, 2)  # still channels last in memory
    labels = torch.from_numpy(labels).long()
    model = torch_unet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def forward():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return model(images)

    loss = torch.compile(lambda: torch.nn.functional.cross_entropy(forward().float(), labels))
    predict = torch.compile(lambda: forward().float())

    def train():
        model.train()
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    def infer():
        model.eval()
        with torch.inference_mode():
            predict()

    parameters = sum(weight.numel() for weight in model.parameters())
    return parameters, {"train": clocked(train), "inference": clocked(infer)}


def torch_unet():
    """Return the layers of `unet(11)`: (B, 3, H, W) in 0..255 -> (B, 11, H, W) logits."""
    import torch
    from torch import nn

    def block(before, width):
        for channels in (before, width):
            yield nn.Conv2d(channels, width, 3, padding=1, bias=False)
            yield nn.BatchNorm2d(width, eps=1e-3)
            yield nn.ReLU(inplace=True)

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.ModuleList(
                nn.Sequential(*block(*pair)) for pair in pairwise((3, *FILTERS))
            )
            pairs = list(pairwise(FILTERS[::-1]))
            self.up = nn.ModuleList(nn.ConvTranspose2d(*pair, 2, stride=2) for pair in pairs)
            self.merge = nn.ModuleList(
                nn.Sequential(*block(2 * width, width)) for _, width in pairs
            )
            self.classes = nn.Conv2d(FILTERS[0], CLASSES, 1)

        def forward(self, x):
            x, skips = x / 127.5 - 1, []
            for down in self.down:
                x = down(x if not skips else nn.functional.max_pool2d(x, 2))
                skips.append(x)
            for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
                x = merge(torch.cat([skip, up(x)], 1))
            return self.classes(x)

    return UNet()


SIDES = {"tfseg": tfseg_side, "keras_bn": keras_bn_side, "torch": torch_side}


def serve(side, precision, pipe):
    """Send the number of parameters, then answer (what, number of steps) with their seconds."""
    try:
        parameters, runs = SIDES[side](precision)
    except ImportError:
        pipe.send(None)
        return
    pipe.send(parameters)
    while request := pipe.recv():
        what, steps = request
        pipe.send(runs[what](steps))


def compare(precision):
    """Return {"first train", "train", "first inference", "inference": summary of all sides}."""
    processes, pipes = zip(*(start(serve, side, precision) for side in SIDES), strict=True)
    parameters = {side: pipe.recv() for side, pipe in zip(SIDES, pipes, strict=True)}
    pipes = {side: pipe for side, pipe in zip(SIDES, pipes, strict=True) if parameters[side]}
    assert len({parameters[side] for side in pipes}) == 1, (
        f"the networks differ: parameters {parameters}"
    )

    def ask(*request):
        return {side: statistics.median(answer(pipe, request)) for side, pipe in pipes.items()}

    rows = {}
    for what in ("train", "inference"):
        rows[f"first {what}"] = summary([ask(what, 1)])
        ask(what, 1)
        rows[what] = summary([ask(what, STEPS) for _ in range(ROUNDS)])
    for pipe in pipes.values():
        pipe.send(None)
    for process in processes:
        process.join()
    return {"parameters": parameters["tfseg"], **rows}


def summary(rounds):
    """Return {"s": {side: median seconds}, "ratio": median ratio to torch, "spread": its range}."""
    seconds = {side: statistics.median(times[side] for times in rounds) for side in rounds[0]}
    ratios = [times["tfseg"] / times["torch"] for times in rounds if "torch" in times]
    if not ratios:
        return {"s": seconds}
    return {"s": seconds, "ratio": statistics.median(ratios), "spread": [min(ratios), max(ratios)]}


def ratio_text(row):
    if "ratio" not in row:
        return "torch is not installed"
    text = f"tfseg / torch {row['ratio']:.2f}"
    least, most = row["spread"]
    if most > least:
        text += f" ({least:.2f} to {most:.2f})"
    return text


def show(precision, rows):
    print(f"{precision}, {rows['parameters'] / 1e6:.2f} M parameters")
    for what in ("first train", "train", "first inference", "inference"):
        row = rows[what]
        times = ", ".join(f"{side} {seconds:.3f} s" for side, seconds in row["s"].items())
        line = f"  {what}: {times}; {ratio_text(row)}"
        if what == "train":
            line += f", target: at most {TARGETS[precision]}"
        print(line, flush=True)


def where(precision, pipe, steps=5):
    """Send (seconds per step, {kind of operation: seconds per step}), longest first."""
    model, batches = tfseg_model(precision)
    step = statistics.median(fit(model, batches, steps))
    pipe.send((step, operation_times(lambda: fit(model, batches, steps), steps)))


def operation_times(run, steps):
    """Return {kind of operation: seconds per step} of a function that runs steps, longest first."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            run()
        spaces = [
            xplane_pb2.XSpace.FromString(file.read_bytes())
            for file in Path(folder).rglob("*.xplane.pb")
        ]
    taken = Counter()
    for plane in (plane for space in spaces for plane in space.planes):
        for event in (event for line in plane.lines for event in line.events):
            # Events of operations are named "layer/operation:Kind", unlike those of threads.
            if operation := re.fullmatch(
                r"[^:]+:(\w+)", plane.event_metadata[event.metadata_id].name
            ):
                taken[operation[1]] += event.duration_ps / 1e12 / steps
    return dict(taken.most_common())


def show_where(precision, shown=12):
    process, pipe = start(where, precision)
    step, taken = pipe.recv()
    process.join()
    total = sum(taken.values())
    print(f"{precision}: a step takes {step:.3f} s, its operations {total:.3f} s")
    for kind, seconds in list(taken.items())[:shown]:
        print(f"  {1e3 * seconds:7.1f} ms {seconds / total:6.1%} {kind}", flush=True)
    return {"step_s": step, "operations_s": taken}


def main():
    if sys.argv[1:] == ["--where"]:
        print(json.dumps({precision: show_where(precision) for precision in TARGETS}))
        return
    rows = {}
    for precision in TARGETS:
        rows[precision] = compare(precision)
        show(precision, rows[precision])
    print(json.dumps({**rows, "targets": TARGETS}))


if __name__ == "__main__":
    main()
