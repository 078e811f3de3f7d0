"""The reader of medical volumes in NIfTI files, as slices (https://nifti.nimh.nih.gov/nifti-1)."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfseg.checks import IGNORE_INDEX, one_of
from tfseg.data.readers.base import Reader, class_ids, format_problems, identity
from tfseg.data.readers.cached import thread_safe_lru
from tfseg.data.readers.formats.large_files import common_dtype, whole_numbers
from tfseg.data.readers.formats.volume import Volume

KEPT = 4  # volumes whose values stay in memory, of each of images and masks
SUFFIXES = (".nii", ".nii.gz")


class Nifti(Reader):
    """Slices of volumes (.nii, .nii.gz) and of their masks, paired by file name without suffix.

    All volumes are turned to the same axes first (nearest to right, anterior, superior: RAS+). A slice shows the front
    or the crown of the patient at the top and, across, the right or the front at the right end. Samples of a volume
    follow each other and are named "volume/017": keep them together by `split(..., groups=lambda name:
    name.rpartition("/")[0])`. A packed volume is decoded as a whole, and the last few are remembered: for training,
    which asks for slices in random order, write the slices with `write_tfrecords` first. Needs nibabel (extra
    `nifti`).

    Args:
        images: folder of volumes, or a list of folders, one a modality, whose files have the same names: a channel
            each. The fourth axis of a volume that has one holds channels too.
        masks: folder of masks of class ids, on the grid of their volumes.
        class_names: names in the order of their ids.
        axis: across which slices are cut: 0 sagittal, 1 coronal, 2 axial.
        ignore: the value on disk of voxels without a label, translated to 255; -1 for none.
        mask_values: {value on disk: class id}, which go before `ignore`; None: values are ids.
        skip_empty: whether to leave out the slices whose mask holds nothing but id 0 and ignored voxels; decodes
            every mask once. For training: what is measured without them is no measure of whole volumes.

    Attributes:
        dtype: of the files, if all are integers of one kind without a scale; else float32, after the scale.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: volumes without a mask or the reverse, of other sizes, or elsewhere in space; every one is named.
        OSError: a file is no NIfTI.
    """

    def __init__(
        self,
        images,
        masks,
        class_names,
        axis=2,
        ignore=IGNORE_INDEX,
        mask_values=None,
        skip_empty=False,
    ):
        one_of("Nifti", "axis", axis, (0, 1, 2))
        folders = [images] if isinstance(images, (str, Path)) else list(images)
        self._names, files = _matched([Path(folder) for folder in (*folders, masks)])
        with ThreadPoolExecutor() as pool:
            cases = list(pool.map(_open, files))
        problems = [case for case in cases if isinstance(case, str)]
        if problems:
            raise ValueError(format_problems(problems))
        self._images, self._masks = [case[:-1] for case in cases], [case[-1] for case in cases]
        self._axis = axis
        self._load = thread_safe_lru(lambda volume: volume.load(), KEPT * len(folders))
        self._load_mask = thread_safe_lru(lambda volume: volume.load(), KEPT)
        channels = _channels(self._images)
        dtype = common_dtype([volume.dtype for case in self._images for volume in case])
        super().__init__(class_names, [], channels, dtype)
        self.mask_values = mask_values or {
            v: i for v, i in identity(self.label_names).items() if v != ignore
        }
        self._table = {ignore: IGNORE_INDEX, **self.mask_values}
        self._slices = [
            (v, k) for v, mask in enumerate(self._masks) for k in self._kept(mask, skip_empty)
        ]
        self.sizes = np.array(
            [self._masks[v].slice_size(axis) for v, _ in self._slices], int
        ).reshape(-1, 2)

    def __getitem__(self, index):
        number, place = self._slices[index]
        parts = [
            v.slice(self._load(v), self._axis, place).astype(self.dtype, copy=False)
            for v in self._images[number]
        ]
        return {
            "image": np.concatenate(parts, axis=-1),
            "mask": self._labels(self._masks[number], place),
        }

    def name(self, index):
        """Return the volume's file name without its suffix, and the number of the slice: "volume/017"."""
        number, place = self._slices[index]
        return f"{self._names[number]}/{place:03d}"

    def _labels(self, mask, place):
        values = mask.slice(self._load_mask(mask), self._axis, place)[..., 0]
        return class_ids(whole_numbers(values, mask.path), self._table, mask.path)

    def _kept(self, mask, skip_empty):
        count = mask.shape[self._axis]
        if not skip_empty:
            return range(count)
        empty = (0, IGNORE_INDEX)
        return [k for k in range(count) if not np.isin(self._labels(mask, k), empty).all()]


def _open(files):
    """Return the Volumes of a case, or what is wrong with them."""
    try:
        first, *others = volumes = [Volume(path) for path in files]
    except (OSError, ValueError) as error:
        return str(error)
    if volumes[-1].channels != 1:
        return f"{volumes[-1].path} holds {volumes[-1].channels} values a voxel. A mask has one, a class id."
    for other in others:
        if other.shape != first.shape:
            return (
                f"{first.path} has {first.shape} voxels (right, anterior, superior), but {other.path} {other.shape}. "
                "Bring both to one grid, masks with nearest neighbor."
            )
        shift = first.distance(other)
        if shift > 0.5:
            return (
                f"{first.path} and {other.path} lie up to {shift:.1f} voxels apart in space. "
                "Copy the affine if only the header is wrong; else resample one to the other's grid."
            )
    return volumes


def _channels(cases):
    counts = [sum(volume.channels for volume in case) for case in cases]
    for case, count in zip(cases, counts, strict=True):
        if count != counts[0]:
            raise ValueError(
                f"{case[0].path} has {count} channels, {cases[0][0].path} {counts[0]}. Bring them to one."
            )
    return counts[0]


def _matched(folders):
    """Return the names that the files of all folders share, and a list of one file a folder for each."""
    found = [_files(folder) for folder in folders]
    problems = []
    for files, folder in zip(found[1:], folders[1:], strict=True):
        problems += [
            f"{found[0][name]} has no file '{name}.nii.gz' in {folder}"
            for name in found[0].keys() - files
        ]
        problems += [
            f"{files[name]} has no file '{name}.nii.gz' in {folders[0]}"
            for name in files.keys() - found[0]
        ]
    if problems:
        raise ValueError(
            format_problems(sorted(problems))
            + "\nA mask has the name of its volume: rename or add files."
        )
    return list(found[0]), [[files[name] for files in found] for name in found[0]]


def _files(folder):
    """Return {name without suffix: path}, sorted."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'. Check the path.")
    paths = sorted(
        p for p in folder.iterdir() if p.name.endswith(SUFFIXES) and not p.name.startswith(".")
    )
    if not paths:
        raise FileNotFoundError(
            f"The folder '{folder}' holds no volume. Expected files {', '.join(SUFFIXES)}."
        )
    files = {}
    for path in paths:
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        if files.setdefault(name, path) is not path:
            raise ValueError(f"{files[name]} and {path} bear the same name. Keep one of them.")
    return files
