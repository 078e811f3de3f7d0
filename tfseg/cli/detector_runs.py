"""What `evaluate` and `predict` do with runs of detectors, and which options belong to a run."""

from pathlib import Path

import typer

from tfseg.cli.console import console, plural, say, track, warnings_said
from tfseg.cli.run_data import warn_if_trained_on

# Options of `evaluate` and `predict` that belong to some kinds of runs only.
OPTIONS = {
    "semantic": ("--masks", "--ignore-value", "--batch-size", "--window", "--probabilities"),
    "detector": ("--labels", "--score-threshold", "--nms-iou", "--max-detections"),
    "instances": ("--labels", "--score-threshold", "--window"),
}


def open_labeled_objects(run, images, labels):
    """Return a checked reader of a run's validation images, or of other labeled images.

    Args:
        run: a `tfseg.training.Run` trained on objects.
        images, labels: other images and the labels of their objects, or None for the run's
            validation images.
    """
    from tfseg import data, doctor, training
    from tfseg.data.readers.open_objects import has_voc_list

    if (images is None) != (labels is None):
        raise typer.BadParameter(
            "--images and --labels go together. Without them the validation images are used."
        )
    record = run.record
    if images is not None:
        task, names = record.config.task, record.data.label_names or record.data.object_names
        split = "val" if has_voc_list(labels, task, "val") else "train"
        reader = data.open_objects(images, labels, task, names, split)
        warn_if_trained_on(reader, record, images)
    elif record.config.images is None:
        raise ValueError(
            f"'{run.folder}' was not trained on folders. Pass labeled images: --images and "
            "--labels."
        )
    else:
        try:
            reader = training.open_readers(record.config, record.data)[1]
        except FileNotFoundError as error:
            message = f"{error} Or pass other images: --images and --labels."
            raise FileNotFoundError(message) from error
    doctor.check(reader, track("checking images"), min_samples=1, min_classes=1)
    return reader


def report_detector_run(run, reader, out, thresholds=None):
    """Evaluate a run's best model, write tables and images into `out`, and print the table.

    Args:
        run: a `tfseg.training.Run` of a detector.
        reader: a reader of objects.
        out: folder of the results.
        thresholds: {argument of `tfseg.models.with_thresholds`: value or None}; None for those of
            the model. The score threshold is also that of the objects of label maps.
    """
    from tfseg import inference, models

    history = run.history() if Path(out) == run.folder else None
    thresholds = thresholds or {}
    model = models.with_thresholds(run.model(), **thresholds)
    if model.has_masks:
        model = models.with_object_thresholds(model, thresholds.get("score_threshold"))
    title = f"{run.folder.name} on {plural(len(reader), 'image')}"
    with warnings_said():
        scores = inference.report_objects(
            model, reader, out, history, track("evaluating"), run.config.monitor
        )
    console.print(scores.table(title))
    if scores.instances is not None:
        score = f"{scores.object_threshold:g}"
        subtitle = f"{title}: objects with a score above {score}, without overlap"
        console.print(scores.instances.table(subtitle))
        say(scores.instances.counting_error())
        scores.instances.save(Path(out) / "instances")
    images = "precision_recall.png, confusion.png, worst.png"
    if history:
        images += ", curves.png"
    say(f"Tables and images in {out}: evaluation.json, evaluation.csv, {images}.")


def kind_of(config) -> str:
    """Return "semantic", "detector" or "instances" (without boxes): what the network predicts."""
    if config.is_boxless:
        return "instances"
    return "detector" if config.is_detector else "semantic"


def refuse_foreign(run, options: dict) -> None:
    """Refuse options that have no meaning for what the network of a run predicts.

    Args:
        run: a `tfseg.training.Run`.
        options: {option: value or None}; those of all kinds of runs.
    """
    config = run.config
    known = OPTIONS[kind_of(config)]
    given = [name for name, value in options.items() if value is not None and name not in known]
    if given:
        head = f" --head {config.head}" if config.is_boxless else ""
        raise typer.BadParameter(
            f"{', '.join(given)}: no meaning for '{run.folder}', a run of --task {config.task}"
            f"{head}. Remove it."
        )
