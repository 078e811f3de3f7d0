"""What is reached on a data set without a network: to know whether deep learning earns its cost there."""

import itertools
import time
from collections import Counter
from functools import partial

import numpy as np

from tfseg import classical
from tfseg.inference.comparison import object_scores, pixel_scores, require
from tfseg.inference.predictor import predict

PICTURES = 60  # of the training part, on which options are chosen
STROKES = 0.01  # share of their pixels that the pixel classifier learns from


def baseline(train, val, network=None, track=lambda items, total: items):
    """Try the classical methods that fit a data set, choose their options on its training part, and score them.

    Objects, where the readers give "instances": thresholds and watersheds, chosen by AP@0.5. Two classes of pixels:
    thresholds and ridges, either side, chosen by the mean IoU. Classes of pixels, two or more: a random forest over
    filters, from strokes on some pictures, and the class that most pixels have. Options are tried on at most 60
    pictures, evenly spaced; the scores are those on all of `val`.

    Args:
        train, val: readers of the same classes.
        network: None; or a model of `tfseg.models`, or of objects a function of a picture (H, W, C) that numbers them
            (H, W), for a row beside the others.
        track: wraps the iteration over all that is tried; called with it and its length.

    Returns:
        list of dicts, the best on `val` first: "method"; "options", as chosen; "mean_iou", "mean_dice" and
        "pixel_accuracy", or of objects "ap50", "mean_ap" and "pq"; "seconds" a picture. `scores_table` prints it.

    Raises:
        ValueError: readers without masks or instances.
        ImportError: scikit-image or scikit-learn is not installed; the message names the extra `classical`.
    """
    objects = "instances" in train.fields
    for reader in (train, val):
        require("baseline", reader, objects)
    few = train.take(np.unique(np.linspace(0, len(train) - 1, min(PICTURES, len(train))).astype(int)))
    tuning, judging = _Part(few, objects), _Part(val, objects)
    candidates = _of_objects() if objects else _of_pixels(tuning)
    best, alone = {}, Counter(name for name, *_ in candidates)
    for name, options, function in track(candidates, len(candidates)):
        score = next(iter(tuning.row(function).values())) if alone[name] > 1 else 0.0
        if name not in best or score > best[name][0]:
            best[name] = score, options, function
    rows = [(name, _words(options), function) for name, (_, options, function) in best.items()]
    if network is not None:
        function = network if objects else partial(predict, network)
        function(judging.images[0])  # the first call compiles it
        rows.append(("network", "", function))
    rows = [{"method": name, "options": options, **judging.row(function)} for name, options, function in rows]
    return sorted(rows, key=lambda row: -row["ap50" if objects else "mean_iou"])


class _Part:
    """The pictures of a reader, and how to score what is found in them."""

    def __init__(self, reader, objects):
        self.reader, self._score = reader, object_scores if objects else pixel_scores
        samples = [reader[index] for index in range(len(reader))]
        self.images = [sample["image"] for sample in samples]
        self.truths = [sample["instances" if objects else "mask"] for sample in samples]

    def row(self, function):
        began = time.perf_counter()
        found = [function(image) for image in self.images]
        seconds = (time.perf_counter() - began) / len(found)
        return {**self._score(self.reader, self.truths, found), "seconds": seconds}


def _candidates(name, function, **grid):
    """Every combination of options: (name, options, function of a picture)."""
    choices = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return [(name, options, partial(function, **options)) for options in choices]


def _of_objects():
    sides = {"dark": (False, True)}
    return [
        *_candidates("Otsu, connected", _connected, **sides),
        *_candidates("Otsu + watershed", _watershed, min_distance=(2, 3, 4, 6), min_area=(0, 20), **sides),
        *_candidates("local threshold + watershed", _local, size=(51, 101), offset=(2, 5, 10), **sides),
    ]


def _of_pixels(part):
    found = [_most_frequent(part), _forest(part)]
    if len(part.reader.label_names) == 2:
        sides = {"flipped": (False, True)}
        for name, function, grid in (
            ("Otsu", classical.otsu, {}),
            ("triangle", classical.triangle, {}),
            ("local threshold", classical.adaptive, {"size": (25, 51, 101), "offset": (-10, -5, 0, 5, 10)}),
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
    return classical.remove_small(classical.watershed(image, min_distance=min_distance, dark=dark), min_area)


def _local(image, size, offset, dark):
    bright = classical.adaptive(image, size, offset if dark else -offset)
    return classical.split_touching(classical.smooth(bright == int(not dark)))


def _most_frequent(part):
    classes = len(part.reader.label_names)
    counts = sum(np.bincount(truth.ravel(), minlength=256)[:classes] for truth in part.truths)
    top = int(counts.argmax())
    return (
        "most frequent class",
        {"class": part.reader.label_names[top]},
        lambda image: np.full(image.shape[:2], top, np.uint8),
    )


def _forest(part):
    rng = np.random.default_rng(0)
    strokes = [_strokes(truth, rng) for truth in part.truths]
    forest = classical.PixelClassifier().fit(part.images, strokes)
    return "pixel classifier", {"strokes": f"{STROKES:.0%} of {len(strokes)} pictures"}, forest.predict


def _strokes(truth, rng):
    """A share of the pixels, and one of each class at least."""
    drawn = rng.random(truth.shape) < STROKES
    for value in np.unique(truth):
        drawn.flat[rng.choice(np.flatnonzero(truth == value))] = True
    return np.where(drawn, truth, 255).astype(np.uint8)


def _words(options):
    return ", ".join(f"{name}={value}" for name, value in options.items())
