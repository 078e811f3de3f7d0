"""ISBI 2012: membranes of neurons under the electron microscope (doi:10.3389/fnana.2015.00142)."""

from tfseg.data import Folder
from tfseg.datasets.location import located

CLASS_NAMES = ("membrane", "cell")
SOURCE = "github.com/zhixuhao/unet, folder data/membrane/train (the ISBI 2012 challenge asks to be cited)"
SECTIONS, VAL_SECTIONS = 24, 4  # of the 30 that are labeled; the last six are left for a test


def isbi2012(folder=None):
    """Sections 0 to 23 of a fly's brain; the last four validate, for neighbors are alike.

    Args:
        folder: the set's folder, with `image` and `label`; None for `isbi2012_em` in TFSEG_DATA.

    Returns:
        (train, val): readers of 20 and 4 gray 512 x 512 images, in the order of the stack.

    Raises:
        FileNotFoundError: the folder is not there.
    """
    folder = located(folder, "isbi2012_em", SOURCE)
    stack = Folder(folder / "image", folder / "label", CLASS_NAMES)
    order = sorted(range(len(stack)), key=lambda index: int(stack.name(index)))
    first = SECTIONS - VAL_SECTIONS
    return stack.subset(order[:first]), stack.subset(order[first:SECTIONS])
