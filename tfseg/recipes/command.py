"""What the recipes share: their command line, and the steps from a model to its export."""

import argparse
import inspect
import time
from pathlib import Path

import keras
from rich.console import Console

from tfseg.export import saved_model
from tfseg.inference import report, report_instances, report_objects, tune_run
from tfseg.training import Progress, Run, TimeFrame, TrainConfig, train
from tfseg.training.trainer import task_of

# of the time of --minutes that is kept for the results
EVALUATIONS = 2.0  # in validations of the training: tuning, evaluation and drawing
EXPORT = 40.0  # seconds on an idle machine, with what else a recipe prints
COMPARED = 10  # images on which the export must agree with the model


def command(recipe) -> None:
    """Call `recipe(data, minutes, out)` with the arguments of the command line.

    The defaults are those of the function; the help is the docstring of its module.
    """
    arguments = inspect.signature(recipe).parameters
    parser = argparse.ArgumentParser(
        description=inspect.getmodule(recipe).__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", help="folder of the dataset; by default its folder in TFSEG_DATA")
    parser.add_argument(
        "--minutes",
        type=float,
        help="duration of the training, with evaluation and export (default: %(default)g)",
    )
    parser.add_argument(
        "--out",
        help="folder of the run, its scores, images and saved_model/ (default: %(default)s)",
    )
    parser.set_defaults(**{name: argument.default for name, argument in arguments.items()})
    try:
        recipe(**vars(parser.parse_args()))
    except (ValueError, OSError, ImportError) as error:
        parser.exit(1, f"error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted. The same command continues after the last complete round.\n")


def run_recipe(
    config: TrainConfig, train_reader, val_reader, model: keras.Model, tune: str | None = None
):
    """Train a model, then evaluate its best epoch, draw and export it.

    Called again after a kill, it resumes the training. `tfseg predict` and `export` read the folder
    like that of any run.

    Args:
        config: the `TrainConfig`.
        train_reader, val_reader: readers to train on, and to select and evaluate on.
        model: network with its initial weights.
        tune: metric for which logit offsets are tuned before the evaluation, see
            `inference.tune_run`; None for none.

    Returns:
        (model of the best epoch, its `Evaluation`).
    """
    console = Console()
    run = _train(config, train_reader, val_reader, model, console)
    if tune is not None:
        tuning = tune_run(run, val_reader, tune)
        outcome = "The run keeps the offsets."
        if not tuning.improves:
            outcome = "No improvement on held-out images: the run keeps plain argmax."
        console.print(
            f"{tuning.score}: {tuning.score_untuned:.4f} before tuning, {tuning.score_cv:.4f} "
            f"after (cross-validated). {outcome}"
        )
    model = run.model()
    scores = report(model, val_reader, run.folder, run.history(), monitor=run.config.monitor)
    steps = run.record.length.steps
    title = f"The best of {steps} steps, on {len(val_reader)} validation images"
    console.print(scores.table(title))
    metadata = {"class_names": val_reader.class_names, "metrics": scores.means()}
    tuned = run.tuning()
    if tuned is not None:
        metadata["tuning"] = tuned
    _export(model, run, val_reader, metadata, console)
    return model, scores


def run_object_recipe(config: TrainConfig, train_reader, val_reader, model: keras.Model):
    """Train a detector, then evaluate its best epoch, draw and export it; see `run_recipe`.

    Args:
        config: the `TrainConfig`, of the task "detect" or "instances".
        train_reader, val_reader: readers to train on, and to select and evaluate on.
        model: detector with its initial weights.

    Returns:
        `ObjectEvaluation` of the best epoch.
    """
    return _run_objects(config, train_reader, val_reader, model, report_objects)[1]


def run_instance_recipe(
    config: TrainConfig, train_reader, val_reader, model: keras.Model | None = None
) -> keras.Model:
    """Train a star or center head, then evaluate its best epoch, draw and export it.

    See `run_recipe`.

    Args:
        config: the `TrainConfig`, of the task "instances" with the head "star" or "center".
        train_reader, val_reader: readers to train on, and to select and evaluate on.
        model: model of `tfseg.models.instances` with its initial weights; None for that of the
            config.

    Returns:
        The model of the best epoch.
    """
    return _run_objects(config, train_reader, val_reader, model, report_instances)[0]


def _run_objects(config, train_reader, val_reader, model, report_scores):
    """Return the model of the best epoch and its evaluation, by `report_scores`."""
    console = Console()
    run = _train(config, train_reader, val_reader, model, console)
    model = run.model()
    scores = report_scores(model, val_reader, run.folder, run.history(), monitor=run.config.monitor)
    steps = run.record.length.steps
    console.print(scores.table(f"The best of {steps} steps, on {len(val_reader)} images"))
    metadata = {"object_names": run.data.object_names, "metrics": scores.means()}
    if run.data.thing_ids is not None:  # the model predicts stuff, too
        metadata["class_names"] = run.data.label_names
    _export(model, run, val_reader, metadata, console)
    return model, scores


def _train(config, train_reader, val_reader, model, console):
    """Train, or continue a training, and show its progress."""
    task_of(config)(config, model)  # raises if the weights of the encoder are missing
    if config.minutes is not None and Run(config.out).can_start():
        console.print(f"Timing some steps, to plan {config.minutes:g} minutes.")
    frame = TimeFrame(time.monotonic(), EVALUATIONS, EXPORT)
    with Progress(console) as progress:
        return train(config, train_reader, val_reader, model, [progress], frame=frame)


def _export(model, run, val_reader, metadata, console):
    images = [val_reader[index]["image"] for index in range(min(COMPARED, len(val_reader)))]
    version = saved_model(model, run.folder / "saved_model", metadata=metadata, images=images)
    folders = [_shorten(path) for path in (run.folder, version)]
    console.print(
        "Scores and images are in {}, a SavedModel in {}.".format(*folders), soft_wrap=True
    )


def _shorten(path):
    """Return an absolute path without the working directory, as it was probably given."""
    path = Path(path)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
