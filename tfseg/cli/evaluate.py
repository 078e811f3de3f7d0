"""`tfseg evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import quiet_start
from tfseg.cli.detector_runs import open_labeled_objects, refuse_foreign, report_detector_run
from tfseg.cli.fold_training import report_folds_of
from tfseg.cli.instance_runs import report_instance_run
from tfseg.cli.options import (
    EVALUATION_BATCH_SIZE,
    EvaluationBatchSize,
    LabeledImages,
    LabeledMasks,
    LabeledObjects,
    MaxDetections,
    NmsIou,
    OtherIgnoreValue,
    OtherWindow,
    RunFolder,
    ScoreThreshold,
)
from tfseg.cli.run_data import open_labeled, open_run, report_run


def evaluate(
    run: RunFolder,
    images: LabeledImages = None,
    masks: LabeledMasks = None,
    labels: LabeledObjects = None,
    ignore_value: OtherIgnoreValue = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results; by default RUN, or RUN/evaluation with --images."
        ),
    ] = None,
    batch_size: EvaluationBatchSize = None,
    window: OtherWindow = None,
    score_threshold: ScoreThreshold = None,
    nms_iou: NmsIou = None,
    max_detections: MaxDetections = None,
):
    """Evaluate a trained run on its validation images or on other labeled images.

    Of a training in folds, each image is predicted by the model that has not seen it; on other
    images the mean of the models is evaluated.

    Example:  [cyan]tfseg evaluate --run runs/leaves --images test/photos --masks test/labels[/]

    Example:  [cyan]tfseg evaluate --run runs/cells --images test --labels test/boxes.json[/]
    """
    with quiet_start():
        from tfseg import training
    trained = open_run(run)
    thresholds = {
        "score_threshold": score_threshold,
        "nms_iou": nms_iou,
        "max_detections": max_detections,
    }
    refuse_foreign(
        trained,
        {
            "--masks": masks,
            "--ignore-value": ignore_value,
            "--batch-size": batch_size,
            "--window": window,
            "--labels": labels,
            **{f"--{name.replace('_', '-')}": value for name, value in thresholds.items()},
        },
    )
    if out is None:
        out = run if images is None else run / "evaluation"
    if isinstance(trained, training.FoldRuns) and images is None:
        report_folds_of(trained, out, batch_size or EVALUATION_BATCH_SIZE, window)
        return
    if not trained.config.has_objects:
        reader = open_labeled(trained, images, masks, ignore_value)
        report_run(trained, reader, out, batch_size or EVALUATION_BATCH_SIZE, window)
        return
    reader = open_labeled_objects(trained, images, labels)
    if trained.config.is_boxless:
        report_instance_run(trained, reader, out, score_threshold, window)
    else:
        report_detector_run(trained, reader, out, thresholds)
