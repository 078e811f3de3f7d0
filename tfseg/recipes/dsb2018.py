"""DSB 2018: cell nuclei under the fluorescence microscope, as instances.

    python -m tfseg.recipes.dsb2018 --data ../shared/data/dsb2018_fluo --minutes 5 --out
    runs/dsb2018

A U-Net classifies pixels as background, inside and rim; a watershed splits them into nuclei. On 20
images, after 6 minutes and 300 steps on 2 cores of an Intel Xeon: AP@0.5 of nuclei 0.768, mean of
AP@0.5 to 0.95 0.442. Variants:

- normalized by the mean and std of the dataset instead of each image's: 0.775 and 0.411;
- insides neither split at their necks nor removed where tiny: 0.404 and 0.247, because a short
  training leaves specks;
- with perfect rims: 0.987 and 0.973.
"""

import json
from pathlib import Path

import cv2
import keras
import numpy as np

from tfseg import checks
from tfseg.data import Arrays
from tfseg.datasets import dsb2018
from tfseg.inference import predict_logits, refine
from tfseg.metrics import average_precision
from tfseg.models import unet
from tfseg.recipes.command import command, run_recipe
from tfseg.training import TrainConfig

CLASS_NAMES = ("background", "inside", "rim")
BACKGROUND, INSIDE, RIM = range(3)
MIN_AREA = 20  # pixels of a nucleus; the smallest training nucleus has 21
AUGMENT = {
    "size": 256,
    "scale": (0.8, 1.8),
    "rotate": 180,
    "flip": "both",
    "elastic": 6,
    "brightness": 0.1,
    "contrast": 0.3,
    "gamma": 0.4,
    "blur": 1.0,
    "noise": 0.03,
}


def run(data=None, minutes: float = 5, out="runs/dsb2018"):
    """Train on 80 images, select on 20, evaluate pixels and nuclei, draw and export.

    Args:
        data: folder of the dataset; None for `dsb2018_fluo` in TFSEG_DATA.
        minutes: duration of the training.
        out: folder of the run, with scores, images and `saved_model/`.

    Returns:
        dict "ap" (10,) and "mean_ap", see `average_precision`, on the 20 images.
    """
    checks.require_package("skimage.segmentation", "classical")  # needed after the training
    nuclei_train, nuclei_val = dsb2018(data)
    train, val = _with_rims(nuclei_train), _with_rims(nuclei_val)
    keras.utils.set_random_seed(0)
    # some images are ten times as bright as others
    model = unet(3, encoder="efficientnet_lite0", weights="imagenet", normalization="image")
    config = TrainConfig(
        out=out,
        dataset="dsb2018",
        model=None,
        minutes=minutes,
        batch_size=8,
        val_batch_size=2,
        augment=AUGMENT,
        optimizer="adamw",
        learning_rate=1e-3,
    )
    model, _ = run_recipe(config, train, val, model)
    return score_nuclei(nuclei_val, lambda image: split(predict_logits(model, image)), out)


def score_nuclei(reader, find, out):
    """Compare the nuclei that are found in images with those of a reader, write and print scores.

    Args:
        reader: reader of images with "instances".
        find: function of an image (H, W, 3) that returns its numbered nuclei (H, W).
        out: folder, in which nuclei.json is written.

    Returns:
        dict "ap" (10,) and "mean_ap", see `average_precision`.
    """
    samples = [reader[index] for index in range(len(reader))]
    found = [find(sample["image"]) for sample in samples]
    precision = average_precision([sample["instances"] for sample in samples], found)
    scores = {"ap": precision["ap"].tolist(), "mean_ap": precision["mean_ap"]}
    (Path(out) / "nuclei.json").write_text(json.dumps(scores) + "\n", encoding="utf-8")
    print(f"Nuclei: AP@0.5 {scores['ap'][0]:.3f}, mean of AP@0.5 to 0.95 {scores['mean_ap']:.3f}")
    return precision


def rims(instances):
    """Turn numbered nuclei into classes: a rim pixel touches another nucleus or the background.

    Args:
        instances: (H, W) int, numbered nuclei; 0 is background.

    Returns:
        (H, W) uint8 class ids.
    """
    numbers = instances.astype(np.float32)  # OpenCV does not filter 32-bit integers
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    uniform = cv2.erode(numbers, cross) == cv2.dilate(numbers, cross)
    classes = np.where(uniform, INSIDE, RIM)
    classes[instances == 0] = BACKGROUND
    return classes.astype(np.uint8)


def split(logits):
    """Split the classes of pixels into nuclei: insides, split at their necks, grown over the rims.

    A rim pixel belongs to the nearest inside. A connected rim without an inside is a nucleus too.
    Nuclei of fewer than 20 pixels are removed.

    Args:
        logits: (H, W, 3) float.

    Returns:
        (H, W) int32, numbered nuclei.
    """
    ids = logits.argmax(-1)
    _, parts = cv2.connectedComponents((ids != BACKGROUND).astype(np.uint8), connectivity=4)
    has_inside = np.isin(parts, parts[ids == INSIDE])
    seeds = (ids == INSIDE) | ((ids == RIM) & ~has_inside)
    numbers = refine.split_touching(seeds)
    if not seeds.any():
        return numbers
    # `nearest` is the label of the nearest seed pixel; every seed pixel has its own
    _, nearest = cv2.distanceTransformWithLabels(
        (~seeds).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nucleus_of = np.zeros(nearest.max() + 1, np.int32)
    nucleus_of[nearest[seeds]] = numbers[seeds]
    return refine.remove_small(np.where(ids == BACKGROUND, 0, nucleus_of[nearest]), MIN_AREA)


def _with_rims(reader):
    samples = [reader[index] for index in range(len(reader))]
    images = [sample["image"] for sample in samples]
    masks = [rims(sample["instances"]) for sample in samples]
    return Arrays(images, masks, CLASS_NAMES)


if __name__ == "__main__":
    command(run)
