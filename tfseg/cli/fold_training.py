"""Training in folds, `tfseg train --folds`, and its evaluation."""

import statistics

import typer

from tfseg.cli.console import console, plural, say, say_commands, track, warnings_said
from tfseg.cli.run_data import DRAWING, EVALUATION, window_of
from tfseg.cli.training_summary import begin_training, say_best, say_interrupted

LOADING = 1.5  # of the time of `--minutes`, the seconds that are kept to load the model of a fold


def train_in_folds(config, folds, plan, began):
    """Train all folds, and print what happens and the scores.

    Args:
        config: a `TrainConfig` with `folds`.
        folds: a `tfseg.training.FoldRuns`, or a `Run` in a folder that is empty.
        plan: the `TrainingPlan`; None if the training is resumed.
        began: when the minutes of the training did, by `time.monotonic`.
    """
    from tfseg import training
    from tfseg.training.trainer import task_of

    task_of(config)(config)  # raises if the weights of the encoder are missing
    folds = training.FoldRuns(folds.folder)
    try:
        with training.Progress(console) as progress:
            training.train_folds(
                config,
                callbacks=lambda number: [_describe(folds, number, plan), progress],
                track=track("checking images"),
                frame=training.TimeFrame(began, EVALUATION, DRAWING + LOADING * config.folds),
            )
    except KeyboardInterrupt:
        say_interrupted(folds)
        raise typer.Exit(130) from None
    report_folds_of(folds, folds.folder, config.val_batch_size or config.batch_size)
    say_commands(
        ("tfseg", "predict", "IMAGES", "--run", folds.folder),
        ("tfseg", "export", "--run", folds.folder),
    )


def _describe(folds, number, plan):
    """Return a callback that prints what the run of a fold found, and its best epoch."""
    import keras

    from tfseg.data.groups import group_keys, group_sizes

    run, config = folds.runs[number - 1], folds.config
    if number == 1 and config.groups is not None and run.can_start():
        say(f"{group_sizes(group_keys(list(folds.fold_of), config.groups))}.")
    say(f"Fold {number} of {config.folds}:")
    if config.minutes is not None and run.can_start():
        say(f"Timing some steps, to plan {config.minutes / config.folds:g} minutes.")
    return keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: begin_training(run, plan),
        on_train_end=lambda logs: say_best(run.history(), run.record),
    )


def report_folds_of(folds, out, batch_size, window=None):
    """Evaluate each fold on its images, write tables and images into `out`, and print the scores.

    Args:
        folds: a `tfseg.training.FoldRuns`.
        out: output folder.
        batch_size: number of images per batch.
        window: side of the sliding windows; None for the run's, or by size.
    """
    from tfseg import data, inference

    models, reader = folds.models(), folds.reader()
    with warnings_said():
        scores, of_folds = inference.report_folds(
            models,
            reader,
            folds.val_names,
            out,
            data.batch_for(reader.sizes, batch_size),
            track("evaluating"),
            window_of(folds.data, reader.sizes, window),
        )
    images = plural(len(reader), "image")
    console.print(
        scores.table(f"{folds.folder.name} on {images}, each by the model that has not seen it")
    )
    _say_folds(of_folds)
    say(
        f"Tables and images in {out}: evaluation.json, evaluation.csv, image_scores.csv, "
        "fold_scores.csv, samples.png, confusion.png."
    )


def _say_folds(evaluations):
    """Print the mean IoU of each fold, their mean and their standard deviation."""
    scores = [evaluation.means()["mean_iou"] for evaluation in evaluations]
    for number, (score, evaluation) in enumerate(zip(scores, evaluations, strict=True), 1):
        count = plural(len(evaluation.images.names), "image")
        say(f"Fold {number}: mean IoU {score:.4f} on {count}.")
    mean, std = statistics.fmean(scores), statistics.stdev(scores)
    say(f"Mean IoU over the folds: {mean:.4f} +- {std:.4f} (standard deviation).")
