"""Where the datasets lie on this machine."""

import os
from pathlib import Path


def located(folder, name, source):
    """Return the folder of a dataset.

    Args:
        folder: where the user says it is, or None: in the folder that the environment variable TFSEG_DATA names
            (`../shared/data` if it is not set), under `name`.
        name: of the dataset's own folder.
        source: where it can be had, for the error's text.

    Raises:
        FileNotFoundError: it is not there.
    """
    path = (
        Path(os.environ.get("TFSEG_DATA", "../shared/data")) / name
        if folder is None
        else Path(folder)
    )
    if not path.is_dir():
        raise FileNotFoundError(
            f"There is no folder '{path.absolute()}' for the dataset {name}. Get it from {source}; then set the "
            f"environment variable TFSEG_DATA to the folder that holds '{name}', or pass `folder`."
        )
    return path
