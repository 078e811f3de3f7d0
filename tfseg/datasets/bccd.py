"""BCCD: boxes around blood cells under the light microscope."""

from tfseg.data.readers.formats import Voc
from tfseg.datasets.location import located

CLASS_NAMES = ("RBC", "WBC", "Platelets")
SOURCE = "github.com/Shenggan/BCCD_Dataset (MIT)"


def bccd(folder=None):
    """Red cells, white cells and platelets as boxes, in the layout of Pascal VOC.

    Args:
        folder: the set's folder, with `JPEGImages`, `Annotations` and `ImageSets`; None for `bccd` in TFSEG_DATA.

    Returns:
        (train, val): readers of 205 and 87 RGB 640 x 480 images, with "boxes" and "classes"; their `dropped`
        tells of two boxes without area.

    Raises:
        FileNotFoundError: the folder is not there.
    """
    folder = located(folder, "bccd", SOURCE)
    return tuple(Voc(folder, part, "detection", CLASS_NAMES) for part in ("train", "val"))
