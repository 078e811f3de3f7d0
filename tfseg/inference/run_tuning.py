"""Tune the model of a run, which keeps what improves it."""

from collections.abc import Callable
from dataclasses import asdict

from tfseg.inference.instance_tuning import InstanceTuning, tune_instances
from tfseg.inference.tuning import Tuning, tune_offsets, with_offsets
from tfseg.models import is_detector, is_instance_model, with_object_thresholds


def tune_run(
    run,
    reader,
    score: str | None = None,
    window: int | tuple[int, int] | None = None,
    track: Callable = lambda items, total: items,
) -> Tuning | InstanceTuning:
    """Tune a run's best model; the run keeps the result if it improves the score.

    For a model of classes the logit offsets are tuned, for a model of `tfseg.models.instances` its
    thresholds, for a detector with masks the score that an object needs. If they do not improve the
    score, the run goes back to the model as it was trained.

    Args:
        run: a `tfseg.training.Run`.
        reader: see `tune_offsets` or `tune_instances`.
        score: see `tune_offsets` or `tune_instances`; None for "mean_iou" or "ap".
        window: side of the sliding windows, or for instances of the tiles, of larger images.
        track: see `tune_offsets`.

    Returns:
        Tuning or InstanceTuning. The run keeps it if `improves` is True.

    Raises:
        ValueError: see `tune_offsets` and `tune_instances`.
    """
    model = run.model(tuned=False)
    if is_instance_model(model) or is_detector(model):
        tuning = tune_instances(model, reader, score or "ap", window, track=track)
        thresholds = tuning.object_threshold, tuning.nms_overlap
        tuned = with_object_thresholds(model, *thresholds)
    else:
        tuning = tune_offsets(model, reader, score or "mean_iou", window=window, track=track)
        tuned = with_offsets(model, tuning.offsets)
    if tuning.improves:
        run.keep_tuned(tuned, asdict(tuning))
    else:
        run.forget_tuning()
    return tuning
