"""A dataset folder without findings; tests of the doctor plant one fault in it."""

import cv2
import numpy as np
from PIL import Image

from tfseg.doctor import diagnose

NAMES = ["ground", "wall", "band"]


def draw_clean(index, height=64, width=80):
    """Return a unique image (H, W, 3) and its mask: 0 on the left, 1 on the right, 2 below."""
    rng = np.random.default_rng(index)
    coarse = rng.uniform(20, 235, (6, 8, 3)).astype(np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((height, width), np.uint8)
    mask[:, int(rng.uniform(0.3, 0.6) * width) :] = 1
    mask[int(rng.uniform(0.6, 0.8) * height) :] = 2
    return image.clip(0, 255).astype(np.uint8), mask


def write_clean(folder, count=6, first=0, suffix=".png"):
    """Write `count` samples: images/p0.png and masks/p0.png, and so on."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(first, first + count):
        image, mask = draw_clean(index)
        Image.fromarray(image).save(folder / "images" / f"p{index}{suffix}", quality=95)
        Image.fromarray(mask).save(folder / "masks" / f"p{index}.png")
    return folder


def change_masks(folder, change, pattern="*"):
    """Apply a function of arrays to the mask files that match a pattern."""
    for file in (folder / "masks").glob(pattern):
        with Image.open(file) as pil_image:
            array = np.asarray(pil_image)
        Image.fromarray(change(array)).save(file)


def diagnose_folder(folder, class_names=NAMES, **options):
    """Return the doctor's report on a folder of `images` and `masks`."""
    return diagnose((folder / "images", folder / "masks"), class_names, **options)


def single_finding(report):
    """Return the only finding of a report."""
    assert len(report.findings) == 1, str(report)
    return report.findings[0]
