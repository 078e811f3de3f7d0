"""Brain tissue on magnetic resonance slices, from the template that the package nilearn ships."""

from pathlib import Path

import numpy as np

from tfseg import checks
from tfseg.data import Arrays

CLASS_NAMES = ("background", "gray matter", "white matter", "other tissue")
TEMPLATE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
SLAB_EDGES = (0.35, 0.45, 0.65, 0.75)  # as fractions of the slices, from neck to crown
SLABS = {"train": (0, 2, 4), "val": (1,), "test": (3,)}
GAP = 2  # slices left out on each side of an edge


def brain_tissue():
    """Axial slices of the MNI ICBM152 template with four tissue classes.

    The template is the average of 152 brains (doi:10.1016/j.neuroimage.2010.07.033): smooth and
    without noise. Scores on it show that a pipeline works, not how well it does on a patient.

    A pixel is gray or white matter where that probability map is above one half, "other tissue"
    where it is neither but the image is not zero, and background elsewhere. The slices with gray or
    white matter are split into five contiguous slabs from neck to crown: the second validates, the
    fourth tests, the other three train. Two slices on each side of a border are left out, because
    adjacent slices are alike.

    Returns:
        (train, val, test): readers of 114, 11 and 11 gray images of 233 x 197, uint8.

    Raises:
        ImportError: nilearn is not installed; the message names the extra `demo`.

    Example:
        >>> import tfseg
        >>> train, val, test = tfseg.datasets.brain_tissue()
        >>> len(train), len(val), len(test), train[0]["image"].shape
        (114, 11, 11, (233, 197, 1))
    """
    images, labels = _slices()
    count = len(images)
    edges = np.array(SLAB_EDGES) * count
    slab = np.digitize(np.arange(count), edges)
    centers = np.arange(count) + 0.5
    distance = np.abs(centers[:, None] - edges).min(axis=1)
    readers = []
    for slabs in SLABS.values():
        keep = np.isin(slab, slabs) & (distance > GAP)
        readers.append(Arrays(images[keep], labels[keep], CLASS_NAMES))
    train, val, test = readers
    return train, val, test


def _slices():
    """Return (N, 233, 197) uint8 images and class ids, nose up, from neck to crown."""
    nibabel = checks.require_package("nibabel", "demo")
    folder = Path(checks.require_package("nilearn", "demo").__file__).parent / "datasets" / "data"
    maps = {}
    for name in ("t1", "gm", "wm"):
        volume = np.asarray(nibabel.load(folder / TEMPLATE.format(name)).dataobj)
        maps[name] = np.rot90(volume, axes=(0, 1)).transpose(2, 0, 1)
    half = 0.5 * maps["gm"].max()
    labels = np.where(maps["t1"] > 0, 3, 0)
    labels[maps["wm"] > half] = 2
    labels[maps["gm"] > half] = 1
    labels = labels.astype(np.uint8)
    keep = np.isin(labels, (1, 2)).any(axis=(1, 2))
    return np.ascontiguousarray(maps["t1"][keep]), labels[keep]
