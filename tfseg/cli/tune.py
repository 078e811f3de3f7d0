"""`tfseg tune`."""

from enum import StrEnum
from typing import Annotated

import typer

from tfseg.cli.console import quiet_start, say, say_commands, track
from tfseg.cli.options import (
    BatchSize,
    LabeledImages,
    LabeledMasks,
    OtherIgnore,
    OtherWindow,
    RunFolder,
)
from tfseg.cli.use import labeled, report_run, window_of


class Score(StrEnum):
    """The choices of --score."""

    mean_iou = "mean_iou"
    mean_dice = "mean_dice"


def tune(
    run: RunFolder,
    score: Annotated[Score, typer.Option(help="What shall be large.")] = Score.mean_iou,
    images: LabeledImages = None,
    masks: LabeledMasks = None,
    ignore: OtherIgnore = None,
    batch_size: BatchSize = 8,
    window: OtherWindow = None,
):
    """Fit the decision between the classes, or the threshold of a single one, to a score: from then on the run has it.

    Rare classes are then chosen a little earlier or later than by the largest logit. Nothing is trained.

    Example:  [cyan]tfseg tune --run runs/leaves --score mean_dice[/]
    """
    with quiet_start():
        from tfseg import inference, training
    trained = training.Run(run)
    reader = labeled(trained, images, masks, ignore)
    window = window_of(trained.settings(), reader.sizes, window)
    say(inference.tune_run(trained, reader, score.value, window, track("looking at images")))
    report_run(trained, reader, run if images is None else run / "evaluation", batch_size, window)
    say_commands(("tfseg", "predict", "IMAGES", "--run", run), ("tfseg", "export", "--run", run))
