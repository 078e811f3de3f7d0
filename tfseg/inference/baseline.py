"""What is reached on a dataset without a network: to know whether deep learning earns its cost there."""

import itertools
import time
from collections import Counter
from functools import partial

import numpy as np

from tfseg import classical
from tfseg.inference.comparison import ObjectScores, PixelScores, require
from tfseg.inference.predictor import predict

IMAGES = 60  # of the training part, on which options are chosen
STROKES = 0.01  # share of their pixels that the pixel classifier learns from


def baseline(train, val, network=None, track=lambda items, total: items):
    """Try the classical methods that fit a dataset, choose their options on its training part, and score them.

    Objects, where the readers give "instances": thresholds and watersheds, chosen by AP@0.5. Two classes of pixels:
    thresholds and ridges, either side, chosen by the mean IoU. Classes of pixels, two or more: a random forest over
    filters, from scribbles on some images, and the class that most pixels have. Options are tried on at most 60
    images, evenly spaced; the scores are those on all of `val`.

    Args:
        train, val: readers of the same classes.
        network: None; or a model of `tfseg.models`, or of objects a function of an image (H, W, C) that numbers them
            (H, W), for a row beside the others.
        track: wraps the iteration over all that is tried; called with it and its length.

    Returns:
        list of dicts, the best on `val` first: "method"; "options", as chosen; "mean_iou", "mean_dice" and
        "pixel_accuracy", or of objects "ap50", "mean_ap" and "pq"; "seconds" an image. `scores_table` prints it.

    Raises:
        ValueError: readers without masks or instances.
        ImportError: scikit-image or scikit-learn is not installed; the message names the extra `classical`.
    """
    objects = "instances" in train.fields
    for reader in (train, val):
        require("baseline", reader, objects)
    few = train.subset(
        np.unique(np.linspace(0, len(train) - 1, min(IMAGES, len(train))).astype(int))
    )
    few = [few[index] for index in range(len(few))]
    measure = partial(
        _row, train, ObjectScores if objects else PixelScores, "instances" if objects else "mask"
    )
    candidates = _of_objects() if objects else _of_pixels(few, train.label_names)
    best, alone = {}, Counter(name for name, *_ in candidates)
    for name, options, function in track(candidates, len(candidates)):
        score = next(iter(measure(few, function).values())) if alone[name] > 1 else 0.0
        if name not in best or score > best[name][0]:
            best[name] = score, options, function
    rows = [(name, _words(options), function) for name, (_, options, function) in best.items()]
    if network is not None:
        function = network if objects else partial(predict, network)
        function(val[0]["image"])  # the first call compiles it
        rows.append(("network", "", function))
    rows = [
        {"method": name, "options": options, **measure(val, function)}
        for name, options, function in rows
    ]
    return sorted(rows, key=lambda row: -row["ap50" if objects else "mean_iou"])


def _row(reader, kind, field, samples, function):
    """The figures of a function of an image on samples, and its seconds an image."""
    scores, seconds = kind(reader), 0.0
    for index in range(len(samples)):
        sample = samples[index]
        began = time.perf_counter()
        found = function(sample["image"])
        seconds += (time.perf_counter() - began) / len(samples)
        scores.add(sample[field], found)
    return {**scores.result(), "seconds": seconds}


def _candidates(name, function, **grid):
    """Every combination of options: (name, options, function of an image)."""
    choices = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return [(name, options, partial(function, **options)) for options in choices]


def _of_objects():
    sides = {"dark": (False, True)}
    return [
        *_candidates("Otsu, connected", _connected, **sides),
        *_candidates(
            "Otsu + watershed", _watershed, min_distance=(2, 3, 4, 6), min_area=(0, 20), **sides
        ),
        *_candidates(
            "local threshold + watershed", _local, size=(51, 101), offset=(2, 5, 10), **sides
        ),
    ]


def _of_pixels(samples, names):
    found = [_most_frequent(samples, names), _forest(samples)]
    if len(names) == 2:
        sides = {"flipped": (False, True)}
        for name, function, grid in (
            ("Otsu", classical.otsu, {}),
            ("triangle", classical.triangle, {}),
            (
                "local threshold",
                classical.adaptive,
                {"size": (25, 51, 101), "offset": (-10, -5, 0, 5, 10)},
            ),
            ("Sauvola", classical.sauvola, {"size": (15, 31, 61), "k": (0.05, 0.1, 0.2)}),
            ("ridges + Otsu", _ridges, {"sigma": (1, 2, 3, 5), "dark": (False, True)}),
        ):
            found += _candidates(name, partial(_side, function), **grid, **sides)
    return found


def _side(function, image, flipped, **options):
    return function(image, **options) ^ int(flipped)


def _ridges(image, sigma, dark):
    return classical.otsu(classical.ridges(image, (sigma,), dark))


def _connected(image, dark):
    return classical.connected_components(classical.otsu(image) == int(not dark))


def _watershed(image, min_distance, min_area, dark):
    return classical.remove_small(
        classical.watershed(image, min_distance=min_distance, dark=dark), min_area
    )


def _local(image, size, offset, dark):
    bright = classical.adaptive(image, size, offset if dark else -offset)
    return classical.split_touching(classical.smooth(bright == int(not dark)))


def _most_frequent(samples, names):
    counts = sum(
        np.bincount(sample["mask"].ravel(), minlength=256)[: len(names)] for sample in samples
    )
    top = int(counts.argmax())
    return (
        "most frequent class",
        {"class": names[top]},
        lambda image: np.full(image.shape[:2], top, np.uint8),
    )


def _forest(samples):
    rng = np.random.default_rng(0)
    scribbles = [_scribbles(sample["mask"], rng) for sample in samples]
    forest = classical.PixelClassifier().fit([sample["image"] for sample in samples], scribbles)
    return (
        "pixel classifier",
        {"scribbles": f"{STROKES:.0%} of {len(scribbles)} images"},
        forest.predict,
    )


def _scribbles(truth, rng):
    """A share of the pixels, and one of each class at least."""
    drawn = rng.random(truth.shape) < STROKES
    for value in np.unique(truth):
        drawn.flat[rng.choice(np.flatnonzero(truth == value))] = True
    return np.where(drawn, truth, 255).astype(np.uint8)


def _words(options):
    return ", ".join(f"{name}={value}" for name, value in options.items())
