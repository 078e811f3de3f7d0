"""`tfseg evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import quiet_start
from tfseg.cli.options import (
    EvaluationBatchSize,
    LabeledImages,
    LabeledMasks,
    OtherIgnoreValue,
    OtherWindow,
    RunFolder,
)
from tfseg.cli.run_data import open_labeled, report_run


def evaluate(
    run: RunFolder,
    images: LabeledImages = None,
    masks: LabeledMasks = None,
    ignore_value: OtherIgnoreValue = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results; by default RUN, or RUN/evaluation with --images."
        ),
    ] = None,
    batch_size: EvaluationBatchSize = 8,
    window: OtherWindow = None,
):
    """Evaluate a trained run on its validation images or on other labeled images.

    Example:  [cyan]tfseg evaluate --run runs/leaves --images test/photos --masks test/labels[/]
    """
    with quiet_start():
        from tfseg import training
    trained = training.Run(run)
    reader = open_labeled(trained, images, masks, ignore_value)
    if out is None:
        out = run if images is None else run / "evaluation"
    report_run(trained, reader, out, batch_size, window)
