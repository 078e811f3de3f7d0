"""`tfseg tune`."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from tfseg.cli.console import quiet_start, say, say_commands, track
from tfseg.cli.options import BatchSize, LabelledImages, LabelledMasks, RunFolder
from tfseg.cli.use import labelled, report_run


class Score(StrEnum):
    """The choices of --score."""

    mean_iou = "mean_iou"
    mean_dice = "mean_dice"


def tune(
    run: RunFolder,
    score: Annotated[Score, typer.Option(help="What shall be large.")] = Score.mean_iou,
    images: LabelledImages = None,
    masks: LabelledMasks = None,
    batch_size: BatchSize = 8,
):
    """Fit the decision between the classes, or the threshold of a single one, to a score: from then on the run has it.

    Rare classes are then chosen a little earlier or later than by the largest logit. Nothing is trained.

    Example:  [cyan]tfseg tune --run runs/leaves --score mean_dice[/]
    """
    with quiet_start():
        from tfseg import inference, training
    trained = training.Run(run)
    reader = labelled(trained, images, masks)
    model = trained.model(tuned=False)
    tuning = inference.tune_offsets(model, reader, score.value, track=track("looking at pictures"))
    say(f"{score.value}: {tuning.before:.4f} before, {tuning.after:.4f} on pictures it was not fitted to.")
    if tuning.after > tuning.before:
        trained.keep_tuned(inference.with_offsets(model, tuning.offsets), asdict(tuning))
        say("The run decides so from now on. The table is of the pictures that it was fitted to.")
    else:
        trained.forget_tuning()
        say("That is worth nothing: the largest logit decides.")
    report_run(trained, reader, run, batch_size)
    say_commands(("tfseg", "predict", "PICTURES", "--run", run), ("tfseg", "export", "--run", run))
