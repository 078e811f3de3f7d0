"""ISBI 2012: neuron membranes under the electron microscope (doi:10.3389/fnana.2015.00142)."""

from pathlib import Path

from tfseg.data import Folder
from tfseg.datasets.dataset_dir import dataset_dir

CLASS_NAMES = ("membrane", "cell")
SOURCE = (
    "github.com/zhixuhao/unet, folder data/membrane/train "
    "(the ISBI 2012 challenge asks to be cited)"
)
SECTIONS, VAL_SECTIONS = 24, 4  # of the 30 labeled ones; the last six are left for a test


def isbi2012(folder: str | Path | None = None):
    """ISBI 2012: sections 0 to 23 of a fly's brain.

    The last four validate, because adjacent sections are alike.

    Args:
        folder: the dataset's folder, with `image` and `label`; None for `isbi2012_em` in
            TFSEG_DATA.

    Returns:
        (train, val): readers of 20 and 4 gray images of 512 x 512, in the order of the stack.

    Raises:
        FileNotFoundError: the folder does not exist.

    Example:
        >>> import tfseg
        >>> train, val = tfseg.datasets.isbi2012("data/isbi2012_em")  # doctest: +SKIP
        >>> len(train), len(val)  # doctest: +SKIP
        (20, 4)
    """
    folder = dataset_dir(folder, "isbi2012_em", SOURCE)
    stack = Folder(folder / "image", folder / "label", CLASS_NAMES)
    order = sorted(range(len(stack)), key=lambda index: int(stack.name(index)))
    first_val = SECTIONS - VAL_SECTIONS
    return stack.subset(order[:first_val]), stack.subset(order[first_val:SECTIONS])
