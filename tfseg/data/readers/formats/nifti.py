"""The reader of medical volumes in NIfTI files, as slices (https://nifti.nimh.nih.gov/nifti-1)."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfseg.checks import IGNORE_INDEX, one_of
from tfseg.data.readers.base import Reader
from tfseg.data.readers.cached import thread_safe_lru
from tfseg.data.readers.file_names import is_hidden, same_form
from tfseg.data.readers.formats.large_files import common_dtype
from tfseg.data.readers.formats.volume import Volume
from tfseg.data.readers.image_listing import printable
from tfseg.data.readers.mask_values import (
    are_black_and_white,
    distinct_values,
    to_class_ids,
    value_tables,
)
from tfseg.data.readers.problems import format_problems

CACHED_VOLUMES = 4  # volumes in memory, per modality and of the masks
SUFFIXES = (".nii", ".nii.gz")
MAX_SHIFT = 0.5  # voxels between a volume and its mask


class Nifti(Reader):
    """Slices of volumes (.nii, .nii.gz) and of their masks, paired by file name without suffix.

    All volumes are reoriented to the same axes first (the closest to right, anterior, superior:
    RAS+). The top of a slice is the patient's front or crown, its right end the patient's right or
    front. The samples of a volume follow each other and are named "volume/017": keep them together
    with `split(..., groups=lambda name: name.rpartition("/")[0])`.

    A compressed volume is decoded as a whole, and only the last few are cached. Training reads
    slices in random order: write them with `write_tfrecords` first. Needs nibabel (extra `nifti`).

    Args:
        images: folder of volumes, or a list of one folder per modality, whose files have the same
            names and become channels. A fourth axis of a volume contains channels too.
        masks: folder of masks of class ids, on the grid of their volumes.
        class_names: names in the order of their ids.
        axis: axis across which slices are cut: 0 sagittal, 1 coronal, 2 axial.
        ignore_value: the value on disk of voxels without a label, translated to 255; -1 for none.
        mask_values: {value on disk: class id}; takes precedence over `ignore_value`. None: values
            are ids, but masks of two classes that contain only 0 and 255 are read as 0 and 1.
        skip_empty: whether to leave out slices whose mask contains only id 0 and ignored voxels;
            decodes every mask once. For training only: scores without these slices are not scores
            of whole volumes.

    Attributes:
        dtype: of the files, if all are integers of one dtype without a scale; else float32, with
            the scale applied.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: volumes without a mask, masks without a volume, or volumes of another size or
            position in space; every such file is named.
        OSError: a file is not a NIfTI.

    Example:
        >>> import nibabel, numpy as np, pathlib, tfseg
        >>> for name, dtype in (("scans", np.int16), ("masks", np.uint8)):
        ...     pathlib.Path(name).mkdir()
        ...     volume = nibabel.Nifti1Image(np.zeros((8, 9, 4), dtype), np.eye(4))
        ...     nibabel.save(volume, f"{name}/case1.nii.gz")
        >>> reader = tfseg.data.Nifti("scans", "masks", ["background", "tumor"])
        >>> len(reader), reader.name(3), reader[3]["image"].shape
        (4, 'case1/003', (9, 8, 1))
    """

    def __init__(
        self,
        images: str | Path | Sequence[str | Path],
        masks: str | Path,
        class_names: Sequence[str],
        axis: int = 2,
        ignore_value: int = IGNORE_INDEX,
        mask_values: dict[int, int] | None = None,
        skip_empty: bool = False,
    ):
        one_of("Nifti", "axis", axis, (0, 1, 2))
        folders = [images] if isinstance(images, (str, Path)) else list(images)
        self._names, files = _match([Path(folder) for folder in (*folders, masks)])
        with ThreadPoolExecutor() as pool:
            cases = list(pool.map(_open, files))
        problems = [case for case in cases if isinstance(case, str)]
        if problems:
            raise ValueError(format_problems(problems))
        self._images = [case[:-1] for case in cases]
        self._masks = [case[-1] for case in cases]
        self._axis = axis
        self._load = thread_safe_lru(Volume.load, CACHED_VOLUMES * len(folders))
        self._load_labels = thread_safe_lru(_labels_or_error, CACHED_VOLUMES)
        channels = _channels(self._images)
        dtype = common_dtype([volume.dtype for case in self._images for volume in case])
        super().__init__(class_names, [], channels, dtype)
        two_classes = mask_values is None and len(self.label_names) == 2
        if two_classes and are_black_and_white(map(self._distinct_values, self._masks)):
            mask_values = {0: 0, 255: 1}
        self.mask_values, self._table = value_tables(
            "Nifti", self.label_names, ignore_value, mask_values
        )
        self._slices = [
            (number, position)
            for number, mask in enumerate(self._masks)
            for position in self._positions(mask, skip_empty)
        ]
        sizes = [self._masks[number].slice_size(axis) for number, _ in self._slices]
        self.sizes = np.array(sizes, int).reshape(-1, 2)

    def __getitem__(self, index: int) -> dict:
        number, position = self._slices[index]
        channels = []
        for volume in self._images[number]:
            image = volume.slice(self._load(volume), self._axis, position)
            channels.append(image.astype(self.dtype, copy=False))
        return {
            "image": np.concatenate(channels, axis=-1),
            "mask": self._labels(self._masks[number], position),
        }

    def name(self, index: int) -> str:
        """Return the volume's file name without suffix and the slice's number: "volume/017"."""
        number, position = self._slices[index]
        return f"{printable(self._names[number])}/{position:03d}"

    def _labels(self, mask, position):
        values = self._load_labels(mask)
        if isinstance(values, str):
            raise ValueError(values)
        return to_class_ids(mask.cut(values, self._axis, position), self._table, mask.path)

    def _distinct_values(self, mask):
        """Return the set of a mask's values; empty if it cannot be read: `check` reports that."""
        try:
            values = self._load_labels(mask)
        except OSError:
            return set()
        return set() if isinstance(values, str) else distinct_values(values)

    def _positions(self, mask, skip_empty):
        """Return the positions of the slices to keep along the axis."""
        positions = range(mask.shape[self._axis])
        if not skip_empty:
            return positions
        empty = (0, self.ignore_index)
        return [k for k in positions if not np.isin(self._labels(mask, k), empty).all()]


def _open(files):
    """Return the Volumes of a case, or a sentence about what is wrong with them."""
    try:
        volumes = [Volume(path) for path in files]
    except (OSError, ValueError) as error:
        return str(error)
    mask = volumes[-1]
    if mask.channels != 1:
        return f"{mask.path} has {mask.channels} values per voxel. Expected one, a class id."
    first = volumes[0]
    for other in volumes[1:]:
        if other.shape != first.shape:
            return (
                f"{first.path} has {first.shape} voxels (right, anterior, superior), but "
                f"{other.path} has {other.shape}. Resample both to one grid, masks with nearest "
                "neighbor."
            )
        shift = first.distance(other)
        if shift > MAX_SHIFT:
            return (
                f"{first.path} and {other.path} are up to {shift:.1f} voxels apart in space. If "
                "only the header is wrong, copy the affine; else resample one to the grid of the "
                "other."
            )
    return volumes


def _labels_or_error(mask):
    """Return the values of a mask, or what is wrong with them, so that both can be cached."""
    try:
        return mask.load_labels()
    except ValueError as error:
        return str(error)


def _channels(cases):
    """Return the number of channels that all cases have."""
    counts = [sum(volume.channels for volume in case) for case in cases]
    for case, count in zip(cases, counts, strict=True):
        if count != counts[0]:
            raise ValueError(
                f"{case[0].path} has {count} channels, but {cases[0][0].path} has {counts[0]}. "
                "Convert all volumes to the same number of channels."
            )
    return counts[0]


def _match(folders):
    """Match the files of several folders by name.

    Returns:
        names: without suffix.
        files: for each name, a list of one file per folder.
    """
    found = [_files(folder) for folder in folders]
    first = found[0]
    problems = []
    for files, folder in zip(found[1:], folders[1:], strict=True):
        problems += _missing(first, files, folder)
        problems += _missing(files, first, folders[0])
    if problems:
        raise ValueError(
            f"{format_problems(sorted(problems))}\nA mask has the name of its volume: rename or "
            "add the missing files."
        )
    return list(first), [[files[name] for files in found] for name in first]


def _missing(files, others, folder):
    """List the files that have no counterpart among the `others`, which are in `folder`."""
    return [
        f"{path} has no file '{name}.nii.gz' in {folder}"
        for name, path in files.items()
        if name not in others
    ]


def _files(folder):
    """Return {name without suffix: path}, sorted."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'. Check the path.")
    paths = [
        path
        for path in folder.iterdir()
        if path.name.lower().endswith(SUFFIXES) and not is_hidden(path)
    ]
    if not paths:
        raise FileNotFoundError(
            f"The folder '{folder}' contains no volume. Expected files {', '.join(SUFFIXES)}."
        )
    files = {}
    for path in sorted(paths):
        name = same_form(re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE))
        first = files.setdefault(name, path)
        if first is not path:
            raise ValueError(
                f"{first} and {path} have the same name without suffix. Keep one of them."
            )
    return files
