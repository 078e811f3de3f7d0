"""The command `tfseg`."""

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import accept_all_characters, console, print_warning, quiet_start, stderr
from tfseg.cli.doctor import doctor
from tfseg.cli.evaluate import evaluate
from tfseg.cli.export import export
from tfseg.cli.plan import plan
from tfseg.cli.predict import predict
from tfseg.cli.segment import segment
from tfseg.cli.train import train
from tfseg.cli.tune import tune

app = typer.Typer(
    help="Image segmentation: from labeled images to a measured model that TF Serving loads.",
    epilog="Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main():
    """Run the command. Errors of the user end in one message and exit code 1."""
    accept_all_characters()
    # Commands only write files. A notebook sets a backend that other environments may lack, and
    # matplotlib would not even be imported.
    os.environ["MPLBACKEND"] = "agg"
    warnings.showwarning = print_warning
    try:
        app()
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        _fail(str(error))
    except Exception as error:
        # by name: TensorFlow, which has the class, may not be loaded
        if type(error).__name__ != "ResourceExhaustedError":
            raise
        _fail("Out of memory. Lower --batch-size or --size, or pass a smaller --window.")


def _fail(message):
    stderr.print("Error:", style="bold red", end=" ")
    stderr.print(message, markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/brain_tissue"),
    export_to: Annotated[Path, typer.Option(help="Folder of the SavedModel.")] = Path(
        "saved_models/brain_tissue"
    ),
):
    """Train, evaluate and export a U-Net on real MRI slices, in about two minutes.

    Example:  [cyan]tfseg demo[/]
    """
    with quiet_start():
        from tfseg.recipes import brain_tissue
    brain_tissue.run(console, out, export_to)


for command in (demo, doctor, plan, train, evaluate, tune, predict, export, segment):
    app.command()(command)
