"""Images per second of `fit` on JPEG and PNG files with augmentation, compared with the train step.

The train step is the model's compiled train function, called in a loop on one batch in memory:
without reading, decoding, augmentation and `fit`. Both take turns with the default U-Net. On a
shared processor the times of single turns vary more than the effect. Since other processes only add
time, each step of an epoch counts with its shortest time over the turns (as `timeit` recommends),
and so do the waits before the first and after the last batch. The ratio of the median times of
whole turns is printed as well.
"""

import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from tfseg.data import Augment, Folder, pipeline
from tfseg.losses import CrossEntropy, Dice
from tfseg.metrics import ConfusionMetrics
from tfseg.models import unet

BATCH, STEPS, TURNS = 8, 8, 6


def camvid(folder):
    """Return the folders of CamVid, or of as many random images of its size if it is missing."""
    data = (
        Path(os.environ.get("TFSEG_DATA", Path(__file__).parents[3] / "shared" / "data")) / "camvid"
    )
    if data.is_dir():
        return data / "train", data / "trainannot"
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i in range(64):
        coarse = rng.integers(0, 256, (36, 48, 3), np.uint8)
        Image.fromarray(coarse).resize((480, 360), 2).save(
            folder / "images" / f"{i}.jpg", quality=92
        )
        mask = Image.fromarray(rng.integers(0, 11, (9, 12), np.uint8)).resize((480, 360), 0)
        mask.save(folder / "masks" / f"{i}.png")
    return folder / "images", folder / "masks"


def main():
    with tempfile.TemporaryDirectory() as folder:
        images, masks = camvid(Path(folder))
        reader = Folder(images, masks, [str(i) for i in range(11)], ignore_value=11).subset(
            range(BATCH * STEPS)
        )
        augment = Augment(256, scale=(0.7, 1.5), rotate=10, flip="horizontal")
        files = pipeline(reader, BATCH, augment)
        images, masks = next(iter(files))
        constant = iter(tf.data.Dataset.from_tensors((images, masks)).cache().repeat())
        model = unet(11)
        model.compile("adam", loss=CrossEntropy() + Dice(), metrics=[ConfusionMetrics(11)])
        model.make_train_function()

        def train_step():
            clock = Clock()
            for _ in range(STEPS):
                model.train_function(constant)["loss"].numpy()
                clock.on_train_batch_end()
            return clock.parts()

        def fit():
            clock = Clock()
            model.fit(files, verbose=0, shuffle=False, callbacks=[clock])
            return clock.parts()

        for run in (train_step, fit):
            run()  # compiles
        turns = [(train_step(), fit()) for _ in range(TURNS)]
    rates = {}
    for name, parts in zip(("train step", "fit on files"), zip(*turns, strict=True), strict=True):
        seconds = [sum(part) for part in parts]
        best = sum(min(times) for times in zip(*parts, strict=True))
        rates[name] = {
            "best": BATCH * STEPS / best,
            "median": BATCH * STEPS / statistics.median(seconds),
        }
        times = ", ".join(f"{s:.1f}" for s in seconds)
        print(f"{name}: {rates[name]['best']:.2f} images/s, turns took {times} s")
    fit_rates, step_rates = rates["fit on files"], rates["train step"]
    ratio = fit_rates["best"] / step_rates["best"]
    median = fit_rates["median"] / step_rates["median"]
    print(
        f"fit on files / train step: {ratio:.3f} (target: at least 0.95); with median turns: "
        f"{median:.3f}"
    )
    print(
        json.dumps(
            {"ratio": ratio, "ratio_of_medians": median, "images_per_s": rates, "target": 0.95}
        )
    )


class Clock(keras.callbacks.Callback):
    """Measures the parts of a turn: up to the first step, every further step, and the end."""

    def __init__(self):
        super().__init__()
        self.times = [time.perf_counter()]

    def on_train_batch_end(self, batch=None, logs=None):
        self.times.append(time.perf_counter())

    def parts(self):
        times = [*self.times, time.perf_counter()]
        return [after - before for before, after in itertools.pairwise(times)]


if __name__ == "__main__":
    main()
