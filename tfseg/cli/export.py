"""`tfseg export`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import console, quiet_start, say, say_commands, say_program, spinner
from tfseg.cli.export_metadata import network_of, scores_of_run, show_metadata
from tfseg.cli.image_paths import without_results
from tfseg.cli.options import given_options, split
from tfseg.cli.run_data import open_run

COMPARED = 10  # images on which exports are compared with the model
CALIBRATION = 100  # further images for the ranges of an int8 file
COMPARED_SIDE = 1024  # larger images are cropped for that


RunOption = Annotated[
    Path | None, typer.Option("--run", help="Folder of a run, as written by `tfseg train`.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the versions; by default saved_models/<name of the run>."),
]
Outputs = Annotated[
    list[str] | None,
    typer.Option("--output", help="Also serve: probabilities, uncertainty, rle. May be repeated."),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        help="Also write: litert, litert_float16, litert_dynamic, litert_int8, onnx, openvino. "
        "May be repeated.",
    ),
]
ImagesOption = Annotated[
    Path | None,
    typer.Option(
        "--images",
        help="Folder of images to compare the exports on; by default the validation images.",
    ),
]
Window = Annotated[int | None, typer.Option(help="Side of the sliding windows for larger images.")]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="H,W",
        help="Height and width of the images for the files of --format, which then take one image "
        "of this size: for GPU delegates, Edge TPU, MediaPipe and OpenCV.",
    ),
]
MaxPixels = Annotated[
    int,
    typer.Option(
        min=1, help="Largest height x width of an image file that the SavedModel decodes."
    ),
]
ScoreThreshold = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Lowest score of a detection, or lowest probability of an object for runs of --head "
        "star or center; by default that of the trained or tuned model.",
    ),
]
NmsOverlap = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="For runs of --head star: overlap, as a fraction of the smaller object, above which "
        "the object of a lower score is dropped; by default that of the trained or tuned model.",
    ),
]
NmsIou = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="IoU above which the lower of two detections of a class is suppressed; by default "
        "that of the trained model.",
    ),
]
MaxDetections = Annotated[
    int | None,
    typer.Option(
        min=1, help="Largest number of detections per image; by default that of the trained model."
    ),
]
Dtype = Annotated[str, typer.Option(help="float32, or bfloat16 for processors that support it.")]
Inspect = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Show an exported version's metadata and re-verify its files and signatures.",
    ),
]


def export(
    context: typer.Context,
    run: RunOption = None,
    out: Out = None,
    outputs: Outputs = None,
    formats: Formats = None,
    images: ImagesOption = None,
    window: Window = None,
    size: Size = None,
    max_pixels: MaxPixels = 2**24,
    dtype: Dtype = "float32",
    score_threshold: ScoreThreshold = None,
    nms_iou: NmsIou = None,
    max_detections: MaxDetections = None,
    nms_overlap: NmsOverlap = None,
    inspect: Inspect = None,
):
    """Export the best model as the next version of a SavedModel for TF Serving, in any format.

    Example:  [cyan]tfseg export --run runs/leaves --format litert --format onnx[/]

    Example:  [cyan]tfseg export --run runs/leaves --format litert_int8 --size 512,512[/]

    Example:  [cyan]tfseg export --inspect saved_models/leaves/1[/]
    """
    if (run is None) == (inspect is None):
        raise typer.BadParameter(
            "Pass either --run to export a run, or --inspect to check a version."
        )
    if inspect is not None:
        _require_alone(context, "inspect")
        _inspect(inspect)
        return
    with quiet_start():
        trained = open_run(run)
    is_boxless = trained.config.is_boxless
    if is_boxless and trained.data.window is not None:
        say(
            "The SavedModel predicts images whole, not in windows as `tfseg predict` does: large "
            "images need more memory."
        )
    formats = formats or ()
    count = COMPARED + CALIBRATION if "litert_int8" in formats else COMPARED
    compared = _images_to_compare(trained, images, count, required=bool(formats))
    size = _parse_size(size)
    version = _export(
        trained,
        out or Path("saved_models") / trained.folder.resolve().name,
        outputs=outputs or (),
        window=window if is_boxless else window or trained.data.window,
        max_pixels=max_pixels,
        dtype=dtype,
        formats=formats,
        images=compared,
        size=size,
        nms_iou=nms_iou,
        max_detections=max_detections,
        nms_overlap=nms_overlap,
        **{"object_threshold" if is_boxless else "score_threshold": score_threshold},
    )
    note = "" if compared else ", with noise as its only input"
    say(f"Exported and verified {version}{note}.")
    _say_how_to_call(version, size)


def _inspect(version):
    """Print the metadata of an exported version, whose files and signatures are verified."""
    with quiet_start():
        from tfseg import export as exporting
    show_metadata(exporting.inspect(version))
    say("All files are unchanged, and the signatures answer.")


def _say_how_to_call(version, size):
    """Print the commands that inspect and serve a version, and programs that call its files."""
    from tfseg import export as exporting

    say_commands(("tfseg", "export", "--inspect", version), exporting.serve_command(version))
    for example in exporting.calling_examples(version, size):
        say_program(f"{example.title}:", example.text)


def _export(run, folder, images, **options):
    """Write the next version and print how its formats agree with the model.

    Args:
        run: a `tfseg.training.Run`.
        folder: of the versions.
        images: list of (H, W, C) to compare on.
        options: arguments of `tfseg.export.saved_model`.
    """
    from tfseg import export as exporting
    from tfseg.export.metadata import PARITY_FILE

    model = run.model()
    metadata = {**_names(run, model), "network": network_of(run, model), **scores_of_run(run)}
    tuning = run.tuning()
    if tuning is not None:
        metadata["tuning"] = tuning
    with spinner("exporting, and comparing with the Keras model"):
        version = exporting.saved_model(
            model,
            folder,
            metadata=metadata,
            images=images,
            value_range=_value_range(run.data),
            **options,
        )
    if images:
        rows = json.loads((version / PARITY_FILE).read_text("utf-8"))
        console.print(exporting.parity_table(exporting.read_parity(rows)))
    return version


def _names(run, model):
    """Return the names of the classes, or of object categories, and of stuff if there is any."""
    from tfseg.models import is_detector, is_instance_model

    if is_detector(model) or is_instance_model(model):
        names = {"object_names": run.data.object_names}
        has_stuff = getattr(run.data, "thing_ids", None) is not None
        return {**names, "class_names": run.data.label_names} if has_stuff else names
    return {"class_names": run.data.class_names}


def _parse_size(text):
    """Return (512, 768) for "512,768"; None for None."""
    size = split(text, int)
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise typer.BadParameter(f"--size: '{text}' must be height and width, such as 512,768.")
    return size


def _value_range(facts):
    """Return the range of values of the images of a run; None if it is unknown."""
    import numpy as np

    if facts.dtype == "uint8":
        return 0, 255
    if facts.value_range is not None:
        return facts.value_range
    is_integer = np.issubdtype(np.dtype(facts.dtype), np.unsignedinteger)
    return (0, np.iinfo(facts.dtype).max) if is_integer else None


def _require_alone(context, option):
    """Refuse options that have no effect with `option`."""
    words = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    others = [words[name] for name in given_options(context) if name != option]
    if others:
        raise typer.BadParameter(
            f"{', '.join(others)} has no effect with {words[option]}. Remove it."
        )


def _images_to_compare(run, images, count, required):
    """Return images of a folder, or of the run's validation images; [] if there are none.

    Args:
        run: a `tfseg.training.Run`.
        images: folder, or None.
        count: maximum number of images; they are spread evenly over all.
        required: raise if there are none.
    """
    from tfseg import data, training
    from tfseg.export.int8_images import spread

    record = run.record
    if images is not None:
        files = without_results(data.image_files(images))
        chosen = [files[index] for index in spread(len(files), count)]
        found = [data.read_image(file, record.data.channels) for file in chosen]
    elif record.config.images is None:
        return []
    else:
        try:
            reader = training.open_readers(record.config, record.data)[1]
        except (OSError, ValueError) as error:
            if required:
                raise ValueError(
                    f"{error} Or pass other images to compare the formats on: --images."
                ) from error
            say(f"Not compared with the model on images: {error} Pass others with --images.")
            return []
        found = [reader[index]["image"] for index in spread(len(reader), count)]
    return [image[:COMPARED_SIDE, :COMPARED_SIDE] for image in found]
