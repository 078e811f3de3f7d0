"""Tune logit offsets so that a score improves over plain argmax.

Argmax maximizes pixel accuracy. A mean over classes counts rare classes as much as frequent ones,
so it often improves if rare classes get a small logit bonus. For a single sigmoid channel an offset
is the same as a threshold other than 0.5.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from tfseg import checks
from tfseg.data import Resize
from tfseg.inference.ground_truth import labeled_pixels
from tfseg.inference.predictor import logits_of
from tfseg.ops import count_id_pairs

OFFSETS = np.arange(-48, 49) / 16  # candidates from -3 to 3, exact in float32
MAX_ROUNDS = 4  # over all classes


def _iou(tp, true, predicted):
    return tp / (true + predicted - tp)


def _dice(tp, true, predicted):
    return 2 * tp / (true + predicted)


SCORES = {"mean_iou": _iou, "mean_dice": _dice}


@dataclass(frozen=True)
class Tuning:
    """Logit offsets and their effect on a score.

    Attributes:
        score: name of the score that was maximized.
        score_untuned: the score without offsets.
        score_cv: the cross-validated score: each fold of images is scored with offsets fitted on
            the other folds. It estimates the score on new images.
        offsets: one offset per logit channel, fitted on all images; for `with_offsets`.
    """

    score: str
    score_untuned: float
    score_cv: float
    offsets: tuple

    @property
    def improves(self) -> bool:
        """Whether the offsets improve the score on images they were not fitted on."""
        return self.score_cv > self.score_untuned

    @property
    def at_limit(self) -> bool:
        """Whether an offset is at the limit of the search, typical of too short a training."""
        return bool(np.abs(self.offsets).max() >= OFFSETS.max())


def tune_offsets(
    model,
    reader,
    score: str = "mean_iou",
    resize: Resize | None = None,
    window: int | tuple[int, int] | None = None,
    pixels: int = 2**20,
    folds: int = 5,
    track: Callable = lambda items, total: items,
) -> Tuning:
    """Find logit offsets that maximize a score on a dataset.

    Coordinate ascent: one class after the other gets the best offset from -3 to 3, until the score
    stops rising. The decision rule is that of logit adjustment (arXiv:2007.07314), fitted to the
    score instead of the class frequencies.

    Args:
        model: a model of `tfseg.models`.
        reader: two or more samples with masks that the model was not trained on.
        score: "mean_iou" or "mean_dice", over the pixels of all images together.
        resize, window: see `predict_logits`.
        pixels: total number of pixels to use, the same fraction of each image. Each takes 20 bytes
            per class; 2**20 pixels of 11 classes take half a minute after the predictions.
        folds: number of folds of consecutive images for cross-validation; at most one per image.
        track: wraps the iteration to show progress; called with the indices and their number.

    Returns:
        Tuning. Use the offsets only if `Tuning.improves`.

    Raises:
        ValueError: the reader has no masks or a single image, nearly all pixels are ignored, or
            the model has several outputs or logits that are not finite.

    Example:
        >>> import keras, numpy as np, tfseg
        >>> inputs = keras.Input((None, None, 2))
        >>> model = keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs))  # logits = image
        >>> logits = np.array([[[0, 1.0], [0, -0.5], [0, -3.0], [0, -3.0]]], "float32")
        >>> mask = np.array([[1, 1, 0, 0]])
        >>> reader = tfseg.data.Arrays([logits] * 2, [mask] * 2, ["background", "leaf"])
        >>> tuning = tfseg.inference.tune_offsets(model, reader, "mean_dice")
        >>> round(tuning.score_untuned, 3), tuning.score_cv, tuning.offsets
        (0.733, 1.0, (-0.5625, 0.0))
    """
    class_score = SCORES[checks.one_of("tune_offsets", "score", score, tuple(SCORES))]
    checks.positive_int("tune_offsets", "pixels", pixels)
    _require_one_output("tune_offsets", model)
    folds = _check_folds(reader, folds)
    fraction = pixels / max(reader.sizes.prod(1).sum(), 1)
    logits, labels, image_ids = _sample_pixels(model, reader, fraction, resize, window, track)
    fold_ids = image_ids * folds // len(reader)
    if len(np.unique(fold_ids)) < 2:
        raise ValueError(
            f"tune_offsets: fewer than two of {folds} folds contain pixels that are not ignored. "
            "Check the masks with `tfseg doctor`."
        )
    offsets = _fit_offsets(logits, labels, class_score)
    if model.output_shape[-1] == 1:  # relative to the logit 0 of the background
        offsets = offsets[1:] - offsets[:1]
    return Tuning(
        score,
        score_untuned=_mean_score(_confusion_matrix(logits, labels), class_score),
        score_cv=_mean_score(_cross_validate(logits, labels, fold_ids, class_score), class_score),
        offsets=tuple(offsets.tolist()),
    )


def with_offsets(model, offsets) -> keras.Model:
    """Return a model that adds offsets to the logits of a model and shares its layers.

    Args:
        model: a model of `tfseg.models`.
        offsets: one offset per logit channel, such as `Tuning.offsets`.

    Returns:
        keras.Model for prediction and export; not compiled.

    Raises:
        ValueError: wrong number of offsets, an offset is not finite, or the model has several
            outputs.

    Example:
        >>> import keras, numpy as np, tfseg
        >>> inputs = keras.Input((None, None, 2))
        >>> model = keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs))  # logits = image
        >>> tuned = tfseg.inference.with_offsets(model, (0.0, 0.5))
        >>> tfseg.inference.predict_logits(tuned, np.zeros((1, 1, 2))).tolist()
        [[[0.0, 0.5]]]
    """
    _require_one_output("with_offsets", model)
    if len(offsets) != model.output_shape[-1]:
        raise ValueError(
            f"with_offsets: got {len(offsets)} offsets for {model.output_shape[-1]} logit "
            "channels, expected one per channel."
        )
    if not np.isfinite(offsets).all():
        raise ValueError(f"with_offsets: offsets={tuple(offsets)} must all be finite.")
    earlier = sum(layer.name.startswith("offsets") for layer in model.layers)
    name = f"offsets{earlier}" if earlier else "offsets"
    values = [float(offset) for offset in offsets]
    add_offsets = layers.Rescaling(1.0, values, dtype="float32", name=name)
    return keras.Model(model.input, add_offsets(model.output), name=model.name)


def _require_one_output(owner, model):
    if len(model.outputs) != 1:
        raise ValueError(
            f"{owner}: the model {model.name!r} has {len(model.outputs)} outputs, expected only "
            "logits. Pass keras.Model(model.input, model.outputs[0])."
        )


def _check_folds(reader, folds):
    folds = min(checks.positive_int("tune_offsets", "folds", folds), len(reader))
    if folds < 2:
        raise ValueError(
            f"tune_offsets: got folds={folds} and {len(reader)} images, expected at least two of "
            "each: offsets are scored on images they were not fitted on."
        )
    if "mask" not in reader.fields:
        raise ValueError(
            f"tune_offsets: the reader provides {', '.join(reader.fields)}, but no mask to tune "
            "with. Use a reader with masks."
        )
    return folds


def _sample_pixels(model, reader, fraction, resize, window, track):
    """Predict all images and draw a fraction of their labeled pixels.

    Returns:
        logits: (N, C) float32, C >= 2.
        labels: (N,) int64 class ids.
        image_ids: (N,) int indices of the images.
    """
    all_logits, all_labels, image_ids = [], [], []
    for index in track(range(len(reader)), len(reader)):
        sample = reader[index]
        owner = f"tune_offsets: {reader.name(index)}"
        logits = logits_of(model, sample["image"], resize, window, owner=owner)
        num_classes = max(2, logits.shape[-1])
        counted = labeled_pixels(owner, sample["mask"], num_classes, reader.ignore_index)
        logits, labels = _draw_pixels(logits, sample["mask"], counted, fraction, seed=index)
        all_logits.append(logits)
        all_labels.append(labels)
        image_ids.append(np.full(len(labels), index))
    return np.concatenate(all_logits), np.concatenate(all_labels), np.concatenate(image_ids)


def _draw_pixels(logits, mask, counted, fraction, seed):
    if not np.isfinite(logits).all():
        raise ValueError(
            "tune_offsets: the model outputs logits that are not finite. Check its training and "
            "the images."
        )
    logits, labels = logits.reshape(-1, logits.shape[-1]), mask.ravel()
    if logits.shape[-1] == 1:  # sigmoid(x) = softmax(0, x)[1]
        logits = np.concatenate([np.zeros_like(logits), logits], -1)
    labeled = np.flatnonzero(counted)
    count = math.ceil(fraction * len(labeled))
    chosen = np.random.default_rng(seed).permutation(labeled)[:count]
    return logits[chosen], labels[chosen].astype(np.int64)


def _cross_validate(logits, labels, fold_ids, class_score):
    """Return the sum of the folds' confusion matrices, with offsets fitted on the other folds."""
    matrix = 0
    for fold in np.unique(fold_ids):
        held_out = fold_ids == fold
        offsets = _fit_offsets(logits[~held_out], labels[~held_out], class_score)
        matrix += _confusion_matrix(logits[held_out] + offsets, labels[held_out])
    return matrix


def _fit_offsets(logits, labels, class_score):
    """Return (C,) float32 offsets of the (N, C) logits that maximize the mean score."""
    num_classes = logits.shape[1]
    offsets = np.zeros(num_classes, np.float32)
    best = _mean_score(_confusion_matrix(logits, labels), class_score)
    for _ in range(MAX_ROUNDS):
        best_before = best
        for class_id in range(num_classes):
            matrices = _matrices_by_offset(logits, labels, offsets, class_id)
            scores = _mean_scores(matrices, class_score)
            ties = np.flatnonzero(scores >= scores.max())
            chosen = ties[np.abs(OFFSETS[ties]).argmin()]  # on ties the offset closest to 0
            if scores[chosen] > best:
                best, offsets[class_id] = scores[chosen], OFFSETS[chosen]
        if best == best_before:
            break
    return offsets


def _matrices_by_offset(logits, labels, offsets, class_id):
    """Return the confusion matrices for each candidate offset of one class.

    The offset only decides between the class and its rival, the best of the other classes. If the
    rival leads by 0.5, the class loses with the candidates up to 0.5 and wins with the others. So
    count once, for each pixel, the number of losing candidates; cumulative sums of these counts
    give the matrices of all candidates.

    Example with the candidates (-1, 0, 1): a lead of 0.5 gives two losing candidates. The pixel is
    predicted as the rival in the matrices 0 and 1, and as the class in the matrix 2.

    Args:
        logits: (N, C) float32.
        labels: (N,) int64.
        offsets: (C,) float32 of the other classes.
        class_id: the class whose offset is varied.

    Returns:
        (G, C, C) int64 for the G candidates of `OFFSETS`; rows are true classes.
    """
    num_classes = logits.shape[1]
    others = logits + offsets
    others[:, class_id] = -np.inf
    rival = others.argmax(1)
    lead = np.take_along_axis(others, rival[:, None], 1)[:, 0] - logits[:, class_id]
    # on a tie the lower class wins, as with argmax
    losing = np.where(
        rival < class_id, np.searchsorted(OFFSETS, lead, "right"), np.searchsorted(OFFSETS, lead)
    )
    cells = (losing * num_classes + labels) * num_classes + rival
    counts = np.bincount(cells, minlength=(len(OFFSETS) + 1) * num_classes**2)
    counts = counts.reshape(-1, num_classes, num_classes)
    # (n, true class, rival): pixels with at least n losing candidates
    at_least = counts[::-1].cumsum(0)[::-1]
    matrices = at_least[1:].copy()
    # all other pixels are predicted as the class
    matrices[:, :, class_id] += at_least[0].sum(-1) - at_least[1:].sum(-1)
    return matrices


def _confusion_matrix(logits, labels):
    return count_id_pairs(labels, logits.argmax(1), logits.shape[1])


def _mean_score(matrix, class_score):
    return float(_mean_scores(matrix[None], class_score)[0])


def _mean_scores(matrices, class_score):
    """Return the mean over the classes that occur or are predicted: (G, C, C) -> (G,)."""
    tp = np.einsum("gii->gi", matrices)
    true, predicted = matrices.sum(2), matrices.sum(1)
    present = true + predicted > 0
    scores = class_score(tp, true, np.where(present, predicted, 1))  # avoids 0 / 0
    return np.where(present, scores, 0).sum(1) / present.sum(1)
