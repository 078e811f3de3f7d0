"""What recipes have in common: their command line, and the way from a model to its figures and its export."""

import argparse
import inspect

from rich.console import Console

from tfseg.data import pipeline
from tfseg.export import saved_model
from tfseg.inference import report, tune_run
from tfseg.training import Progress, Run, fit_within

COMPARED = 10  # images, on which the export must agree with the model


def command(recipe):
    """Call `recipe(data, minutes, out)` with what the command line says.

    The defaults are those of the function, the help is the docstring of its module.
    """
    arguments = inspect.signature(recipe).parameters
    description = inspect.getmodule(recipe).__doc__
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of the dataset; by default its folder in TFSEG_DATA")
    parser.add_argument(
        "--minutes", type=float, help="for the training, whose schedule fits them (%(default)g)"
    )
    parser.add_argument(
        "--out", help="folder of the run, its figures, images and saved_model/ (%(default)s)"
    )
    parser.set_defaults(**{name: argument.default for name, argument in arguments.items()})
    try:
        recipe(**vars(parser.parse_args()))
    except (ValueError, OSError, ImportError) as error:
        parser.exit(1, f"error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted. The same command goes on with the last whole round.\n")


def carry_out(recipe, model, stream, val, minutes, out, tune=None, **options):
    """Train a model, evaluate its best round, draw, and export it.

    Called again after a kill, it goes on where the training stopped. `tfseg evaluate`, `predict` and `export` read the
    folder like that of any run.

    Args:
        recipe: its name.
        model: with the weights to begin with.
        stream: function of `first_step` -> training stream.
        val: reader to choose and to evaluate on.
        minutes: for the training.
        out: folder of the run.
        tune: a score of `tune_offsets` to which the decision between classes is fitted before it is evaluated and
            exported, if that holds on the other images; None for none. What it is worth is in the run's
            `tuning.json`.
        **options: of `training.compile_for`.

    Returns:
        (model of the best round, its `Evaluation`).
    """
    console, run = Console(), Run(out)
    settings = {"recipe": recipe, "class_names": list(val.class_names), "channels": val.channels}
    batches = pipeline(val, 2, cache="memory")
    if not run.has_settings():
        console.print(f"Timing some steps, to plan {minutes:g} minutes.")
    with Progress(console) as progress:
        steps = fit_within(minutes, model, stream, batches, run, settings, [progress], **options)
    if tune is not None:
        tuning = tune_run(run, val, tune)
        kept = "kept" if tuning.improves else "not kept"
        console.print(
            f"Tuned {tune} ({kept}): {tuning.score_untuned:.4f} before, {tuning.score_cv:.4f} "
            "after (cross-validated)."
        )
    model = run.model()
    scores = report(model, val, run.folder, run.history())
    console.print(scores.table(f"The best of {steps} steps, on {len(val)} images to validate on"))
    metadata = {"class_names": val.class_names, "metrics": scores.means()}
    if tuning := run.tuning():
        metadata["tuning"] = tuning
    pictures = [val[index]["image"] for index in range(min(COMPARED, len(val)))]
    version = saved_model(model, run.folder / "saved_model", metadata=metadata, images=pictures)
    console.print(
        f"Figures and images are in {run.folder}, a SavedModel in {version}.", soft_wrap=True
    )
    return model, scores
