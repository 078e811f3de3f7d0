"""DSB 2018: cell nuclei under the fluorescence microscope, as star-convex polygons.

    python -m tfseg.recipes.dsb2018 --data ../shared/data/dsb2018_fluo --minutes 30 --out
    runs/dsb2018

A U-Net with a star head finds nuclei, averaged over the flips of an image; then their outlines move
to where the light falls to a fixed fraction of theirs, and haze is left out. On 20 images, after
900 steps of 4 images and 16 minutes of CPU time, validations included, on one core of an AMD EPYC
beside other programs: AP@0.5 of nuclei 0.810, mean of AP@0.5 to 0.95 0.524. The epoch was chosen by
the AP of the plain polygons on these images, the threshold and the levels of light on training
images. AP is TP / (TP + FP + FN), summed over the images, see `average_precision`.

- Polygons without flips, at a threshold of 0.5: 0.776 and 0.421; after 180, 360, 540 and 720 steps
  0.179, 0.629, 0.776 and 0.780 at an IoU of 0.5.
- Outlines that do not follow the light: 0.80 and 0.47.
- With haze, what is less than 13 levels brighter than its surroundings: 0.807 and 0.523; on 27
  training images 0.784 and 0.519 instead of 0.803 and 0.530. Of the labeled nuclei, 3 in 100 are
  less than 10 levels brighter, and 10 in 100 are smaller than 40 pixels.
- Insides and rims of nuclei in place of polygons, split by a watershed, after 300 steps of 8 images
  and 6 minutes on 2 cores of an Intel Xeon: 0.768 and 0.442.
- Of 64 nuclei missed in 20 training images after 540 steps, 29 are not found at all, 20 of these
  smaller than 80 pixels; the others are merged or too large.
- Images enlarged to twice their size, crops that show every class alike, 1500 steps and 27 minutes
  of CPU time: 0.813 and 0.513; without nuclei that are less than 10 levels brighter than what
  surrounds them 0.820 and 0.517. Of 100 nuclei missed, 54 are smaller than 40 pixels, and 38
  are merged with another one. 20 training images score 0.824 and 0.523: it is not overfitting.
  Without elastic deformation, blur and noise, 0.744 after 720 steps instead of 0.773 after 750.
- A U-Net without an encoder, filters (32, 64, 128), on crops of 128 pixels with scales of 0.8 to
  1.6, learns faster and ends hardly better: after 3700 steps and 30 minutes of CPU time, evaluation
  and export included, 0.809 and 0.518 with the epoch that has the best AP, 8 of 20, and 0.824 and
  0.516 with the last one, both at a threshold of 0.5. 27 training images score 0.805 and 0.525, and
  0.816 and 0.539. Images in several sizes, their outputs averaged, and another overlap in the
  suppression of polygons changed AP@0.5 by 0.01 at most.
- Trained for 4 minutes of CPU time on 60 training images, tested on the 20 others, with haze,
  without flips, at the best threshold: this network 0.620 and 0.332, 0.607 and 0.344 when the
  object probability counts ten times as much. So counted, the U-Net without an encoder 0.754 and
  0.446, on enlarged images 0.695 and 0.396, with filters (16, 32, 64, 128) and a grid of 1 0.720
  and 0.416, with small nuclei and pixels between nuclei weighted more 0.723 and 0.437. With a
  fourth level, not so counted: 0.682 and 0.415.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from tfseg.datasets import dsb2018
from tfseg.inference import predict_instances, refine
from tfseg.metrics import average_precision
from tfseg.recipes.command import command, run_instance_recipe
from tfseg.training import TrainConfig

# Neither brightness nor contrast: they would clip the nuclei of dark images to black.
AUGMENT = {
    "size": 256,
    "scale": (0.9, 1.9),
    "rotate": 180,
    "flip": "both",
    "elastic": 4,
    "gamma": 0.4,
    "blur": 0.7,
    "noise": 0.01,
    "fill": 5,  # about the background
}
# Chosen on training images.
THRESHOLD = 0.35  # of the object probability
LEVEL = 0.38  # of the light at an outline: 0 is the background around a nucleus, 1 its inside
SLOPE = 0.07  # change of the level per pixel
REACH = 3  # pixels that an outline moves at most outward
RING = 4  # width of the ring behind these in which the background is measured
CONTRAST = 13  # levels of 255 that a nucleus is brighter than its surroundings, at least


def run(data=None, minutes: float = 30, out="runs/dsb2018"):
    """Train on 80 images, select the best epoch on 20, evaluate, draw and export it.

    The SavedModel finds the polygons of a single prediction: flips and outlines that follow the
    light are steps of this recipe.

    Args:
        data: folder of the dataset; None for `dsb2018_fluo` in TFSEG_DATA.
        minutes: duration of the training, with evaluation and export.
        out: folder of the run, with scores, images and `saved_model/`.

    Returns:
        dict "ap" (10,) and "mean_ap", see `average_precision`, on the 20 images.
    """
    train, val = dsb2018(data)
    config = TrainConfig(
        out=out,
        task="instances",
        head="star",
        dataset="dsb2018",
        model="unet",
        encoder="efficientnet_lite0",
        normalization="image",  # some images are ten times as bright as others
        minutes=minutes,
        batch_size=4,
        augment=AUGMENT,
        cache="memory",
        optimizer="adamw",
        learning_rate=2e-3,
        average=0.99,
    )
    model = run_instance_recipe(config, train, val)
    return score_nuclei(val, lambda image: find_nuclei(model, image), out)


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


def find_nuclei(model, image):
    """Return the numbered nuclei (H, W) int32 in an image (H, W, 3)."""
    found = predict_instances(model, image, object_threshold=THRESHOLD, flips=True)
    return fit_to_light(image, found["instances"])


def fit_to_light(image, nuclei):
    """Move the outlines of bright nuclei to where the light falls to `LEVEL`.

    A nucleus consists of the pixels in it and up to `REACH` around it, but not in another one, that
    are brighter than the level, which rises by `SLOPE` per pixel outward and falls by it inward. Of
    several pieces the largest counts, with its holes filled. What is not brighter than what
    surrounds it by `CONTRAST` levels is haze, not a nucleus, and becomes background.

    Args:
        image: (H, W, 3) in 0..255.
        nuclei: (H, W) int, numbered nuclei; 0 is background.

    Returns:
        (H, W) int32, nuclei of the same numbers, some of them missing.
    """
    nuclei = nuclei.astype(np.int32)
    if not nuclei.any():
        return nuclei
    light = cv2.GaussianBlur(image.mean(-1, dtype=np.float32), (0, 0), 0.7)
    nearest, distance = _nearest(nuclei)
    grown = np.where(distance <= REACH, nearest, 0)
    around = np.where((distance > REACH) & (distance <= REACH + RING), nearest, 0)
    result = np.zeros_like(nuclei)
    for number in np.unique(nuclei[nuclei > 0]):
        inside, ring = nuclei == number, around == number
        dark = np.percentile(light[ring], 20) if ring.any() else 0
        bright = np.percentile(light[inside], 75)
        if bright - dark < CONTRAST:
            continue
        outward = np.where(inside, 0.5 - _depth(inside), distance - 0.5)
        level = dark + (LEVEL + SLOPE * outward) * (bright - dark)
        lit = (grown == number) & (light > level)
        result[_largest_piece(lit) if lit.any() else inside] = number
    return refine.fill_holes(result)


def _depth(mask):
    """Return the distance (H, W) of pixels of a mask to the nearest one that is not in it."""
    padded = np.pad(mask, 1).astype(np.uint8)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]


def _nearest(nuclei):
    """Return the number of the nearest nucleus of each pixel, and the distance to it in pixels."""
    distance, pixels = cv2.distanceTransformWithLabels(
        (nuclei == 0).astype(np.uint8),
        cv2.DIST_L2,
        cv2.DIST_MASK_5,
        labelType=cv2.DIST_LABEL_PIXEL,
    )
    # `pixels` is the label of the nearest pixel of a nucleus; each of these has its own
    number_of = np.zeros(pixels.max() + 1, np.int32)
    number_of[pixels[nuclei > 0]] = nuclei[nuclei > 0]
    return number_of[pixels], distance


def _largest_piece(mask):
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return pieces == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


if __name__ == "__main__":
    command(run)
