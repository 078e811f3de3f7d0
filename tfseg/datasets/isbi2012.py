"""ISBI 2012: membranes of neurons under the electron microscope (doi:10.3389/fnana.2015.00142)."""

from tfseg.data import Folder
from tfseg.datasets.location import located

CLASS_NAMES = ("membrane", "cell")
SOURCE = "github.com/zhixuhao/unet, folder data/membrane/train (the ISBI 2012 challenge asks to be cited)"
VAL_SECTIONS = 4


def isbi2012(folder=None):
    """Sections of a fly's brain; the last four of the stack validate, for neighbours are alike.

    Args:
        folder: the set's folder, with `image` and `label`; None for `isbi2012_em` in TFSEG_DATA.

    Returns:
        (train, val): readers of 20 and 4 grey 512 x 512 pictures, in the order of the stack.

    Raises:
        FileNotFoundError: the folder is not there.
    """
    folder = located(folder, "isbi2012_em", SOURCE)
    stack = Folder(folder / "image", folder / "label", CLASS_NAMES)
    order = sorted(range(len(stack)), key=lambda index: int(stack.name(index)))
    return stack.take(order[:-VAL_SECTIONS]), stack.take(order[-VAL_SECTIONS:])
