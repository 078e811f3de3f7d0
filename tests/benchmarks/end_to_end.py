"""Images per second of `fit` on JPEG and PNG files with augmentation, against the bare train step.

The bare step is the model's compiled train function, called in a loop on one constant batch in memory: no reading,
decoding, augmenting, and no `fit` around it. Both run in turns on the library's default U-Net; the ratio is the
median of the turns'. Where other machines share the processor, wall time scatters far more than the effect: the
ratio of the processor's seconds, which the scatter hardly touches, stands beside it.
"""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image

from tfseg.data import Augment, Folder, pipeline
from tfseg.losses import CrossEntropy, Dice
from tfseg.metrics import ConfusionMetrics
from tfseg.models import unet

BATCH, STEPS, ROUNDS = 8, 8, 5


def camvid(folder):
    """The CamVid folders, or as many made-up street-sized pictures where the data are absent."""
    data = Path(os.environ.get("TFSEG_DATA", Path(__file__).parents[3] / "shared" / "data")) / "camvid"
    if data.is_dir():
        return data / "train", data / "trainannot"
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i in range(64):
        coarse = rng.integers(0, 256, (36, 48, 3), np.uint8)
        Image.fromarray(coarse).resize((480, 360), 2).save(folder / "images" / f"{i}.jpg", quality=92)
        mask = Image.fromarray(rng.integers(0, 11, (9, 12), np.uint8)).resize((480, 360), 0)
        mask.save(folder / "masks" / f"{i}.png")
    return folder / "images", folder / "masks"


def main():
    with tempfile.TemporaryDirectory() as folder:
        images, masks = camvid(Path(folder))
        reader = Folder(images, masks, [str(i) for i in range(11)], ignore=11).take(range(BATCH * STEPS))
        augment = Augment(256, scale=(0.7, 1.5), rotate=10, flip="horizontal")
        files = pipeline(reader, BATCH, augment)
        images, masks = next(iter(files))
        constant = iter(tf.data.Dataset.from_tensors((images, masks)).cache().repeat())
        model = unet(11)
        model.compile("adam", loss=CrossEntropy() + Dice(), metrics=[ConfusionMetrics(11)])
        model.make_train_function()

        def bare():
            for _ in range(STEPS):
                logs = model.train_function(constant)
            return logs["loss"].numpy()

        rates = {"bare step": [], "fit on files": []}
        busy = {"bare step": [], "fit on files": []}
        for turn in range(ROUNDS + 1):
            for name, run in (
                ("bare step", bare),
                ("fit on files", lambda: model.fit(files, verbose=0, shuffle=False)),
            ):
                began, worked = time.perf_counter(), time.process_time()
                run()
                if turn:  # the first turn compiles
                    rates[name].append(BATCH * STEPS / (time.perf_counter() - began))
                    busy[name].append(time.process_time() - worked)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    pairs = zip(rates["fit on files"], rates["bare step"], strict=True)
    ratio = statistics.median(ours / bare for ours, bare in pairs)
    for name, value in medians.items():
        print(f"{name}: {value:.2f} images/s, runs {', '.join(f'{v:.2f}' for v in rates[name])}")
    print(f"fit on files / bare step: {ratio:.3f} (target: at least 0.95)")
    work = statistics.median(busy["bare step"]) / statistics.median(busy["fit on files"])
    print(f"the same in seconds of the processor: {work:.3f}")
    print(json.dumps({"ratio": ratio, "processor_ratio": work, "images_per_s": medians, "target": 0.95}))


if __name__ == "__main__":
    main()
