"""Where one class ends and the next begins: offsets of the logits by which a score is better than by the largest logit.

The largest logit makes the most pixels right. A mean over classes counts the rare ones as much as the others, and so is
often better off if a class is chosen a little earlier or later; of one sigmoid channel, if its threshold is not 0.5.
"""

import math
from dataclasses import asdict, dataclass

import keras
import numpy as np
from keras import layers

from tfseg import checks
from tfseg.inference.predictor import predict_logits
from tfseg.ops import count_id_pairs

GRID = np.arange(-48, 49) / 16  # of offsets that are tried; float32 holds them exactly
ROUNDS = 4  # over the classes
SCORES = {
    "mean_iou": lambda hits, truth, found: hits / (truth + found - hits),
    "mean_dice": lambda hits, truth, found: 2 * hits / (truth + found),
}


@dataclass(frozen=True)
class Tuning:
    """Offsets that were found, and what they are worth.

    Attributes:
        score: name of the score that was made large.
        before: the score without offsets.
        after: the score by offsets that were found each time on the other images: what to expect of new ones.
        offsets: one a channel of the logits, found on all images, for `with_offsets`.
    """

    score: str
    before: float
    after: float
    offsets: tuple


def tune_offsets(
    model,
    reader,
    score="mean_iou",
    resize=None,
    window=None,
    pixels=2**20,
    folds=5,
    track=lambda items, total: items,
):
    """Find offsets of a model's logits by which a score on a dataset is better.

    One class' offset after the other is set to the best of those from -3 to 3, as long as the score rises. This is the
    decision rule of "logit adjustment" (arXiv:2007.07314), fitted to the score instead of the classes' shares.

    Args:
        model: a model of `tfseg.models`.
        reader: samples the model was not trained on, two at least.
        score: "mean_iou" or "mean_dice", of the pixels of all images together.
        resize, window: how the model sees an image, see `predict_logits`; None for as it is.
        pixels: how many are looked at in all, the same share of each image. Each takes 20 bytes a class; 2**20 of 11
            classes take half a minute after the predictions.
        folds: parts of neighboring images, by which `Tuning.after` is found; at most one an image.
        track: wraps the iteration to show progress; called with the images' numbers and their count.

    Returns:
        `Tuning`. Where `after` is not above `before`, the model is better left as it is.

    Raises:
        ValueError: the reader has no masks or a single image, nearly all pixels are ignored, or the model
            gives several outputs or logits that are not finite.
    """
    measure = SCORES[checks.one_of("tune_offsets", "score", score, tuple(SCORES))]
    share = checks.positive_int("tune_offsets", "pixels", pixels) / max(
        reader.sizes.prod(1).sum(), 1
    )
    _require_one_output("tune_offsets", model)
    folds = min(checks.positive_int("tune_offsets", "folds", folds), len(reader))
    if folds < 2:
        raise ValueError(
            f"tune_offsets: folds={folds} of {len(reader)} images came. At least two images, and two folds, are "
            "needed to see what the offsets are worth on images they were not fitted to."
        )
    if "mask" not in reader.fields:
        raise ValueError(
            f"tune_offsets: the reader gives {', '.join(reader.fields)}, but no mask to tune by."
        )
    logits, truth, pictures = _sample(model, reader, share, resize, window, track)
    fold = pictures * folds // len(reader)
    if len(np.unique(fold)) < 2:
        raise ValueError(
            f"tune_offsets: of {folds} parts fewer than two hold pixels that are not ignored. Check the masks: "
            "`tfseg doctor` shows them."
        )
    offsets = _fit(logits, truth, measure)
    if model.output_shape[-1] == 1:
        offsets = offsets[1:] - offsets[:1]
    return Tuning(
        score,
        before=_mean(_matrix(logits, truth), measure),
        after=_mean(_held_out(logits, truth, fold, measure), measure),
        offsets=tuple(offsets.tolist()),
    )


def tune_run(run, reader, score="mean_iou", window=None, track=lambda items, total: items):
    """Fit the decision of a run's best model to a score; the run keeps it if that holds on other images.

    Args:
        run: a `tfseg.training.Run`.
        reader, score, window, track: see `tune_offsets`.

    Returns:
        str: what came of it.
    """
    model = run.model(tuned=False)
    tuning = tune_offsets(model, reader, score, window=window, track=track)
    found = (
        f"{score}: {tuning.before:.4f} before, {tuning.after:.4f} on images it was not fitted to."
    )
    if tuning.after <= tuning.before:
        run.forget_tuning()
        return f"{found} That is worth nothing: the largest logit decides."
    run.keep_tuned(with_offsets(model, tuning.offsets), asdict(tuning))
    limit = (
        " Offsets at the limit of what is tried tell of too short a training."
        if _at_limit(tuning)
        else ""
    )
    return f"{found} The run decides so from now on. Figures on these images are of those it was fitted to.{limit}"


def _at_limit(tuning):
    return max(map(abs, tuning.offsets)) >= GRID.max()


def with_offsets(model, offsets):
    """Return a model that adds offsets to the logits of another, whose layers it shares.

    Args:
        model: a model of `tfseg.models`.
        offsets: one a channel, such as those of `tune_offsets`.

    Returns:
        keras.Model to predict with and to export; it is not compiled.

    Raises:
        ValueError: their number is not that of the channels, one is not finite, or the model has several outputs.
    """
    _require_one_output("with_offsets", model)
    if len(offsets) != model.output_shape[-1]:
        raise ValueError(
            f"with_offsets: {len(offsets)} offsets came for {model.output_shape[-1]} channels of logits."
        )
    again = sum(layer.name.startswith("offsets") for layer in model.layers)
    if not np.isfinite(offsets).all():
        raise ValueError(f"with_offsets: offsets={tuple(offsets)} are not all finite.")
    shift = layers.Rescaling(
        1.0, [float(x) for x in offsets], dtype="float32", name=f"offsets{again or ''}"
    )
    return keras.Model(model.input, shift(model.output), name=model.name)


def _require_one_output(owner, model):
    if len(model.outputs) != 1:
        raise ValueError(
            f"{owner}: the model {model.name!r} has {len(model.outputs)} outputs, expected logits alone. Pass "
            "keras.Model(model.input, model.outputs[0])."
        )


def _sample(model, reader, share, resize, window, track):
    """Return logits (N, C), C >= 2, classes (N,) and numbers of the image (N,) of a share of all labeled pixels."""
    parts = []
    for index in track(range(len(reader)), len(reader)):
        sample = reader[index]
        logits, truth = _draw(
            predict_logits(model, sample["image"], resize, window), sample["mask"], share, index
        )
        parts.append((logits, truth, np.full(len(truth), index)))
    return map(np.concatenate, zip(*parts, strict=True))


def _draw(logits, truth, share, seed):
    if not np.isfinite(logits).all():
        raise ValueError(
            "tune_offsets: the model gives logits that are not finite. Look at its training, or its images."
        )
    logits, truth = logits.reshape(-1, logits.shape[-1]), truth.ravel()
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], -1)
    labeled = np.flatnonzero(truth < logits.shape[-1])
    chosen = np.random.default_rng(seed).permutation(labeled)[: math.ceil(share * len(labeled))]
    return logits[chosen], truth[chosen].astype(np.int64)


def _held_out(logits, truth, fold, measure):
    """Return the confusion matrix of each fold by the offsets that the others gave, added up."""
    matrix = 0
    for number in np.unique(fold):
        here = fold == number
        offsets = _fit(logits[~here], truth[~here], measure)
        matrix += _matrix(logits[here] + offsets, truth[here])
    return matrix


def _fit(logits, truth, measure):
    """Return offsets (C,) float32 of the logits (N, C) by which the mean of a measure is large."""
    classes = logits.shape[1]
    offsets, best = np.zeros(classes, np.float32), _mean(_matrix(logits, truth), measure)
    for _ in range(ROUNDS):
        before = best
        for number in range(classes):
            scores = _means(_matrices(logits, truth, offsets, number), measure)
            # of equals the smallest
            at = min(np.flatnonzero(scores >= scores.max()), key=lambda i: abs(GRID[i]))
            if scores[at] > best:
                best, offsets[number] = scores[at], GRID[at]
        if best == before:
            break
    return offsets


def _matrices(logits, truth, offsets, number):
    """Return the confusion matrices (G, C, C), true classes down, if one class' offset is each of the grid's."""
    others = logits + offsets
    others[:, number] = -np.inf
    rival, classes = others.argmax(1), logits.shape[1]
    needed = np.take_along_axis(others, rival[:, None], 1)[:, 0] - logits[:, number]
    # how many of the grid's offsets are too small for the class to win; a tie is the lower class', as argmax has it
    lost = np.where(
        rival < number, np.searchsorted(GRID, needed, "right"), np.searchsorted(GRID, needed)
    )
    cells = (lost * classes + truth) * classes + rival
    losing = np.bincount(cells, minlength=(len(GRID) + 1) * classes**2).reshape(
        -1, classes, classes
    )
    losing = losing[::-1].cumsum(0)[
        ::-1
    ]  # (g, true, rival): pixels that take more than grid's g - 1
    matrices = losing[1:].copy()
    matrices[:, :, number] += losing[0].sum(-1) - losing[1:].sum(-1)
    return matrices


def _matrix(logits, truth):
    return count_id_pairs(truth, logits.argmax(1), logits.shape[1])


def _mean(matrix, measure):
    return float(_means(matrix[None], measure)[0])


def _means(matrices, measure):
    """(G, C, C) -> (G,): the mean over the classes that are there, or found."""
    hits, truth, found = np.einsum("gii->gi", matrices), matrices.sum(2), matrices.sum(1)
    there = truth + found > 0
    values = measure(hits, truth, np.where(there, found, 1))
    return np.where(there, values, 0).sum(1) / there.sum(1)
