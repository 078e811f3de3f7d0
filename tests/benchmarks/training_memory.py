"""Peak memory of trainings on a CPU, compared with `predict_memory` (Linux).

Each case is a training on drawn images in a process of its own; its peak is VmHWM. The constants of
`tfseg/training/training_memory.py` were fitted to `FITTED` by least squares of the relative error,
on two CPU cores with TensorFlow 2.21; `HELD_OUT` were not used. Six of those run by default (five
minutes), all cases with --all (half an hour). A case takes up to 4 GB.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image
from processes import memory, start

TARGET = 0.2  # largest relative error
MIB = 2**20
HALF = (16, 32, 64, 128, 256)  # filters of half the default U-Net


class Case(NamedTuple):
    """A training: network, side of the crops, batch size, steps and `TrainConfig` fields."""

    model: str
    crop: int
    batch_size: int
    steps: int = 5
    classes: int = 2
    val: tuple = (200, 200)
    val_batch_size: int | None = None
    bits: int = 8  # of the images: 8 in color, 16 in gray
    epochs: int = 2
    options: dict = {}

    def __str__(self):
        name = " ".join([self.model, *map(str, self.options.values())])
        text = f"{name}, {self.batch_size} x {self.crop}^2, {self.classes} classes"
        return f"{text}, validation {self.val[0]} x {self.val[1]}, {self.bits} bits"


LITE = {"encoder": "efficientnet_lite0"}
RESNET = {"encoder": "resnet50", "weights": None}
FITTED = [
    Case("tiny_unet", 128, 4, 8),
    Case("unet", 32, 2, 3, val=(40, 40), options={"filters": HALF}),
    Case("unet", 128, 16, options={"filters": HALF}),
    Case("unet", 256, 8, 8, options={"filters": HALF}),
    Case("unet", 256, 4, 8, bits=16, options={"filters": HALF}),
    Case("unet", 128, 2, 8, val=(1000, 2000), val_batch_size=1, options={"filters": HALF}),
    Case("unet", 32, 2, 3, val=(40, 40)),
    Case("unet", 256, 4, classes=11),
    Case("unet", 32, 2, 3, val=(40, 40), options=LITE),
    Case("unet", 256, 8, 8, options=LITE),
    Case("unet", 384, 2, 8, classes=19, options=LITE),
    Case("fpn", 32, 2, 3, classes=11, val=(40, 40), options=RESNET),
    Case("fpn", 256, 4, classes=11, options=RESNET),
]
HELD_OUT = [
    Case("unet", 128, 8),
    Case("tiny_unet", 384, 16),
    Case("deeplab_v3_plus", 256, 2, options=RESNET),
    Case("unet", 128, 4, 8, 5, (800, 1280), 2, options=LITE),
    Case("segformer", 256, 4, classes=3, options={"encoder": "mit_b0", "weights": None}),
    Case("unet", 256, 4, 8, 9, options={"task": "instances", "head": "star", **LITE}),
    Case("unet", 384, 4, classes=5, options={"filters": HALF}),
    Case("unet", 256, 2, 8, bits=16),
    Case("unet", 256, 16, options=LITE),
    Case("unet", 128, 2, 8, options={"optimizer": "adam", "average": 0.99, **LITE}),
    Case("deeplab_v3_plus", 64, 2, 3, val=(70, 70), options=RESNET),
    Case("segformer", 64, 2, 3, 3, (70, 70), options={"encoder": "mit_b0", "weights": None}),
    Case("tiny_unet", 256, 16, 4, 5),
    Case("tiny_unet", 64, 2, 3, 3, (1000, 1000), 4),
    Case("fpn", 96, 2, 3, 4, (1000, 1400), 1, options=RESNET),
    Case("unet", 96, 2, 3, 3, (700, 900), 3, options={"encoder": "efficientnet_lite1"}),
    Case("unet", 128, 8, 6, epochs=12, options={"filters": HALF}),
]
SHOWN = HELD_OUT[:6]


def draw(folder, case, count, height, width):
    """Write images of noisy discs, and masks of their classes or numbers."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        y, x = np.ogrid[:height, :width]
        mask = np.zeros((height, width), np.uint8)
        for disc in range(1, case.classes):
            row, column = rng.integers(height), rng.integers(width)
            mask[(y - row) ** 2 + (x - column) ** 2 < (height / 6) ** 2] = disc
        image = 200 / case.classes * mask + rng.integers(0, 40, mask.shape)
        image = (200 * image).astype(np.uint16) if case.bits == 16 else image.astype(np.uint8)
        image = image if case.bits == 16 else np.repeat(image[..., None], 3, axis=-1)
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")


def config_of(case, folder):
    """Return the `TrainConfig` of a case whose images are drawn."""
    from tfseg.training import TrainConfig

    labels = "labels" if case.options.get("task") else "masks"
    folders = {"images": str(folder / "train" / "images"), labels: str(folder / "train" / "masks")}
    val = {f"val_{name}": path.replace("train", "val") for name, path in folders.items()}
    names = None if case.options.get("task") else [f"class_{i}" for i in range(case.classes)]
    return TrainConfig(
        out=str(folder / "run"),
        model=case.model,
        class_names=names,
        epochs=case.epochs,
        batch_size=case.batch_size,
        val_batch_size=case.val_batch_size,
        augment={"size": case.crop},
        **{"optimizer": "adamw", **case.options},
        **folders,
        **val,
    )


def measure(case, pipe):
    """Send (measured, predicted) bytes of a case; runs in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        side = case.crop * 5 // 4
        draw(folder / "train", case, case.batch_size * case.steps, side, side)
        draw(folder / "val", case, 4, *case.val)
        from tfseg.training import train
        from tfseg.training.training_memory import predict_memory

        config = config_of(case, folder)
        run = train(config)
        peak, crop = memory("VmHWM"), (case.crop, case.crop)
        sizes = crop, case.batch_size, case.val, case.val_batch_size
        average = config.average is not None
        pipe.send((peak, predict_memory(run.model(), *sizes, config.optimizer, average)))


def compare(case):
    """Run a case, print its line, and return {case, measured, predicted, error}."""
    process, pipe = start(measure, case)
    measured, predicted = pipe.recv()
    process.join()
    error = predicted / measured - 1
    print(
        f"{measured / MIB:6.0f} MiB, predicted {predicted / MIB:6.0f}, {error:+6.1%}  {case}",
        flush=True,
    )
    return {"case": str(case), "measured": measured, "predicted": predicted, "error": error}


def worst(rows):
    return max(abs(row["error"]) for row in rows)


def main():
    result = {"target": TARGET}
    if sys.argv[1:] == ["--all"]:
        print("fitted")
        result["fitted"] = [compare(case) for case in FITTED]
        print("held out")
    result["held_out"] = [compare(case) for case in (HELD_OUT if "fitted" in result else SHOWN)]
    for name in result.keys() - {"target"}:
        result[f"worst_{name}"] = worst(result[name])
    print(f"largest error of held-out cases {result['worst_held_out']:.1%}, target {TARGET:.0%}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
