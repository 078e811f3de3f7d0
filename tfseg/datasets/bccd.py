"""BCCD: blood cells under the light microscope, annotated with boxes."""

from pathlib import Path

from tfseg.data.readers.formats import Voc
from tfseg.datasets.dataset_dir import dataset_dir

CLASS_NAMES = ("RBC", "WBC", "Platelets")
SOURCE = "github.com/Shenggan/BCCD_Dataset (MIT)"


def bccd(folder: str | Path | None = None):
    """BCCD: red cells, white cells and platelets as boxes, in the Pascal VOC layout.

    Args:
        folder: the dataset's folder, with `JPEGImages`, `Annotations` and `ImageSets`; None for
            `bccd` in TFSEG_DATA.

    Returns:
        (train, val): readers of 205 and 87 RGB images of 640 x 480, with "boxes", "classes",
        "crowd" and "areas". Their `dropped` lists two boxes without area.

    Raises:
        FileNotFoundError: the folder does not exist.

    Example:
        >>> import tfseg
        >>> train, val = tfseg.datasets.bccd("data/bccd")  # doctest: +SKIP
        >>> train[0]["boxes"].shape  # doctest: +SKIP
        (16, 4)
    """
    folder = dataset_dir(folder, "bccd", SOURCE)
    train, val = (Voc(folder, part, "detection", CLASS_NAMES) for part in ("train", "val"))
    return train, val
