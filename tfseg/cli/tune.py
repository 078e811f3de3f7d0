"""`tfseg tune`."""

from enum import StrEnum
from typing import Annotated

import typer

from tfseg.cli.console import quiet_start, say, say_commands, track, warnings_said
from tfseg.cli.detector_runs import open_labeled_objects, refuse_foreign, report_detector_run
from tfseg.cli.instance_runs import report_instance_run
from tfseg.cli.options import (
    EVALUATION_BATCH_SIZE,
    EvaluationBatchSize,
    LabeledImages,
    LabeledMasks,
    LabeledObjects,
    OtherIgnoreValue,
    OtherWindow,
    RunFolder,
)
from tfseg.cli.run_data import open_labeled, open_run, report_run, window_of


class Score(StrEnum):
    """The choices of --score."""

    mean_iou = "mean_iou"
    mean_dice = "mean_dice"
    ap = "ap"
    ap50 = "ap50"
    pq = "pq"


CLASS_SCORES, INSTANCE_SCORES = ("mean_iou", "mean_dice"), ("ap", "ap50", "pq")


def tune(
    run: RunFolder,
    score: Annotated[
        Score | None,
        typer.Option(
            help="Metric to maximize: mean_iou (default) or mean_dice; for instances ap (default), "
            "ap50 or pq.",
            show_default=False,
        ),
    ] = None,
    images: LabeledImages = None,
    masks: LabeledMasks = None,
    labels: LabeledObjects = None,
    ignore_value: OtherIgnoreValue = None,
    batch_size: EvaluationBatchSize = None,
    window: OtherWindow = None,
):
    """Tune how a run decides, without training, to maximize a metric on validation images.

    For classes of pixels: logit offsets per class, or the threshold of a single class. For runs of
    --task instances: the probability or score that an object needs, and with --head star the
    overlap above which the weaker of two objects is dropped. predict, evaluate and export then use
    the tuned model.

    Example:  [cyan]tfseg tune --run runs/leaves --score mean_dice[/]

    Example:  [cyan]tfseg tune --run runs/nuclei[/]
    """
    with quiet_start():
        from tfseg import inference, training
    trained = open_run(run)
    if isinstance(trained, training.FoldRuns):
        raise ValueError(
            f"tune: '{run}' is a training in folds, whose mean is not tuned. Pass one of its folds "
            f"to tune it alone: --run {run / 'fold_1'}"
        )
    config = trained.config
    if config.task == "detect":
        raise ValueError(
            f"tune: '{run}' is a run of --task detect, which has nothing to tune: its score is "
            "COCO's AP, over all score thresholds. Use --score-threshold of evaluate and predict."
        )
    _refuse_foreign(trained, score, masks, labels, ignore_value, batch_size, window)
    if config.has_objects:
        reader = open_labeled_objects(trained, images, labels)
    else:
        reader = open_labeled(trained, images, masks, ignore_value)
    if not config.is_detector:
        window = window_of(trained.data, reader.sizes, window)
    name = None if score is None else score.value
    with warnings_said():
        tuning = inference.tune_run(trained, reader, name, window, track("predicting images"))
    say(instance_outcome(tuning) if config.has_objects else outcome(tuning))
    out = run if images is None else run / "evaluation"
    if config.is_boxless:
        report_instance_run(trained, reader, out, window=window)
    elif config.is_detector:
        report_detector_run(trained, reader, out)
    else:
        report_run(trained, reader, out, batch_size or EVALUATION_BATCH_SIZE, window)
    say_commands(("tfseg", "predict", "IMAGES", "--run", run), ("tfseg", "export", "--run", run))


def _refuse_foreign(run, score, masks, labels, ignore_value, batch_size, window):
    """Refuse options that have no meaning for the task of a run."""
    options = {
        "--masks": masks,
        "--labels": labels,
        "--ignore-value": ignore_value,
        "--batch-size": batch_size,
        "--window": window,
    }
    refuse_foreign(run, options)
    scores = INSTANCE_SCORES if run.config.has_objects else CLASS_SCORES
    if score is not None and score not in scores:
        raise typer.BadParameter(
            f"--score {score.value}: no meaning for '{run.folder}', a run of --task "
            f"{run.config.task}. Choose from {', '.join(scores)}."
        )


def outcome(tuning) -> str:
    """Word what `tune_run` returned."""
    text = _scores(tuning)
    if not tuning.improves:
        return f"{text} No improvement on held-out images; the run keeps plain argmax."
    text += (
        " Saved to the run. Scores on these images are now optimistic, since the offsets were "
        "fitted on them."
    )
    if tuning.at_limit:
        text += " An offset is at the limit of the search: the model may need more training."
    return text


def instance_outcome(tuning) -> str:
    """Word what `tune_run` returned for a run of instances."""
    text = _scores(tuning)
    if not tuning.improves:
        return f"{text} No improvement on held-out images; the run keeps the default thresholds."
    thresholds = f"object threshold {tuning.object_threshold:g}"
    if tuning.nms_overlap is not None:
        thresholds += f", NMS overlap {tuning.nms_overlap:g}"
    return (
        f"{text} Saved to the run: {thresholds}. Scores on these images are now optimistic, since "
        "the thresholds were chosen on them."
    )


def _scores(tuning):
    return (
        f"{tuning.score}: {tuning.score_untuned:.4f} before tuning, {tuning.score_cv:.4f} after "
        "(cross-validated)."
    )
