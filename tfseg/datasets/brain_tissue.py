"""Tissue of the brain on magnetic resonance slices, from the template that the package nilearn ships."""

from pathlib import Path

import numpy as np

from tfseg import checks
from tfseg.data import Arrays

CLASS_NAMES = ("background", "gray matter", "white matter", "other tissue")
TEMPLATE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


def brain_tissue():
    """Axial slices of the MNI ICBM152 template with four tissue classes.

    The template is the average of 152 people's brains (doi:10.1016/j.neuroimage.2010.07.033): one averaged
    brain, smooth and free of noise. Scores on it say that the way works, not how well it does on a patient.

    A pixel is gray or white matter where that probability map is above one half, "other tissue" where it is
    neither but the image is not zero, else background. The slices that hold gray or white matter are cut from
    neck to crown into five contiguous slabs: validation is the second, test the fourth, and the three others
    train. Two slices on each side of a slab's border belong to none, for neighbors are alike.

    Returns:
        (train, val, test): readers of (233, 197, 1) uint8 images.

    Raises:
        ImportError: nilearn is not installed; the message names the extra `demo`.
    """
    image, labels = _slices()
    count = len(image)
    edges = np.array([0, 0.35, 0.45, 0.65, 0.75, 1]) * count
    slab = np.digitize(np.arange(count), edges[1:-1])
    clear = np.min(np.abs(np.arange(count)[:, None] + 0.5 - edges[None, 1:-1]), axis=1) > 2
    parts = ([0, 2, 4], [1], [3])
    return tuple(
        Arrays(image[keep], labels[keep], CLASS_NAMES)
        for keep in (np.isin(slab, p) & clear for p in parts)
    )


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
    labels = np.where(maps["gm"] > half, 1, np.where(maps["wm"] > half, 2, labels)).astype(np.uint8)
    keep = np.isin(labels, (1, 2)).any(axis=(1, 2))
    return np.ascontiguousarray(maps["t1"][keep]), labels[keep]
