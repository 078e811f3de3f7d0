"""The command `tfseg`."""

import contextlib
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track as rich_track

app = typer.Typer(
    help="Image segmentation: from labelled pictures to a measured model that TF Serving loads.",
    epilog="Exit codes: 0 done, 1 something is wrong with the data or the run (the message says what), "
    "2 the command's words are off, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()

RunFolder = Annotated[Path, typer.Option("--run", help="Folder of a run, as written by `tfseg train`.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images in a batch.")]


class Optimizer(StrEnum):
    """The choices of --optimizer."""

    adam = "adam"
    sgd = "sgd"


def main():
    """Run the command; mistakes of the user end in one message and exit code 1."""
    try:
        app()
    except (ValueError, OSError, ImportError) as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {_escaped(error)}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted. A training goes on with `tfseg train --resume --out FOLDER`.")
        sys.exit(130)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/brain_tissue"),
    export_to: Annotated[Path, typer.Option(help="Folder of the SavedModel.")] = Path("saved_models/brain_tissue"),
):
    """Train, evaluate and export a U-Net on real MRI slices, in about two minutes.

    Example:  [cyan]tfseg demo[/]
    """
    with _quiet_start():
        from tfseg.recipes import brain_tissue
    brain_tissue.run(console, out, export_to)


@app.command()
def train(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of the run, new or with --resume.")],
    images: Annotated[Path | None, typer.Option(help="Folder of pictures.")] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder of masks, named as their pictures.")] = None,
    class_names: Annotated[
        str | None, typer.Option(help="Names of the class ids 0, 1, 2 ..., with commas between.")
    ] = None,
    ignore: Annotated[int, typer.Option(help="Value in the masks of pixels without a label.")] = 255,
    val_images: Annotated[Path | None, typer.Option(help="Folder of pictures to validate on.")] = None,
    val_masks: Annotated[Path | None, typer.Option(help="Folder of their masks.")] = None,
    val_fraction: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share to validate on, without --val-images.")
    ] = 0.2,
    size: Annotated[int, typer.Option(min=8, help="Side in pixels of the windows to train on.")] = 256,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures.")] = 20,
    batch_size: BatchSize = 8,
    filters: Annotated[str, typer.Option(help="Width of each level of the U-Net.")] = "32,64,128,256,512",
    optimizer: Annotated[Optimizer, typer.Option(help="Adam, or SGD with Nesterov momentum.")] = Optimizer.adam,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest; 0.001 for adam, 0.05 for sgd.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split, the weights, the order, the augmentation.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
):
    """Train a U-Net on a folder of pictures and a folder of masks.

    Masks are PNGs with one class id a pixel; of two classes, also black (0) and white (255).

    Examples:

    [cyan]tfseg train --images photos --masks labels --class-names background,leaf --out runs/leaves[/]

    [cyan]tfseg train --resume --out runs/leaves[/]  after an interruption
    """
    given = {name for name in context.params if context.get_parameter_source(name).name == "COMMANDLINE"}
    asked = {
        "images": images,
        "masks": masks,
        "class_names": _split(class_names, str),
        "ignore": ignore,
        "val_images": val_images,
        "val_masks": val_masks,
        "val_fraction": val_fraction,
        "size": size,
        "epochs": epochs,
        "batch_size": batch_size,
        "filters": _split(filters, int),
        "optimizer": optimizer.value,
        "learning_rate": learning_rate or {"adam": 1e-3, "sgd": 5e-2}[optimizer.value],
        "seed": seed,
    }
    asked = {k: str(v.resolve()) if isinstance(v, Path) else v for k, v in asked.items()}
    with _quiet_start():
        from tfseg import data, training
    run = training.Run(out)
    if resume:
        settings = _stored(run, asked, given)
    else:
        _require_new(run, images, masks, class_names, val_images, val_masks)
        settings = asked
    train_reader, val_reader = training.open_readers(settings)
    measured = data.check(train_reader, _track("checking pictures"))
    data.check(val_reader, _track("checking validation"), at_least=1)
    if not resume:
        settings |= {"normalization": [measured.mean, measured.deviation], "channels": train_reader.channels}
    _describe(train_reader, val_reader, measured)
    run = training.train_folder(train_reader, val_reader, settings, out, [training.Progress(console)])
    _report(run, val_reader, settings["batch_size"])


@app.command()
def evaluate(
    run: RunFolder,
    images: Annotated[Path | None, typer.Option(help="Folder of pictures.")] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder of their masks.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables; the run's own by default.")] = None,
    batch_size: BatchSize = 8,
):
    """Measure a trained run, on its validation pictures or on others.

    Example:  [cyan]tfseg evaluate --run runs/leaves --images test/photos --masks test/labels[/]
    """
    if (images is None) != (masks is None):
        raise ValueError("Pass --images and --masks together, or neither to evaluate on the validation pictures.")
    with _quiet_start():
        from tfseg import data, training
    trained = training.Run(run)
    settings = trained.settings()
    if images is None and "images" not in settings:
        raise ValueError(f"'{run}' was not trained on a folder. Pass --images and --masks.")
    if images is None:
        reader = training.open_readers(settings)[1]
    else:
        reader = data.Folder(images, masks, settings["class_names"], settings.get("ignore", 255))
    data.check(reader, _track("checking pictures"), at_least=1)
    _evaluate(
        trained,
        reader,
        batch_size,
        out or (trained.folder if images is None else trained.folder / "evaluation"),
    )


@app.command()
def predict(
    path: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A picture, or a folder of pictures.")],
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("predictions"),
):
    """Segment pictures: NAME_labels.png (class ids) and NAME_overlay.png (to look at), at the original size.

    Example:  [cyan]tfseg predict holiday/ --run runs/leaves --out predictions[/]
    """
    with _quiet_start():
        import cv2

        from tfseg import data, inference, training, viz
    files = data.picture_files(path) if path.is_dir() else [path]
    trained = training.Run(run)
    settings, model = trained.settings(), trained.model()
    names = data.label_names(settings["class_names"])
    # Two pictures may differ in their suffix only: then it stays in the name.
    stems = [file.stem for file in files]
    out.mkdir(parents=True, exist_ok=True)
    for file in _track("predicting")(files, len(files)):
        image = data.read_image(file, settings["channels"])
        labels = inference.predict(model, image)
        name = file.stem if stems.count(file.stem) == 1 else file.name
        cv2.imwrite(str(out / f"{name}_labels.png"), labels)
        overlay = viz.blend(image, labels, len(names))
        cv2.imwrite(str(out / f"{name}_overlay.png"), overlay[..., ::-1])
    viz.legend(names).savefig(out / "legend.png", dpi=120)
    console.print(f"{len(files)} picture{'s' * (len(files) > 1)} -> [bold]{out}[/]; legend.png tells the colours.")


@app.command()
def export(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option(help="saved_models/<name>; the run's name by default.")] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also serve probabilities.")] = False,
):
    """Write the best model as the next version of a SavedModel for TF Serving.

    Example:  [cyan]tfseg export --run runs/leaves --out saved_models/leaves[/]
    """
    with _quiet_start():
        from tfseg import training
        from tfseg.export import saved_model
    trained = training.Run(run)
    trained.settings()
    name = trained.folder.resolve().name
    version = saved_model(trained.model(), out or Path("saved_models") / name, probabilities)
    console.print(f"Exported and checked [bold]{version}[/]. Serve it:")
    command = f"--model_name={version.parent.name} --model_base_path={version.parent.resolve()}"
    console.print(f"  tensorflow_model_server --rest_api_port=8501 {command}", style="cyan", soft_wrap=True)


def _require_new(run, images, masks, class_names, val_images, val_masks):
    """Refuse a new run before anything is read or written."""
    missing = [
        option
        for option, value in (("--images", images), ("--masks", masks), ("--class-names", class_names))
        if value is None
    ]
    if missing:
        raise typer.BadParameter(f"{', '.join(missing)} is needed, except with --resume.")
    if (val_images is None) != (val_masks is None):
        raise typer.BadParameter("--val-images and --val-masks go together.")
    run.refuse_if_taken()


def _stored(run, asked, given):
    """Return the settings of a run to resume; an option that differs from them is refused."""
    settings = run.settings()
    differing = sorted(name for name in given & asked.keys() if asked[name] != settings.get(name))
    if differing:
        named = ", ".join(f"--{name.replace('_', '-')} {settings.get(name)}" for name in differing)
        raise ValueError(f"'{run.folder}' was begun with {named}. Leave the option out, or start a new run.")
    if "epochs" not in settings or "images" not in settings:
        raise ValueError(f"'{run.folder}' is no run of `tfseg train`. Start a new one.")
    return settings


def _describe(train_reader, val_reader, measured):
    shares = measured.class_pixels / max(measured.class_pixels.sum(), 1)
    classes = ", ".join(f"{n} {s:.1%}" for n, s in zip(train_reader.label_names, shares, strict=True))
    console.print(f"{len(train_reader)} pictures to train on, {len(val_reader)} to validate on. Pixels: {classes}")
    if train_reader.mask_values == {0: 0, 255: 1}:
        console.print(f"The masks hold 0 and 255: read as {' and '.join(train_reader.label_names)}.")


def _report(run, val_reader, batch_size):
    """What a training ends with: table, pictures, what to do next."""
    from tfseg import inference, viz

    history = run.history()
    best = max(range(len(history["epoch"])), key=lambda i: history["val_mean_iou"][i])
    console.print(f"Best of {len(history['epoch'])} epochs: {best + 1}.")
    model = _evaluate(run, val_reader, batch_size, run.folder)
    shown = [val_reader[i] for i in range(0, len(val_reader), max(1, len(val_reader) // 4))][:4]
    images, masks = [s["image"] for s in shown], [s["mask"] for s in shown]
    predictions = [inference.predict(model, image) for image in images]
    viz.samples(images, masks, predictions, val_reader.label_names).savefig(run.folder / "samples.png", dpi=120)
    viz.curves(history).savefig(run.folder / "curves.png", dpi=120)
    console.print(f"Pictures: [bold]{run.folder}[/]/samples.png, curves.png, confusion.png. Next:")
    for command in (f"tfseg predict PICTURES --run {run.folder}", f"tfseg export --run {run.folder}"):
        console.print(f"  {command}", style="cyan", soft_wrap=True, highlight=False)


def _evaluate(run, reader, batch_size, out):
    """Print and save the scores of a run on a reader; return its model."""
    from tfseg import inference, viz

    model = run.model()
    scores = inference.evaluate(model, reader, batch_size, _track("evaluating"))
    scores.save(out)
    viz.confusion_matrix(scores.matrix, scores.class_names).savefig(out / "confusion.png", dpi=120)
    console.print(scores.table(f"{run.folder.name} on {len(reader)} pictures"))
    console.print(f"Tables: [bold]{out}[/]/evaluation.json, evaluation.csv")
    return model


def _track(description):
    return lambda items, total: rich_track(items, description, total=total, console=console, transient=True)


def _split(text, kind):
    if text is None:
        return None
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' must be numbers with commas between.") from error


def _escaped(error):
    from rich.markup import escape

    return escape(str(error))


@contextlib.contextmanager
def _quiet_start():
    """Import TensorFlow without the remarks that its C++ part makes on its own channel."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere, console.status("starting TensorFlow"):
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
            import tensorflow  # noqa: F401
        finally:
            os.dup2(kept, 2)
            os.close(kept)
