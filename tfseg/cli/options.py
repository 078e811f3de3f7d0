"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[
    Path, typer.Option("--run", help="Folder of a run, as written by `tfseg train`.")
]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Images in a batch; fewer where they are large.")
]
ClassNames = Annotated[
    str | None,
    typer.Option(
        help="Names of the class ids 0, 1, 2 ..., with commas between. A single name is id 1; 0 is background."
    ),
]
Ignore = Annotated[
    int, typer.Option(help="Value in the masks of pixels without a label; -1 for none.")
]
ValImages = Annotated[Path | None, typer.Option(help="Folder of images to validate on.")]
ValMasks = Annotated[Path | None, typer.Option(help="Folder of their masks.")]
LabeledImages = Annotated[Path | None, typer.Option("--images", help="Folder of images.")]
OtherIgnore = Annotated[
    int | None,
    typer.Option(
        "--ignore", help="Value in these masks of pixels without a label; the run's own by default."
    ),
]
OtherWindow = Annotated[
    int | None,
    typer.Option(
        "--window",
        min=32,
        help="Side of windows that slide over larger images; by default the run's, or 1024 above 2 megapixels.",
        show_default=False,
    ),
]
LabeledMasks = Annotated[Path | None, typer.Option("--masks", help="Folder of their masks.")]


MaskValues = Annotated[
    str | None,
    typer.Option(
        help="What the masks' values stand for, as VALUE=ID with commas between, such as 0=0,1=1,9=2.",
        show_default=False,
    ),
]


def values(text):
    """Return {"9": 2} of "9=2", its keys as JSON has them; None of None."""
    if text is None:
        return None
    try:
        pairs = [map(int, part.split("=")) for part in text.split(",")]
        return {str(value): class_id for value, class_id in pairs}
    except ValueError as error:
        raise typer.BadParameter(
            f"'{text}' must be VALUE=ID with commas between, such as 0=0,1=1,9=2."
        ) from error


def split(text, kind):
    """Return the parts of "a,b,c" as a list of `kind`, str or int; None of None."""
    if text is None:
        return None
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' must be numbers with commas between.") from error
