"""The command `tfseg`."""

import contextlib
import os
import shlex
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
stderr = Console(stderr=True)

RunFolder = Annotated[Path, typer.Option("--run", help="Folder of a run, as written by `tfseg train`.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images in a batch.")]
ClassNames = Annotated[
    str | None,
    typer.Option(
        help="Names of the class ids 0, 1, 2 ..., with commas between. A single name is id 1; 0 is background."
    ),
]
Ignore = Annotated[int, typer.Option(help="Value in the masks of pixels without a label; -1 for none.")]
ValImages = Annotated[Path | None, typer.Option(help="Folder of pictures to validate on.")]
ValMasks = Annotated[Path | None, typer.Option(help="Folder of their masks.")]


class Optimizer(StrEnum):
    """The choices of --optimizer."""

    adam = "adam"
    sgd = "sgd"


def main():
    """Run the command; mistakes of the user end in one message and exit code 1."""
    try:
        app()
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        stderr.print("Error:", style="bold red", end=" ")
        stderr.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


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
def doctor(
    images: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|IMAGES", help="A data set's folder, such as of `images` and `masks`; or the pictures'."
        ),
    ],
    masks: Annotated[
        Path | None, typer.Argument(metavar="[MASKS]", help="Folder of masks, named as their pictures.")
    ] = None,
    class_names: ClassNames = None,
    ignore: Ignore = 255,
    val_images: ValImages = None,
    val_masks: ValMasks = None,
    html: Annotated[Path | None, typer.Option(help="File for the report with pictures.")] = None,
    json: Annotated[Path | None, typer.Option(help="File for the report as JSON.")] = None,
):
    """Examine a data set: files, duplicates, masks, classes. Ends with 1 if training would refuse it.

    Without --class-names every value in the masks counts as a class.

    Example:  [cyan]tfseg doctor photos labels --class-names background,leaf --html report.html[/]
    """
    if (val_images is None) != (val_masks is None):
        raise typer.BadParameter("--val-images and --val-masks go together.")
    with _quiet_start():
        from tfseg import data, training
    if masks is None:
        images, masks = data.find_folders(images)
    val = None if val_images is None else (val_images, val_masks)
    report = data.diagnose((images, masks), _split(class_names, str), val, ignore, track=_track("examining pictures"))
    console.print(*report.tables(), sep="\n")
    _say(f"The doctor says: {report.verdict()}.")
    if html is not None:
        training.write_doctor_page(report, html, images.resolve().name)
    if json is not None:
        report.save(json)
    raise typer.Exit(bool(report.errors))


@app.command()
def train(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of the run, new or with --resume.")],
    images: Annotated[Path | None, typer.Option(help="Folder of pictures.")] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder of masks, named as their pictures.")] = None,
    class_names: ClassNames = None,
    ignore: Ignore = 255,
    val_images: ValImages = None,
    val_masks: ValMasks = None,
    val_fraction: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share to validate on, without --val-images.")
    ] = 0.2,
    size: Annotated[int, typer.Option(min=8, help="Side in pixels of the windows to train on.")] = 256,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures.")] = 20,
    batch_size: BatchSize = 8,
    filters: Annotated[
        str, typer.Option(help="Width of each level of the U-Net, two levels at least.")
    ] = "32,64,128,256,512",
    optimizer: Annotated[Optimizer, typer.Option(help="Adam, or SGD with Nesterov momentum.")] = Optimizer.adam,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="The highest, after a warm-up and before a cosine; 0.001 for adam, 0.05 for sgd.", show_default=False
        ),
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
    if learning_rate is not None and learning_rate <= 0:
        raise typer.BadParameter(f"--learning-rate {learning_rate} must be above 0.")
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
        from tfseg import training
    run = training.Run(out)
    if resume:
        given = {name for name in context.params if context.get_parameter_source(name).name == "COMMANDLINE"}
        settings = _stored(run, asked, given)
    else:
        _require_all(asked)
        run.refuse_if_taken()
        settings = asked
    _train(run, settings, resume)


@app.command()
def evaluate(
    run: RunFolder,
    images: Annotated[Path | None, typer.Option(help="Folder of pictures.")] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder of their masks.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results; by default RUN, or RUN/evaluation with --images."),
    ] = None,
    batch_size: BatchSize = 8,
):
    """Measure a trained run, on its validation pictures or on others.

    Example:  [cyan]tfseg evaluate --run runs/leaves --images test/photos --masks test/labels[/]
    """
    if (images is None) != (masks is None):
        raise typer.BadParameter("--images and --masks go together; without them the validation pictures are used.")
    with _quiet_start():
        from tfseg import data, training
    trained = training.Run(run)
    settings = trained.settings()
    if images is not None:
        settings = {"ignore": 255, **settings, "images": images, "masks": masks, "val_images": None}
        reader = training.open_folder(settings)
    elif "images" in settings:
        reader = training.open_readers(settings)[1]
    else:
        raise ValueError(f"'{run}' was not trained on a folder. Pass --images and --masks.")
    data.check(reader, _track("checking pictures"), at_least=1)
    _report(trained, reader, out or (run if images is None else run / "evaluation"), batch_size)


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
        from PIL import Image

        from tfseg import data, inference, training, viz
    files = data.picture_files(path) if path.is_dir() else [path]
    trained = training.Run(run)
    settings, model = trained.settings(), trained.model()
    names = data.label_names(settings["class_names"])
    _require_pictures(files)
    # Two pictures may differ in their suffix only: then it stays in the name.
    stems = [file.stem for file in files]
    out.mkdir(parents=True, exist_ok=True)
    for file in _track("predicting")(files, len(files)):
        image = data.read_image(file, settings["channels"])
        labels = inference.predict(model, image)
        name = file.stem if stems.count(file.stem) == 1 else file.name
        Image.fromarray(labels).save(out / f"{name}_labels.png")
        Image.fromarray(viz.blend(image, labels, len(names))).save(out / f"{name}_overlay.png")
    viz.legend(names).savefig(out / "legend.png", dpi=120)
    _say(f"{len(files)} picture{'s' * (len(files) > 1)} -> {out}; legend.png there tells the colours.")


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
        from tfseg.export import saved_model, serve_command
    trained = training.Run(run)
    trained.settings()
    name = trained.folder.resolve().name
    version = saved_model(trained.model(), out or Path("saved_models") / name, probabilities)
    _say(f"Exported and checked {version}.")
    _say_commands(serve_command(version))


def _train(run, settings, resume):
    """Check the pictures, train, and report; a new run's settings first learn what is in the data."""
    from tfseg import training

    train_reader, val_reader = training.open_readers(settings)
    summary = _check_both(train_reader, val_reader)
    training.require_two_classes(train_reader, summary)
    if not resume:
        settings = training.remember(settings, train_reader, val_reader, summary)
    _describe(train_reader, val_reader, summary)
    _say_steps(len(train_reader), settings, done=len(run.history().get("epoch", [])))
    try:
        with training.Progress(console) as progress:
            training.train_folder(train_reader, val_reader, settings, run.folder, [progress])
    except KeyboardInterrupt:
        _say("Interrupted." + ("" if run.has_settings() else " Nothing was kept."))
        if run.has_settings():
            _say_commands(("tfseg", "train", "--resume", "--out", run.folder))
        raise typer.Exit(130) from None
    _say_best(run.history())
    _report(run, val_reader, run.folder, settings["batch_size"])
    _say_commands(("tfseg", "predict", "PICTURES", "--run", run.folder), ("tfseg", "export", "--run", run.folder))


def _require_pictures(files):
    """Tell of everything that cannot be read before the first result is written."""
    from tfseg import data

    problems = []
    for file in files:
        try:
            data.read_header(file)
        except (OSError, ValueError) as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))


def _require_all(asked):
    """Refuse a new run that lacks an option."""
    missing = [f"--{name.replace('_', '-')}" for name in ("images", "masks", "class_names") if asked[name] is None]
    if missing:
        raise typer.BadParameter(f"{', '.join(missing)} is needed, except with --resume.")
    if (asked["val_images"] is None) != (asked["val_masks"] is None):
        raise typer.BadParameter("--val-images and --val-masks go together.")


def _stored(run, asked, given):
    """Return the settings of a run to resume; an option that differs from them is refused."""
    settings = run.settings()
    if "epochs" not in settings or "images" not in settings:
        raise ValueError(f"'{run.folder}' is no run of `tfseg train`. Start a new one.")
    differing = sorted(name for name in given & asked.keys() if asked[name] != settings[name])
    if differing:
        named = ", ".join(f"--{name.replace('_', '-')} {settings[name]}" for name in differing)
        raise ValueError(f"'{run.folder}' was begun with {named}. Leave the option out, or start a new run.")
    return settings


def _check_both(train_reader, val_reader):
    """Read every sample; return the summary of the training ones, or raise all that is wrong in both."""
    from tfseg import data

    summaries, problems = [], []
    for reader, what in ((train_reader, "pictures to train on"), (val_reader, "pictures to validate on")):
        try:
            summaries.append(data.check(reader, _track(f"checking {what}"), at_least=1))
        except ValueError as error:
            problems.append(f"Among the {what}: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    return summaries[0]


def _describe(train_reader, val_reader, summary):
    shares = summary.class_pixels / max(summary.class_pixels.sum(), 1)
    classes = ", ".join(f"{n} {s:.1%}" for n, s in zip(train_reader.label_names, shares, strict=True))
    _say(f"{len(train_reader)} pictures to train on, {len(val_reader)} to validate on. Pixels: {classes}")
    missing = [n for n, p in zip(train_reader.label_names, summary.class_pixels, strict=True) if not p]
    if missing:
        _say(f"Warning: no pixel to train on is of the class {', '.join(missing)}.")
    if train_reader.num_classes == 1:
        _say(f"One class name: in the masks 0 is background and 1 is {train_reader.class_names[0]}.")
    if train_reader.mask_values == {0: 0, 255: 1}:
        _say(f"The masks hold 0 and 255: read as {' and '.join(train_reader.label_names)}.")


def _say_steps(count, settings, done):
    steps = max(1, count // settings["batch_size"]) * settings["epochs"]
    if done >= settings["epochs"]:
        _say(f"All {done} epochs are done: nothing is left to train.")
    elif steps < 200:
        _say(f"Warning: only {steps} steps in all. Raise --epochs or lower --batch-size for a useful model.")


def _say_best(history):
    best = max(range(len(history["epoch"])), key=lambda i: history["val_mean_iou"][i])
    _say(f"Best of {len(history['epoch'])} epochs by mean IoU on the validation pictures: {best + 1}.")


def _report(run, reader, out, batch_size):
    from tfseg import inference

    history = run.history() if Path(out) == run.folder else None
    scores = inference.report(run.model(), reader, out, history, batch_size, _track("evaluating"))
    console.print(scores.table(f"{run.folder.name} on {len(reader)} pictures"))
    pictures = "samples.png, confusion.png" + (", curves.png" if history else "")
    _say(f"Tables and pictures in {out}: evaluation.json, evaluation.csv, {pictures}.")


def _say(text):
    """Print words that may hold what rich takes for markup, such as a class named [x]."""
    console.print(text, markup=False, highlight=False)


def _say_commands(*commands):
    _say("Next:")
    for command in commands:
        console.print(f"  {shlex.join(map(str, command))}", style="cyan", markup=False, highlight=False, soft_wrap=True)


def _track(description):
    return lambda items, total: rich_track(items, description, total=total, console=console, transient=True)


def _split(text, kind):
    if text is None:
        return None
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' must be numbers with commas between.") from error


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
