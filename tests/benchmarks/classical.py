"""Throughput of the classical methods in megapixels per second, compared with other libraries.

- Wrapped methods against the bare library call on an image it accepts directly: the cost of checks
  and conversions. Target: a time ratio of at most 1.05. The bare call does less: our label maps are
  int32, and the ratios of `compact_watershed` and `mean_shift` include our gradient and our
  numbering of regions.
- Own code: region growing against scikit-image's flood, ridges against its Sato filter, and the
  fully connected CRF against pydensecrf2 at 480 x 360 x 12 (skipped with a message if it is not
  installed). Target: a ratio of at most 1.0, and the same labels on at least 99 % of the pixels.

Both sides alternate in one process; a ratio is the median over rounds (default 7, `--rounds N`).

The image is a photograph of scikit-image. The CRF's logits are a blurred, noisy segmentation of it;
with `--run FOLDER` they are those of a trained network on images of CamVid.
"""

import argparse
import json
import os
import statistics
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
from skimage import data, filters, segmentation
from sklearn.mixture import GaussianMixture  # noqa: F401  import before the measurements

from tfseg import classical
from tfseg.inference import refine

ROUNDS = 7
MIN_SECONDS = 0.05  # per side and round
SIZE = (480, 360)
OVERHEAD, OWN, AGREEMENT = 1.05, 1.0, 0.99


def wrapped():
    """Return (name, our function, the library's function) for each wrapped method."""
    colors = cv2.resize(data.astronaut(), SIZE)
    gray = cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY)
    gray_float = gray.astype(np.float32)
    fractions = colors.astype(np.float32) / 255
    double = fractions.astype(float)
    gradient = cv2.GaussianBlur(classical.scharr(gray), (0, 0), 1)  # what `watershed` floods
    markers = np.zeros(gray.shape, np.int32)
    markers[20:40, 20:40], markers[100:140, 200:240] = 1, 2
    scribbles = np.where(markers > 0, markers - 1, 255)
    standardized = (double - double.mean()) / double.std()
    state = np.full(gray.shape, cv2.GC_BGD, np.uint8)
    state[20:340, 60:420] = cv2.GC_PR_FGD
    threshold = partial(cv2.threshold, gray, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    window = partial(
        cv2.adaptiveThreshold, gray, 1, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY, 51, 0
    )
    return [
        ("otsu", partial(classical.otsu, gray), threshold),
        ("adaptive", partial(classical.adaptive, gray), window),
        ("slic", partial(classical.slic, colors), partial(segmentation.slic, fractions, 250, 10.0)),
        (
            "felzenszwalb",
            partial(classical.felzenszwalb, colors),
            partial(segmentation.felzenszwalb, double, 100, 0.8, 50, channel_axis=-1),
        ),
        (
            "compact_watershed",
            partial(classical.compact_watershed, gray),
            partial(segmentation.watershed, gradient, 250, compactness=0.1),
        ),
        (
            "watershed",
            partial(classical.watershed, gray, markers),
            partial(segmentation.watershed, gradient, markers),
        ),
        (
            "mean_shift",
            partial(classical.mean_shift, colors),
            partial(cv2.pyrMeanShiftFiltering, colors, 5, 10.0),
        ),
        (
            "grabcut",
            partial(classical.grabcut, colors, box=(60, 20, 420, 340)),
            lambda: (
                cv2.setRNGSeed(0),
                cv2.grabCut(colors, state.copy(), None, None, None, 5, cv2.GC_INIT_WITH_MASK),
            ),
        ),
        (
            "random_walker",
            partial(classical.random_walker, colors, scribbles),
            partial(
                segmentation.random_walker, standardized, markers, 130.0, "bf", channel_axis=-1
            ),
        ),
        (
            "chan_vese",
            partial(classical.chan_vese, gray, iterations=20),
            partial(segmentation.chan_vese, gray_float, max_num_iter=20),
        ),
        (
            "flood_fill",
            partial(classical.flood_fill, gray, (100, 100), 40),
            partial(flood_by_opencv, gray),
        ),
    ]


def flood_by_opencv(gray):
    mask = np.zeros((gray.shape[0] + 2, gray.shape[1] + 2), np.uint8)
    cv2.floodFill(
        gray,
        mask,
        (100, 100),
        0,
        40,
        40,
        4 | cv2.FLOODFILL_MASK_ONLY | 1 << 8 | cv2.FLOODFILL_FIXED_RANGE,
    )
    return mask


def own():
    """Return (name, our function, the other library's function) with the same results."""
    gray = cv2.resize(data.camera(), SIZE)
    flood = partial(segmentation.flood, gray, (100, 100), connectivity=1, tolerance=40)
    growing = partial(classical.region_growing, gray, [(100, 100)], 40, "seed")
    assert np.array_equal(growing(), flood())
    sato = partial(filters.sato, gray, (1, 2, 3))
    return [
        ("region_growing / skimage flood", growing, flood),
        ("ridges / skimage sato", partial(classical.ridges, gray), sato),
    ]


def crf_pair(image, logits):
    """Return our CRF, that of pydensecrf2 or None, and the fraction of equal labels."""
    ours = partial(refine.crf, logits, image)
    try:
        import pydensecrf.densecrf as dense
    except ImportError:
        return ours, None, None
    height, width, classes = logits.shape
    unary = np.ascontiguousarray(-logits.reshape(-1, classes).T)
    image = np.array(image)  # it requires a writable array

    def theirs():
        field = dense.DenseCRF2D(width, height, classes)
        field.setUnaryEnergy(unary)
        field.addPairwiseGaussian(sxy=3, compat=3)
        field.addPairwiseBilateral(sxy=60, srgb=10, rgbim=image, compat=4)
        return np.array(field.inference(5)).reshape(classes, height, width)

    return ours, theirs, float(np.mean(ours().argmax(-1) == theirs().argmax(0)))


def synthetic_logits():
    """Return [(image, logits)]: twelve clusters of a photograph, blurred and noisy."""
    image = cv2.resize(data.astronaut(), SIZE)
    ids = classical.kmeans(image, 12, position_weight=100.0)
    logits = cv2.GaussianBlur(np.eye(12, dtype=np.float32)[ids], (0, 0), 4) * 6
    noise = np.random.default_rng(0).normal(0, 1, logits.shape).astype(np.float32)
    return [(image, logits + noise)]


def network_logits(run):
    """Return (image, logits) of a trained run on four images of CamVid.

    CamVid has eleven classes; a twelfth gets the lowest logit everywhere.
    """
    from tfseg import datasets, inference, training

    model, (_, val) = training.Run(Path(run)).model(), datasets.camvid()
    images = [val[index]["image"] for index in (0, 30, 60, 90)]
    logits = [inference.predict_logits(model, image) for image in images]
    padded = [np.concatenate([x, np.full_like(x[..., :1], x.min())], -1) for x in logits]
    return list(zip(images, padded, strict=True))


def seconds_per_call(function, calls):
    began = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - began) / calls


def compare(ours, theirs, rounds):
    """Return our throughput, the median of the time ratios ours / theirs, and their range."""
    calls = [max(1, int(MIN_SECONDS / seconds_per_call(side, 1))) for side in (ours, theirs)]
    times = [
        (seconds_per_call(ours, calls[0]), seconds_per_call(theirs, calls[1]))
        for _ in range(rounds)
    ]
    ratios = [a / b for a, b in times]
    pixels = SIZE[0] * SIZE[1] / 1e6
    return {
        "mp_s": pixels / statistics.median(a for a, _ in times),
        "ratio": statistics.median(ratios),
        "spread": [min(ratios), max(ratios)],
    }


def show(name, row, target):
    lowest, highest = row["spread"]
    print(
        f"{name:32} {row['mp_s']:9.2f} MP/s, ratio {row['ratio']:.2f} "
        f"({lowest:.2f} to {highest:.2f}), target: at most {target}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--run")
    arguments = parser.parse_args()
    rows = {"wrapped": {}, "own": {}}
    for kind, pairs, target in (("wrapped", wrapped(), OVERHEAD), ("own", own(), OWN)):
        for name, ours, theirs in pairs:
            rows[kind][name] = compare(ours, theirs, arguments.rounds)
            show(name, rows[kind][name], target)
    fields = network_logits(arguments.run) if arguments.run else synthetic_logits()
    pairs = [crf_pair(*field) for field in fields]
    ours, theirs, _ = pairs[0]
    if theirs is None:
        print("crf / pydensecrf2: skipped, pydensecrf2 is not installed")
    else:
        rows["own"]["crf"] = compare(ours, theirs, arguments.rounds)
        rows["own"]["crf"]["agreement"] = min(agreement for *_, agreement in pairs)
        show("crf / pydensecrf2", rows["own"]["crf"], OWN)
        print(
            f"  same labels on {rows['own']['crf']['agreement']:.2%} of the pixels, "
            f"target: {AGREEMENT:.0%}"
        )
    print(
        json.dumps({**rows, "targets": {"wrapped": OVERHEAD, "own": OWN, "agreement": AGREEMENT}})
    )


if __name__ == "__main__":
    main()
