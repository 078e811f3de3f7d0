"""A folder of images and masks in which the doctor finds nothing; tests plant one fault in it."""

import cv2
import numpy as np
from PIL import Image

from tfseg.doctor import diagnose

NAMES = ["ground", "wall", "band"]


def draw_clean(index, height=64, width=80):
    """Return an image (H, W, 3) unlike all others, and its mask: 0 at the left, 1 at the right, 2 below."""
    rng = np.random.default_rng(index)
    coarse = rng.uniform(20, 235, (6, 8, 3)).astype(np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((height, width), np.uint8)
    mask[:, int(rng.uniform(0.3, 0.6) * width) :] = 1
    mask[int(rng.uniform(0.6, 0.8) * height) :] = 2
    return image.clip(0, 255).astype(np.uint8), mask


def write_clean(folder, count=6, first=0, suffix=".png"):
    """Write `count` samples as folder/images/p0.png and folder/masks/p0.png, and so on."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(first, first + count):
        image, mask = draw_clean(index)
        Image.fromarray(image).save(folder / "images" / f"p{index}{suffix}", quality=95)
        Image.fromarray(mask).save(folder / "masks" / f"p{index}.png")
    return folder


def change_masks(folder, change, only="*"):
    """Rewrite masks by a function of their arrays."""
    for path in (folder / "masks").glob(only):
        with Image.open(path) as picture:
            array = np.asarray(picture)
        Image.fromarray(change(array)).save(path)


def found(folder, class_names=NAMES, **options):
    """The doctor's report on a folder of `images` and `masks`."""
    return diagnose((folder / "images", folder / "masks"), class_names, **options)


def only(report):
    """The one finding of a report."""
    assert [finding.kind for finding in report.findings] == [report.findings[0].kind], str(report)
    return report.findings[0]
