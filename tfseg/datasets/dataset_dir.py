"""Where the datasets are on this machine."""

import os
from pathlib import Path


def dataset_dir(folder: str | Path | None, name: str, source: str) -> Path:
    """Return the folder of a dataset.

    Args:
        folder: path that the user passed; None for the folder `name` in the directory that the
            environment variable TFSEG_DATA names (`../shared/data` if it is not set).
        name: name of the dataset and of its folder.
        source: where to download it, for the error.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    if folder is None:
        path = Path(os.environ.get("TFSEG_DATA", "../shared/data")) / name
    else:
        path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(
            f"{name}: no folder '{path.absolute()}'. Download the dataset from {source}; then set "
            f"the environment variable TFSEG_DATA to the directory that contains '{name}', or pass "
            "`folder`."
        )
    return path
