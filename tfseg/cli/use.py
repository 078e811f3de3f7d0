"""What is done with a trained run: `tfseg evaluate`, `predict` and `export`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tfseg.cli.console import console, quiet_start, say, say_commands, track
from tfseg.cli.image_paths import Images, named_images
from tfseg.cli.options import (
    BatchSize,
    LabeledImages,
    LabeledMasks,
    OtherIgnore,
    OtherWindow,
    RunFolder,
)

COMPARED, COMPARED_SIDE = 10, 1024  # images, and the most of their sides


def evaluate(
    run: RunFolder,
    images: LabeledImages = None,
    masks: LabeledMasks = None,
    ignore: OtherIgnore = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results; by default RUN, or RUN/evaluation with --images."
        ),
    ] = None,
    batch_size: BatchSize = 8,
    window: OtherWindow = None,
):
    """Measure a trained run, on its validation images or on others.

    Example:  [cyan]tfseg evaluate --run runs/leaves --images test/photos --masks test/labels[/]
    """
    with quiet_start():
        from tfseg import training
    trained = training.Run(run)
    reader = labeled(trained, images, masks, ignore)
    report_run(
        trained, reader, out or (run if images is None else run / "evaluation"), batch_size, window
    )


def predict(
    paths: Images,
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("predictions"),
    window: OtherWindow = None,
):
    """Segment images: NAME_labels.png (class ids) and NAME_overlay.png (to look at), at the original size.

    Example:  [cyan]tfseg predict holiday/ --run runs/leaves --out predictions[/]
    """
    with quiet_start():
        from PIL import Image

        from tfseg import data, inference, training, viz
    trained = training.Run(run)
    settings, model = trained.settings(), trained.model()
    names = data.label_names(settings["class_names"])
    pictures = named_images(paths, settings.get("dtype"))
    out.mkdir(parents=True, exist_ok=True)
    for name, file in track("predicting")(pictures.items(), len(pictures)):
        image = data.read_image(file, settings["channels"])
        labels = inference.predict(
            model, image, window=window_of(settings, [image.shape[:2]], window)
        )
        Image.fromarray(labels).save(out / f"{name}_labels.png")
        overlay = viz.blend(image, viz.without_background(labels, names), len(names))
        Image.fromarray(overlay).save(out / f"{name}_overlay.png")
    viz.legend(names).savefig(out / "legend.png", dpi=120)
    say(
        f"{len(pictures)} image{'s' * (len(pictures) > 1)} -> {out}; legend.png there tells the colors."
    )


def export(
    context: typer.Context,
    run: Annotated[
        Path | None, typer.Option(help="Folder of a run, as written by `tfseg train`.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="saved_models/<name>; the run's name by default.")
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--output", help="Also serve: probabilities, uncertainty, rle. May be repeated."
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Also as: litert, litert_float16, litert_dynamic, litert_int8, onnx, openvino. May be repeated.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Images to compare the forms on; by default those the run validated on."),
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Side of windows that slide over larger images.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="float32, or bfloat16 for processors that know it.")
    ] = "float32",
    inspect: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Show an exported version, and prove it again."),
    ] = None,
):
    """Write the best model as the next version of a SavedModel for TF Serving, and in other forms beside it.

    Example:  [cyan]tfseg export --run runs/leaves --format litert --format onnx[/]

    Example:  [cyan]tfseg export --inspect saved_models/leaves/1[/]
    """
    if (run is None) == (inspect is None):
        raise typer.BadParameter("Name a --run to export, or a version to --inspect, and not both.")
    if inspect is not None:
        _require_alone(context, "inspect")
    with quiet_start():
        from tfseg import export as exporting
        from tfseg import training
    if inspect is not None:
        _show(exporting.inspect(inspect))
        return
    trained = training.Run(run)
    settings = trained.settings()
    metadata = {"class_names": settings["class_names"], "metrics": _figures(trained)}
    if tuning := trained.tuning():
        metadata["tuning"] = tuning
    if window is None and settings.get("window"):
        window = None if settings.get("normalize_each") else settings["window"]
        if window is None:
            say(
                "The export takes images whole, as each has its own mean: it was measured in windows."
            )
    pictures = _pictures(settings, images, bool(formats))
    folder = out or Path("saved_models") / trained.folder.resolve().name
    version = exporting.saved_model(
        trained.model(),
        folder,
        outputs or (),
        metadata,
        window,
        dtype=dtype,
        formats=formats or (),
        images=pictures,
    )
    if pictures:
        console.print(
            exporting.parity_table(exporting.read_parity(exporting.inspect(version)["parity"]))
        )
    say(f"Exported and checked {version}{'' if pictures else ', on noise alone'}.")
    say_commands(("tfseg", "export", "--inspect", version), exporting.serve_command(version))


def _require_alone(context, option):
    """Refuse other options beside one that none of them changes."""
    given = [
        name for name in context.params if context.get_parameter_source(name).name == "COMMANDLINE"
    ]
    words = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    if others := [words[name] for name in given if name != option]:
        raise typer.BadParameter(
            f"{', '.join(others)} changes nothing beside {words[option]}. Leave it out."
        )


def _figures(run):
    """Return the figures of a run's evaluation that are single numbers; None before there is one."""
    file = run.folder / "evaluation.json"
    if not file.is_file():
        return None
    return {
        name: value
        for name, value in json.loads(file.read_text()).items()
        if isinstance(value, float)
    }


def _pictures(settings, images, needed):
    """Return parts of some images of a folder, or of those a run validated on; none if these are not here."""
    from tfseg import data, training

    if images is not None:
        found = [
            data.read_image(file, settings["channels"])
            for file in data.image_files(images)[:COMPARED]
        ]
    elif "images" not in settings:
        return []
    else:
        try:
            reader = training.open_readers(settings)[1]
        except (OSError, ValueError) as error:
            if needed:
                raise ValueError(
                    f"{error} Or pass other images to compare the forms on: --images."
                ) from error
            say(f"Not compared with the model on images: {error} --images names others.")
            return []
        found = [reader[index]["image"] for index in range(min(COMPARED, len(reader)))]
    return [image[:COMPARED_SIDE, :COMPARED_SIDE] for image in found]


def _show(metadata):
    """Print the metadata of an exported version: classes in their colors, and its table of forms last."""
    from tfseg import export as exporting

    parity, colors = metadata.pop("parity", None), metadata.pop("palette")
    for number, (name, color) in enumerate(zip(metadata.pop("class_names"), colors, strict=True)):
        console.print(
            Text("  \u2588\u2588 ", "rgb({},{},{})".format(*color)),
            Text(f"{number} {name}"),
            sep="",
        )
    for name, value in metadata.items():
        lines = (
            [f"  {key}: {part}" for key, part in value.items()] if isinstance(value, dict) else []
        )
        say(f"{name}:" if lines else f"{name}: {value}")
        for line in lines:
            say(line)
    if parity:
        console.print(exporting.parity_table(exporting.read_parity(parity)))
    say("Every file is as it was written, and the signatures answer.")


def labeled(run, images, masks, ignore):
    """Return a reader of the images that a run validated on, or of two folders, once all of it is checked."""
    from tfseg import doctor, training

    if (images is None) != (masks is None):
        raise typer.BadParameter(
            "--images and --masks go together; without them the validation images are used."
        )
    if ignore is not None and images is None:
        raise typer.BadParameter(
            "--ignore-value goes with --images and --masks: a run knows the value of its own masks."
        )
    settings = {"ignore": 255, **run.settings()}
    if images is not None:
        if ignore is not None:  # before what the value has meant in the run's own masks
            table = settings.get("mask_values") or {}
            kept = {value: class_id for value, class_id in table.items() if int(value) != ignore}
            settings |= {"ignore": ignore, "mask_values": kept or None}
        settings |= {"images": images, "masks": masks, "val_images": None}
        reader = training.open_folder(settings)
    elif "images" in settings:
        try:
            reader = training.open_readers(settings)[1]
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error} --images and --masks name others.") from error
    else:
        raise ValueError(f"'{run.folder}' was not trained on a folder. Pass --images and --masks.")
    _warn_of_known(reader, run.settings(), images)
    warn_of_absent(reader, doctor.check(reader, track("checking images"), min_samples=1), "measure")
    return reader


def _warn_of_known(reader, settings, images):
    """Tell how many images of a folder the run was trained on."""
    if images is None or str(images.resolve()) != settings.get("images"):
        return
    known = {reader.name(index) for index in range(len(reader))} & set(
        settings.get("train_names", ())
    )
    if known:
        say(
            f"Warning: of these {len(reader)} images {len(known)} were trained on: figures of new ones are lower."
        )


def warn_of_absent(reader, summary, purpose):
    """Tell of classes that no pixel is of: perhaps they are written otherwise in these masks, and ignored."""
    names = [
        n for n, pixels in zip(reader.label_names, summary.class_pixels, strict=True) if not pixels
    ]
    if names:
        ignored = f"; {summary.ignored_pixels} pixels are ignored" if summary.ignored_pixels else ""
        say(f"Warning: no pixel to {purpose} on is of the class {', '.join(names)}{ignored}.")


def window_of(settings, sizes, asked=None):
    """Return the side of the windows for images of these sizes: as asked for, as the run has it, or by their size."""
    from tfseg import data

    return asked or settings.get("window") or data.window_for(sizes)


def report_run(run, reader, out, batch_size, window=None):
    """Evaluate a run's best model, write tables and images into `out`, and print the table."""
    from tfseg import data, inference

    history = run.history() if Path(out) == run.folder else None
    window = window_of(run.settings(), reader.sizes, window)
    batch_size = data.batch_for(reader.sizes, batch_size)
    scores = inference.report(
        run.model(), reader, out, history, batch_size, track("evaluating"), window
    )
    console.print(scores.table(f"{run.folder.name} on {len(reader)} images"))
    pictures = "samples.png, confusion.png" + (", curves.png" if history else "")
    say(f"Tables and images in {out}: evaluation.json, evaluation.csv, {pictures}.")
