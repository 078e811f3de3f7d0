"""Scores without a network: is deep learning worth its cost on a dataset?"""

import itertools
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tfseg import classical
from tfseg.checks import IGNORE_INDEX
from tfseg.inference.comparison import ObjectScores, PixelScores, require_field
from tfseg.inference.predictor import predict

MAX_TUNING_IMAGES = 60  # of the training data, to choose options
SCRIBBLE_FRACTION = 0.01  # of the pixels, to train the pixel classifier


class Candidate(NamedTuple):
    """A method with options: `function` segments an image."""

    method: str
    options: dict
    function: Any


def baseline(train, val, network=None, track: Callable = lambda items, total: items) -> list[dict]:
    """Score the classical methods that suit a dataset, with options chosen on its training data.

    - Objects, if the readers provide "instances": thresholds and watersheds, chosen by AP@0.5.
    - Two classes of pixels: thresholds and ridges for bright or dark objects, chosen by mean IoU.
    - Any number of classes: a random forest over filter responses, trained on scribbles, and the
      most frequent class.

    Options are chosen on at most 60 evenly spaced training images; the scores are those on `val`.

    Args:
        train, val: readers of the same classes.
        network: None, or a model to score as well: a model of `tfseg.models`, or for objects a
            function from an image (H, W, C) to numbered objects (H, W).
        track: wraps the iteration to show progress; called with the candidates and their number.

    Returns:
        list of dicts, the best on `val` first. Keys: "method"; "options"; "mean_iou", "mean_dice"
        and "pixel_accuracy", or "ap50", "mean_ap" and "pq" for objects; "seconds" per image.
        `scores_table` prints it.

    Raises:
        ValueError: the readers have no masks or instances.
        ImportError: scikit-image or scikit-learn is not installed; the message names the extra
            `classical`.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf", "stem"])
        >>> rows = tfseg.inference.baseline(reader.subset([0, 1]), reader.subset([2, 3]))
        >>> [row["method"] for row in rows]
        ['pixel classifier', 'most frequent class']
    """
    objects = "instances" in train.fields
    require_field("baseline", train, objects)
    require_field("baseline", val, objects)
    images = min(MAX_TUNING_IMAGES, len(train))
    indices = np.unique(np.linspace(0, len(train) - 1, images).astype(int))
    samples = [train[int(index)] for index in indices]
    if objects:
        candidates = _object_candidates()
        score = partial(_score, ObjectScores, train, "instances")
    else:
        candidates = _pixel_candidates(samples, train.label_names)
        score = partial(_score, PixelScores, train, "mask")
    chosen = _best_candidates(candidates, samples, score, track)
    if network is not None:
        function = network if objects else partial(predict, network)
        function(val[0]["image"])  # compiles it, so that "seconds" does not include this
        chosen.append(Candidate("network", {}, function))
    rows = [
        {"method": method, "options": _options_text(options), **score(val, function)}
        for method, options, function in chosen
    ]
    main_score = "ap50" if objects else "mean_iou"
    return sorted(rows, key=lambda row: -row[main_score])


def _best_candidates(candidates, samples, score, track):
    """Return the candidate with the best score for each method, in the order of the methods."""
    counts = Counter(candidate.method for candidate in candidates)
    best, best_scores = {}, {}
    for candidate in track(candidates, len(candidates)):
        method, value = candidate.method, 0.0
        if counts[method] > 1:  # otherwise there is nothing to choose
            value = next(iter(score(samples, candidate.function).values()))
        if method not in best or value > best_scores[method]:
            best[method], best_scores[method] = candidate, value
    return list(best.values())


def _score(score_class, reader, field, samples, function):
    """Return the scores of a function of images on samples, and its seconds per image."""
    scores, seconds = score_class(reader), 0.0
    for index in range(len(samples)):
        sample = samples[index]
        start = time.perf_counter()
        prediction = function(sample["image"])
        seconds += (time.perf_counter() - start) / len(samples)
        scores.add(sample[field], prediction)
    return {**scores.result(), "seconds": seconds}


def _grid(method, function, **choices):
    """Return a candidate for every combination of options; `choices` lists the values of each."""
    combinations = itertools.product(*choices.values())
    options = [dict(zip(choices, values, strict=True)) for values in combinations]
    return [Candidate(method, chosen, partial(function, **chosen)) for chosen in options]


def _object_candidates():
    dark = (False, True)
    return [
        *_grid("Otsu, connected", _otsu_components, dark=dark),
        *_grid(
            "Otsu + watershed",
            _otsu_watershed,
            min_distance=(2, 3, 4, 6),
            min_pixels=(0, 20),
            dark=dark,
        ),
        *_grid(
            "local threshold + watershed",
            _local_watershed,
            size=(51, 101),
            offset=(2, 5, 10),
            dark=dark,
        ),
    ]


def _pixel_candidates(samples, names):
    candidates = [_most_frequent_class(samples, names), _pixel_classifier(samples)]
    if len(names) == 2:
        candidates += _two_class_candidates()
    return candidates


def _two_class_candidates():
    flipped = (False, True)
    local = {"size": (25, 51, 101), "offset": (-10, -5, 0, 5, 10)}
    sauvola = {"size": (15, 31, 61), "k": (0.05, 0.1, 0.2)}
    ridges = {"sigma": (1, 2, 3, 5), "dark": (False, True)}
    return [
        *_grid("Otsu", partial(_flip, classical.otsu), flipped=flipped),
        *_grid("triangle", partial(_flip, classical.triangle), flipped=flipped),
        *_grid("local threshold", partial(_flip, classical.adaptive), **local, flipped=flipped),
        *_grid("Sauvola", partial(_flip, classical.sauvola), **sauvola, flipped=flipped),
        *_grid("ridges + Otsu", partial(_flip, _otsu_ridges), **ridges, flipped=flipped),
    ]


def _flip(function, image, flipped, **options):
    """Segment an image; with `flipped`, exchange the classes 0 and 1."""
    return function(image, **options) ^ int(flipped)


def _otsu_ridges(image, sigma, dark):
    return classical.otsu(classical.ridges(image, (sigma,), dark))


def _otsu_components(image, dark):
    return classical.connected_components(classical.otsu(image) == int(not dark))


def _otsu_watershed(image, min_distance, min_pixels, dark):
    objects = classical.watershed(image, min_distance=min_distance, dark=dark)
    return classical.remove_small(objects, min_pixels)


def _local_watershed(image, size, offset, dark):
    bright = classical.adaptive(image, size, offset if dark else -offset)
    return classical.split_touching(classical.smooth(bright == int(not dark)))


def _most_frequent_class(samples, names):
    counts = np.zeros(len(names), int)
    for sample in samples:
        counts += np.bincount(sample["mask"].ravel(), minlength=256)[: len(names)]
    class_id = int(counts.argmax())

    def predict_constant(image):
        return np.full(image.shape[:2], class_id, np.uint8)

    return Candidate("most frequent class", {"class": names[class_id]}, predict_constant)


def _pixel_classifier(samples):
    rng = np.random.default_rng(0)
    images = [sample["image"] for sample in samples]
    scribbles = [_scribble(sample["mask"], rng) for sample in samples]
    classifier = classical.PixelClassifier().fit(images, scribbles)
    options = {"scribbles": f"{SCRIBBLE_FRACTION:.0%} of {len(scribbles)} images"}
    return Candidate("pixel classifier", options, classifier.predict)


def _scribble(mask, rng):
    """Return a mask in which only random pixels are labeled, at least one per class."""
    drawn = rng.random(mask.shape) < SCRIBBLE_FRACTION
    for value in np.unique(mask):
        drawn.flat[rng.choice(np.flatnonzero(mask == value))] = True
    return np.where(drawn, mask, IGNORE_INDEX).astype(np.uint8)


def _options_text(options):
    return ", ".join(f"{name}={value}" for name, value in options.items())
