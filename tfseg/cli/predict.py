"""`tfseg predict`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import plural, quiet_start, say, track, warnings_said
from tfseg.cli.detector_runs import refuse_foreign
from tfseg.cli.image_paths import Images, named_images
from tfseg.cli.options import MaxDetections, NmsIou, OtherWindow, RunFolder, ScoreThreshold
from tfseg.cli.predict_instances import predict_instances
from tfseg.cli.predict_objects import predict_objects
from tfseg.cli.result_paths import (
    SkipExisting,
    images_to_do,
    named,
    raise_failures,
)
from tfseg.cli.run_data import open_run, require_depth, window_of
from tfseg.files import check_overwrites


class ProbabilityFormat(StrEnum):
    """The choices of --probabilities."""

    png = "png"
    npy = "npy"


def predict(
    paths: Images,
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("predictions"),
    window: OtherWindow = None,
    probabilities: Annotated[
        ProbabilityFormat | None,
        typer.Option(
            help="Also write probabilities: png (one NAME_probability_ID.png of 16 bits per "
            "class, 65535 is 1) or npy (NAME_probabilities.npy, H x W x classes, float32).",
            show_default=False,
        ),
    ] = None,
    score_threshold: ScoreThreshold = None,
    nms_iou: NmsIou = None,
    max_detections: MaxDetections = None,
    skip_existing: SkipExisting = False,
):
    """Segment images: writes class ids, colors and an overlay of each image, at its size.

    NAME_labels.png contains class ids, which look black in a viewer; NAME_color.png shows them in
    color. For a GeoTIFF, NAME_labels.tif has the class ids with its georeference.

    A detector writes NAME_overlay.png with the objects of each image, and detections.json with the
    boxes and scores of all images, in the layout of COCO's datasets.

    A run of --task instances writes NAME_instances.png with the numbers of the objects (16 bits;
    above 65,535 objects NAME_instances.tif, 32 bits), NAME_overlay.png, NAME_outlines.geojson, and
    for all images counts.csv, objects.csv (area, position, shape, intensity) and detections.json.
    If it was trained on panoptic labels, NAME_labels.png has the class ids of things and stuff.

    Example:  [cyan]tfseg predict holiday/ --run runs/leaves --out predictions[/]
    """
    with quiet_start():
        trained = open_run(run)
    thresholds = {
        "score_threshold": score_threshold,
        "nms_iou": nms_iou,
        "max_detections": max_detections,
    }
    options = {f"--{name.replace('_', '-')}": value for name, value in thresholds.items()}
    refuse_foreign(trained, {"--window": window, "--probabilities": probabilities, **options})
    if trained.config.task == "instances":
        predict_instances(paths, trained, out, thresholds, window, skip_existing)
    elif trained.config.is_detector:
        predict_objects(paths, trained, out, thresholds, skip_existing)
    else:
        _predict_classes(paths, trained, out, window, probabilities, skip_existing)


def _predict_classes(paths, trained, out, window, probabilities, skip_existing):
    from tfseg import data, viz
    from tfseg.inference.prediction_files import prediction_files, write_prediction

    facts, model = trained.data, trained.model()
    names = data.label_names(facts.class_names)
    files = named_images(paths)
    results = {
        name: prediction_files(out / name, file, len(names), probabilities)
        for name, file in files.items()
    }
    legend = out / "legend.png"
    check_overwrites([legend])
    to_do, failures = images_to_do(files, results, skip_existing), []
    for name, image, logits in track("predicting")(
        _predicted(to_do, trained, model, window, failures), len(to_do)
    ):
        write_prediction(out / name, files[name], image, logits, names, probabilities)
    if len(failures) < len(files):  # also those that were predicted before
        viz.save_figure(viz.legend(names), legend)
    raise_failures(failures, len(to_do))
    say(f"{plural(len(to_do), 'image')} -> {out}; legend.png explains the colors.")


def _predicted(files, run, model, window, failures):
    """Yield (name, image, logits) for each {name: file}.

    Images that cannot be predicted are left out; their messages are added to `failures`.
    """
    from tfseg import data
    from tfseg.inference.predictor import logits_of

    facts = run.data
    for name, file in files.items():
        try:
            image = data.read_image(file, facts.channels)
            require_depth(file, image, run)
            side = window_of(facts, [image.shape[:2]], window)
            with warnings_said():
                logits = logits_of(
                    model, image, window=side, owner=str(file), trained=facts.value_range
                )
        except (OSError, ValueError) as error:
            failures.append(named(file, error))
            continue
        yield name, image, logits
