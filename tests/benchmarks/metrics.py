"""Time of one `ConfusionMetrics` update, compared with other libraries and with a train step.

All get the same labels and float32 logits of 8 images of 512 x 512, and go from logits to counts as
in training: tfseg and Keras in a `tf.function`; torch libraries (optional) with (B, C, H, W)
tensors in channels-last memory format, four times as fast for them, and with the argmax they expect
from the caller. They take turns; the ratio is the median over rounds of our time / theirs. The
train step is that of the default U-Net on 8 images of 256 x 256 with 11 classes.
"""

import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from tfseg.losses import CrossEntropy, Dice
from tfseg.metrics import ConfusionMetrics
from tfseg.models import unet

BATCH, SIZE, ROUNDS = 8, 512, 7
CLASSES = (2, 19, 150)
TARGET_RATIO, TARGET_FRACTION = 1.0, 0.05


def draw(classes, size):
    """Return labels in patches of 32 pixels, and mostly correct logits."""
    rng = np.random.default_rng(0)
    patches = rng.integers(0, classes, (BATCH, size // 32, size // 32), np.uint8)
    labels = patches.repeat(32, 1).repeat(32, 2)
    logits = rng.standard_normal((BATCH, size, size, classes), np.float32)
    at_label = np.take_along_axis(logits, labels[..., None], -1)
    np.put_along_axis(logits, labels[..., None], at_label + 3, -1)
    return labels, logits


def tensorflow_sides(labels, logits):
    """Return {name: update function} of tfseg and Keras."""
    classes = logits.shape[-1]
    labels, logits = tf.constant(labels), tf.constant(logits)
    metrics = {
        "tfseg": ConfusionMetrics(classes),
        "tfseg, per image": ConfusionMetrics(classes, ("mean_iou", "per_image_iou")),
        "keras MeanIoU": keras.metrics.MeanIoU(classes, ignore_class=255, sparse_y_pred=False),
    }
    functions = {
        name: tf.function(metric.update_state, autograph=False) for name, metric in metrics.items()
    }
    return {name: lambda f=function: f(labels, logits) for name, function in functions.items()}


def torch_sides(labels, logits):
    """Return {name: update function} of the installed torch libraries."""
    try:
        import torch
    except ImportError:
        return {}
    sides, classes = {}, logits.shape[-1]
    labels = torch.tensor(labels.astype(np.int64))
    logits = torch.from_numpy(logits).permute(0, 3, 1, 2)
    try:
        from segmentation_models_pytorch.metrics import get_stats

        sides["smp get_stats"] = lambda: get_stats(
            logits.argmax(1), labels, mode="multiclass", num_classes=classes, ignore_index=-1
        )
    except ImportError:
        pass
    try:
        from torchmetrics.classification import MulticlassConfusionMatrix

        update = MulticlassConfusionMatrix(classes, ignore_index=255, validate_args=False).update
        sides["torchmetrics"] = lambda: update(logits, labels)
    except ImportError:
        pass
    try:
        from monai.metrics import get_confusion_matrix
        from torch.nn.functional import one_hot

        def monai():
            predicted = one_hot(logits.argmax(1), classes).movedim(-1, 1)
            return get_confusion_matrix(predicted, one_hot(labels, classes).movedim(-1, 1))

        if classes < 100:  # its 64-bit one-hot tensors would need gigabytes
            sides["monai"] = monai
    except ImportError:
        pass
    return sides


def in_turns(sides, rounds):
    """Return {name: seconds of each round}; the first call of each compiles and does not count."""
    seconds = {name: [] for name in sides}
    for run in sides.values():
        run()
    for _ in range(rounds):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def against_peers(classes):
    """Return {"ms": {name: median}, "ratio": {peer: ours / theirs}}."""
    labels, logits = draw(classes, SIZE)
    seconds = in_turns({**tensorflow_sides(labels, logits), **torch_sides(labels, logits)}, ROUNDS)
    ratios = {}
    for name, theirs in seconds.items():
        pairs = zip(seconds["tfseg"], theirs, strict=True)
        ratios[name] = statistics.median(ours / other for ours, other in pairs)
        milliseconds = 1e3 * statistics.median(theirs)
        print(
            f"C = {classes}: {name} {milliseconds:.0f} ms, tfseg / {name} {ratios[name]:.2f}",
            flush=True,
        )
    peers = {name: ratio for name, ratio in ratios.items() if not name.startswith("tfseg")}
    return {"ms": {name: 1e3 * statistics.median(s) for name, s in seconds.items()}, "ratio": peers}


def fraction_of_train_step():
    """Return the seconds of an update and of a train step without metrics, and their ratio."""
    labels, logits = draw(11, 256)
    model = unet(11)
    model.compile("adam", loss=CrossEntropy() + Dice())
    images = tf.random.uniform((BATCH, 256, 256, 3), 0, 255)
    batches = iter(tf.data.Dataset.from_tensors((images, tf.constant(labels))).repeat())
    model.make_train_function()
    update = tensorflow_sides(labels, logits)["tfseg"]
    seconds = in_turns(
        {"update": update, "step": lambda: model.train_function(batches)["loss"].numpy()}, 3
    )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {**medians, "fraction": medians["update"] / medians["step"]}


def main():
    results = {
        "classes": {classes: against_peers(classes) for classes in CLASSES},
        "train_step": fraction_of_train_step(),
    }
    fastest = {
        classes: max(result["ratio"].values()) for classes, result in results["classes"].items()
    }
    for classes, ratio in fastest.items():
        target = f"(target: at most {TARGET_RATIO})"
        print(f"C = {classes}: {ratio:.2f} of the fastest peer's time {target}")
    fraction = results["train_step"]["fraction"]
    print(f"fraction of a train step: {fraction:.2%} (target: at most {TARGET_FRACTION:.0%})")
    print(
        json.dumps(
            {
                **results,
                "of_fastest": fastest,
                "target": {"ratio": TARGET_RATIO, "fraction": TARGET_FRACTION},
            }
        )
    )


if __name__ == "__main__":
    main()
