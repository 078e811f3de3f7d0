"""`tfseg tune`."""

from enum import StrEnum
from typing import Annotated

import typer

from tfseg.cli.console import quiet_start, say, say_commands, track
from tfseg.cli.options import (
    EVALUATION_BATCH_SIZE,
    EvaluationBatchSize,
    LabeledImages,
    LabeledMasks,
    OtherIgnoreValue,
    OtherWindow,
    RunFolder,
)
from tfseg.cli.run_data import open_labeled, report_run, window_of


class Score(StrEnum):
    """The choices of --score."""

    mean_iou = "mean_iou"
    mean_dice = "mean_dice"


def tune(
    run: RunFolder,
    score: Annotated[Score, typer.Option(help="Metric to maximize.")] = Score.mean_iou,
    images: LabeledImages = None,
    masks: LabeledMasks = None,
    ignore_value: OtherIgnoreValue = None,
    batch_size: EvaluationBatchSize = None,
    window: OtherWindow = None,
):
    """Tune per-class logit offsets (or the threshold of a single-class model) to maximize a metric.

    predict, evaluate and export then use the tuned model. The network itself is not trained.

    Example:  [cyan]tfseg tune --run runs/leaves --score mean_dice[/]
    """
    with quiet_start():
        from tfseg import inference, training
    trained = training.Run(run)
    if trained.config.has_objects:
        kind = "a detector" if trained.config.is_detector else "an instance model"
        raise ValueError(
            f"tune: '{run}' is a run of {kind}, but tune fits the decision between the classes of "
            "pixels. Use --score-threshold of evaluate and predict for objects."
        )
    reader = open_labeled(trained, images, masks, ignore_value)
    window = window_of(trained.data, reader.sizes, window)
    tuning = inference.tune_run(trained, reader, score.value, window, track("predicting images"))
    say(outcome(tuning))
    out = run if images is None else run / "evaluation"
    report_run(trained, reader, out, batch_size or EVALUATION_BATCH_SIZE, window)
    say_commands(("tfseg", "predict", "IMAGES", "--run", run), ("tfseg", "export", "--run", run))


def outcome(tuning) -> str:
    """Word what `tune_run` returned."""
    text = (
        f"{tuning.score}: {tuning.score_untuned:.4f} before tuning, {tuning.score_cv:.4f} after "
        "(cross-validated)."
    )
    if not tuning.improves:
        return f"{text} No improvement on held-out images; the run keeps plain argmax."
    text += (
        " Saved to the run. Scores on these images are now optimistic, since the offsets were "
        "fitted on them."
    )
    if tuning.at_limit:
        text += " An offset is at the limit of the search: the model may need more training."
    return text
