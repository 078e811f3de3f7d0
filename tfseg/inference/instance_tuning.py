"""Choose the thresholds of instance models by the score that an evaluation prints."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfseg import checks
from tfseg.inference.instance_predictor import (
    finite_image,
    raw_predictions,
    require_flippable,
    require_instances,
)
from tfseg.inference.object_predictor import without_xla
from tfseg.metrics import InstanceMetrics, PanopticQuality
from tfseg.models import instance_settings, is_detector
from tfseg.models.instance_decoding import draw_stars, objects_of, star_objects, suppress
from tfseg.models.instance_thresholds import default_thresholds
from tfseg.models.reader_fit import predicted_stuff, require_fitting_model

THRESHOLDS = tuple(k / 20 for k in range(2, 19))  # 0.1 to 0.9
CENTER_THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
OVERLAPS = (0.3, 0.4, 0.5)
# Star heads: more objects than this, plus this many times as many as there are, are too many.
SOME, TIMES = 100, 4
INSTANCE_SCORES = ("ap", "ap50", "pq")


@dataclass(frozen=True)
class InstanceTuning:
    """Thresholds of an instance model and their effect on a score.

    Attributes:
        score: name of the score that was maximized.
        score_untuned: the score with the default thresholds.
        score_cv: the cross-validated score: each fold of images is scored with thresholds chosen on
            the other folds. It estimates the score on new images.
        object_threshold, nms_overlap: best thresholds on all images, for `predict_instances` and
            `tfseg.models.with_object_thresholds`; nms_overlap is None for models without.
    """

    score: str
    score_untuned: float
    score_cv: float
    object_threshold: float
    nms_overlap: float | None

    @property
    def improves(self) -> bool:
        """Whether the thresholds improve the score on images they were not chosen on."""
        return self.score_cv > self.score_untuned


def tune_instances(
    model,
    reader,
    score: str = "ap",
    tile: int | None = None,
    folds: int = 5,
    track: Callable = lambda items, total: items,
    flips: bool = False,
) -> InstanceTuning:
    """Find the thresholds that maximize a score on a dataset.

    All combinations of thresholds are scored as by `evaluate_instances`: exactly, over all images
    together, as the mean over the classes. Models with head="star" that have learned little find
    thousands of objects, whose suppression takes long. So thresholds are left out at which an image
    has more objects than 100 plus 4 times as many as are annotated. Of detectors only the score
    that an object needs is chosen; the IoU of their suppression stays.

    Args:
        model: see `predict_instances`.
        reader: two or more samples with "instances" and "classes" that the model was not trained
            on.
        score: "ap", the mean average precision over IoU 0.5 to 0.95; "ap50", that at an IoU of 0.5;
            or "pq", the panoptic quality, with that of the stuff if the model predicts stuff.
        tile: see `predict_instances`.
        folds: number of folds of consecutive images for cross-validation; at most one per image.
        track: wraps the iteration to show progress; called with the indices and their number.
        flips: see `predict_instances`.

    Returns:
        InstanceTuning. On equal scores, the thresholds closest to the defaults. Use them only if
        `InstanceTuning.improves`.

    Raises:
        ValueError: the model predicts no instances, or the reader has none, other classes, or a
            single image.

    Example:
        >>> import tfseg
        >>> model = tfseg.training.Run("runs/nuclei").model()  # doctest: +SKIP
        >>> _, val = tfseg.datasets.dsb2018("data/dsb2018_fluo")  # doctest: +SKIP
        >>> tuning = tfseg.inference.tune_instances(model, val)  # doctest: +SKIP
        >>> found = tfseg.inference.predict_instances(  # doctest: +SKIP
        ...     model, image, None, tuning.object_threshold, tuning.nms_overlap
        ... )
    """
    owner = "tune_instances"
    require_instances(owner, model)
    require_flippable(owner, model, flips)
    checks.one_of(owner, "score", score, INSTANCE_SCORES)
    folds = _check_reader(owner, model, reader, folds)
    if is_detector(model):
        model = without_xla(model)
    choices, default = _choices(model), default_thresholds(model)
    images_of = dict.fromkeys(choices, 0)
    metrics = [{choice: _metric(model, reader, score) for choice in choices} for _ in range(folds)]
    for index in track(range(len(reader)), len(reader)):
        labels = reader[index]
        fold = metrics[index * folds // len(reader)]
        for found, groups in _found(model, labels, tile, choices, default, flips):
            scored = _metric(model, reader, score).of_first_objects(labels, found, groups)
            for count, group in groups.items():
                for choice in group:
                    fold[choice].merge_state([scored[count]])
                    images_of[choice] += 1
    choices = [choice for choice in choices if images_of[choice] == len(reader)]

    def total(parts, choice):
        return _score_of(_metric(model, reader, score), [part[choice] for part in parts], score)

    def best_of(parts):
        scores = {choice: total(parts, choice) for choice in choices}
        return max(choices, key=lambda choice: (scores[choice], -_distance(choice, default)))

    others = [[part for part in metrics if part is not fold] for fold in metrics]
    held_out = [fold[best_of(rest)] for fold, rest in zip(metrics, others, strict=True)]
    score_cv = _score_of(_metric(model, reader, score), held_out, score)
    return InstanceTuning(score, total(metrics, default), score_cv, *best_of(metrics))


def _check_reader(owner, model, reader, folds):
    """Raise a ValueError if a reader cannot be tuned on; return the number of folds."""
    if not {"instances", "classes"} <= set(reader.fields):
        raise ValueError(
            f"{owner}: the reader provides {', '.join(reader.fields)}, but no instances and "
            "classes. Open the labels with `tfseg.data.open_objects(images, labels, "
            "task='instances')`."
        )
    require_fitting_model(owner, model, reader)
    folds = min(checks.positive_int(owner, "folds", folds), len(reader))
    if folds < 2:
        raise ValueError(
            f"{owner}: got folds={folds} and {len(reader)} images, expected at least two of each: "
            "thresholds are scored on images they were not chosen on."
        )
    return folds


def _metric(model, reader, score):
    """Return a metric without images whose result contains the score."""
    things, ignored = reader.object_label_ids, reader.ignore_index
    if score == "pq":
        return PanopticQuality(things, predicted_stuff(model, reader), ignored)
    return InstanceMetrics(things, ignored)


def _score_of(metric, parts, score):
    """Return the score of several metrics together; 0 if there are no objects at all.

    Args:
        metric: one without images, to add the others to.
        parts: list of metrics of some images each.
        score: name of the score.
    """
    metric.merge_state(parts)
    return float(np.nan_to_num(metric.result()[score]))


def _choices(model):
    """Return the (object threshold, NMS overlap) to compare, the default among them."""
    if is_detector(model):
        return [(value, None) for value in THRESHOLDS]
    if instance_settings(model).head == "star":
        return [(value, overlap) for overlap in OVERLAPS for value in THRESHOLDS]
    return [(value, None) for value in CENTER_THRESHOLDS]


def _distance(choice, default):
    overlaps = 0 if choice[1] is None else abs(choice[1] - default[1])
    return abs(choice[0] - default[0]) + overlaps


def _found(model, labels, tile, choices, default, flips):
    """Yield the objects of an image, and how many of them the choices keep.

    The model predicts the image once.

    Yields:
        dict of "instances", "classes" and, for centers, "mask"; {number of first objects: choices
        that keep these}. The default is among these, and other choices unless they find too many.
    """
    image = finite_image(model, labels["image"], "tune_instances")
    size = image.shape[:2]
    lowest = min(threshold for threshold, _ in choices)
    outputs = raw_predictions(model, image, tile, lowest, flips)
    head = None if is_detector(model) else instance_settings(model).head
    if head == "star":
        yield from _stars(outputs, size, choices, default, SOME + TIMES * len(labels["classes"]))
    elif head == "center":
        # Pixels of a center below the threshold join other centers.
        for choice in choices:
            found = objects_of(model, outputs, size, *choice)
            yield found, {len(found["classes"]): [choice]}
    else:
        found = objects_of(model, outputs, size, lowest)
        yield found, _groups(found, choices)


def _stars(candidates, size, choices, default, most):
    """Do what `_found` does, from the candidates of a star head.

    Choices with more than `most` objects are left out, but not the default.
    """
    is_default_complete = False
    for overlap in dict.fromkeys(overlap for _, overlap in choices):
        kept = suppress(candidates, overlap, most)
        # Below this threshold there may be more objects.
        limit = kept["scores"][-1] if len(kept["scores"]) == most else 0
        complete = [choice for choice in choices if choice[1] == overlap and choice[0] >= limit]
        found = draw_stars(kept, size)
        yield found, _groups(found, complete)
        is_default_complete |= default in complete
    if not is_default_complete:
        likely = candidates["scores"] > default[0]
        found = star_objects({name: v[likely] for name, v in candidates.items()}, size, default[1])
        yield found, {len(found["classes"]): [default]}


def _groups(found, choices):
    """Return {number of first objects: choices that keep these}.

    A higher threshold removes whole objects: suppression goes by descending score, and an object is
    drawn behind those of higher scores.
    """
    groups = {}
    for choice in choices:
        count = int(np.count_nonzero(found["scores"] > choice[0]))
        groups.setdefault(count, []).append(choice)
    return groups
