"""The base class of all readers. `reader[i]` is a dict of arrays, ready for the pipeline."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tfseg.checks import (
    BACKGROUND,
    IGNORE_INDEX,
    IGNORE_INDEX_INT32,
    ignore_index_for,
    is_background,
    label_names,
)
from tfseg.data import splits
from tfseg.data.readers.extract import shrink_sample
from tfseg.data.readers.objects import instances_to_rle

NAMES_SHOWN = 8  # class names in the repr of a reader


def check_class_names(class_names) -> list[str]:
    """Return class names as a list of str.

    Raises:
        ValueError: not a list, no names, too many for the ids of a mask, empty or duplicate names.
    """
    if isinstance(class_names, (str, bytes, dict, set, frozenset)):
        raise ValueError(
            f"class_names={class_names!r} is not a list. Expected names in the order of their ids, "
            'such as ["background", "leaf"].'
        )
    names = [str(name) for name in class_names]
    if not 1 <= len(names) <= IGNORE_INDEX_INT32:
        raise ValueError(
            f"class_names: got {len(names)} names, expected 1 to {IGNORE_INDEX_INT32}."
        )
    if not all(names):
        raise ValueError(
            f"class_names: {names} contains an empty name. Name every class, or remove a comma."
        )
    if len(set(names)) != len(names):
        raise ValueError(
            f"class_names: {', '.join(names)} contains a name twice. Give every class its own name."
        )
    if names == [BACKGROUND]:
        raise ValueError(
            f"class_names: got only {BACKGROUND!r}. Name the object; all other pixels are "
            "background."
        )
    return names


def mask_dtype_for(num_classes: int) -> np.dtype:
    """Return the dtype of masks: uint8, or int32 with more than 255 classes."""
    return np.dtype(np.uint8 if num_classes <= IGNORE_INDEX else np.int32)


class Reader:
    """A sequence of labeled samples; the base class of all readers.

    A sample is a dict of arrays. "image" (H, W, C) is always there; `fields` lists the others:

    - "mask" (H, W) uint8: class ids in [0, num_classes), and 255 (`ignore_index`) for pixels
      without a label, whatever the values on disk. With more than 255 classes masks are int32,
      and `ignore_index` is 65535.
    - "instances" (H, W) int32: 0 for no object, k for the k-th of the sample's N objects. Where
      objects overlap, the smaller one is on top. Crowds are not in it.
    - "boxes" (N, 4) float32: x_min, y_min, x_max, y_max of the objects in pixels. The image
      extends from 0 to its width and height. No box is empty.
    - "classes" (N,) int32: categories of the objects, positions in `object_names`.
    - "crowd" (N,) bool: whether the entry is a region of many objects that are not separated.
      Their pixels are ignored in the mask, unless they belong to an object.
    - "areas" (N,) float32: areas of the objects in pixels as annotated, else those of their masks,
      else those of their boxes.

    The class ids in masks are positions in `label_names`. With a single class name, masks contain 0
    for the background and 1 for the class. Where a mask is drawn from objects, the first class name
    is "background". Object categories are counted from 0 and do not include the background, so
    their ids differ from those in the mask: `object_label_ids` translates them.

    Subclasses implement `__getitem__`, and call this constructor.

    Args:
        class_names: names in the order of their ids.
        sizes: (N, 2) heights and widths of the images.
        channels: number of image channels.
        dtype: NumPy dtype of the images.

    Attributes:
        class_names: list of names, in the order of their ids.
        fields: tuple of the keys of every sample.
        sizes: (N, 2) int array of heights and widths.
        channels: number of image channels.
        dtype: NumPy dtype of the images.
        ignore_index: mask value of pixels without a label: 255, or 65535 with more than 255
            classes.
        mask_dtype: NumPy dtype of the masks: uint8, or int32 with more than 255 classes.
        palette: (C, 3) uint8 RGB colors of `label_names` that the dataset defines, or None.
        mask_values: {value on disk: class id}; None for masks in memory.
        dropped: list of (name of a sample, reason) of annotations that are not used as objects.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf"])
        >>> reader
        <Folder: 4 samples of image, mask; 3 channels of uint8; 2 classes: background, leaf>
        >>> {name: array.shape for name, array in reader[0].items()}
        {'image': (48, 64, 3), 'mask': (48, 64)}
    """

    fields = ("image", "mask")
    palette = None
    mask_values = None
    dropped: Sequence[tuple[str, str]] = ()

    def __init__(self, class_names: Sequence[str], sizes, channels: int, dtype):
        self.class_names = check_class_names(class_names)
        self.sizes = np.asarray(sizes, int).reshape(-1, 2)
        self.channels = channels
        self.dtype = np.dtype(dtype)

    @property
    def num_classes(self) -> int:
        """Number of output channels that a model needs: 1 (sigmoid) for a single class name."""
        return len(self.class_names)

    @property
    def label_names(self) -> list[str]:
        """Names of the ids in the masks. A single class name has "background" (0) before it."""
        return label_names(self.class_names)

    @property
    def ignore_index(self) -> int:
        """Mask value of pixels without a label."""
        return ignore_index_for(len(self.label_names))

    @property
    def mask_dtype(self) -> np.dtype:
        """NumPy dtype of the masks."""
        return mask_dtype_for(len(self.label_names))

    @property
    def object_names(self) -> list[str]:
        """Names of the object categories in the order of their ids in "classes".

        By default all of `label_names` except a background; empty for readers without objects.
        """
        if "classes" not in self.fields:
            return []
        return [name for name in self.label_names if not is_background(name)]

    @property
    def object_label_ids(self) -> np.ndarray:
        """(K,) int32 ids in the masks of the K object categories."""
        names = self.label_names
        return np.array([names.index(name) for name in self.object_names], np.int32)

    def __len__(self) -> int:
        return len(self.sizes)

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:NAMES_SHOWN])
        if self.num_classes > NAMES_SHOWN:
            names += ", ..."
        return (
            f"<{type(self).__name__}: {len(self)} samples of {', '.join(self.fields)}; "
            f"{self.channels} channels of {self.dtype}; {self.num_classes} classes: {names}>"
        )

    def __getitem__(self, index: int) -> dict:
        raise NotImplementedError

    def read(self, index: int, shrink: int = 1) -> dict:
        """Return a sample at 1 / `shrink` of its size, rounded up.

        Images are averaged over blocks; masks take the pixel at the middle of each block. Readers
        override this method where a format can be decoded at a smaller size with less work.

        Args:
            index: position of the sample.
            shrink: a power of 2.
        """
        return shrink_sample(self[index], shrink)

    def name(self, index: int) -> str:
        """Return the sample's name, unique in the reader."""
        return str(index)

    def image_path(self, index: int) -> Path | None:
        """Return the sample's image file; None if there is not exactly one."""
        return None

    def plain_files(self) -> tuple[list, dict] | None:
        """Return how `pipeline` may read the samples from their files itself.

        Returns:
            list of (image, mask) of all samples, and {value or color on disk: class id}. None if
            there is more to a sample than one file for its image and one for its mask.
        """
        return None

    @property
    def has_exact_rle(self) -> bool:
        """Whether `object_rle` shows more than "instances": whole objects behind others, crowds."""
        return type(self).object_rle is not Reader.object_rle

    def object_rle(self, index: int) -> list[dict]:
        """Return the mask of each object of a sample as run-length encoding of COCO.

        By default these are the regions in "instances", so that pixels where objects overlap belong
        to the upper one, and crowds are empty. Readers of polygons and RLE return every region
        whole. Needs pycocotools (extra `coco`).

        Args:
            index: position of the sample.

        Returns:
            list of N dicts {"size": [height, width], "counts": bytes}, in the order of "boxes".

        Raises:
            ValueError: the objects have boxes only.

        Example:
            >>> import tfseg
            >>> reader = tfseg.data.Folder("photos", "labels", ["leaf"], instances=True)
            >>> [rle["size"] for rle in reader.object_rle(0)]
            [[48, 64]]
        """
        if "instances" not in self.fields:
            raise ValueError(
                f"{type(self).__name__}: object_rle needs masks of the objects, but the samples "
                f"have {', '.join(self.fields)} only. Use a reader of masks or polygons."
            )
        sample = self[index]
        return instances_to_rle(sample["instances"], len(sample["boxes"]))

    def version_key(self, index: int) -> list | None:
        """Return a key, fit for JSON, that changes whenever the sample's content does.

        It changes if the sample's files or the meaning of their values change. None if unknown.
        """
        return None

    def split(
        self,
        val_fraction: float,
        seed: int = 0,
        groups: Callable | Sequence | str | None = None,
        stratify: bool = False,
    ) -> tuple["Reader", "Reader"]:
        """Split the samples at random into a training and a validation reader.

        By default each sample is drawn independently. If neighboring samples are similar (frames
        of a video, sections of a stack, slices of a patient), validation is then easier than new
        data: use `groups` to keep them together.

        Args:
            val_fraction: fraction of the samples for validation, in (0, 1); approximate with
                `groups` or `stratify`.
            seed: random seed; the same seed gives the same split.
            groups: function of a sample's name, such as `lambda name: name[:6]`, or a list of one
                key per sample. Samples with the same key stay together. Or a string: a regular
                expression such as r"(patient\\d+)_.*", whose first group in parentheses (without
                one, the whole match) is the key, or a CSV file of names and keys, as "FILE.csv" or
                "FILE.csv:COLUMN".
            stratify: whether both sides contain each class in about the same proportion
                (iterative stratification: Sechidis et al. 2011,
                doi:10.1007/978-3-642-23808-6_10). Reads every sample once.

        Returns:
            (train, val) readers.

        Raises:
            ValueError: fewer than two samples or groups, or a fraction out of range.

        Example:
            >>> import tfseg
            >>> reader = tfseg.data.Folder("photos", "labels", ["leaf"])
            >>> train, val = reader.split(0.25, seed=1)
            >>> len(train), len(val)
            (3, 1)
        """
        train, val = splits.split(self, val_fraction, seed, groups, stratify)
        return self.subset(train), self.subset(val)

    def k_fold(
        self,
        k: int,
        seed: int = 0,
        groups: Callable | Sequence | str | None = None,
        stratify: bool = False,
    ) -> list[tuple["Reader", "Reader"]]:
        """Split the samples into k folds for cross-validation.

        Args:
            k: number of folds, at least 2.
            seed, groups, stratify: see `split`.

        Returns:
            list of k (train, val) readers. Each sample is in exactly one `val`.

        Raises:
            ValueError: fewer samples or groups than folds.

        Example:
            >>> import tfseg
            >>> reader = tfseg.data.Folder("photos", "labels", ["leaf"])
            >>> [(len(train), len(val)) for train, val in reader.k_fold(2)]
            [(2, 2), (2, 2)]
        """
        folds = splits.k_fold(self, k, seed, groups, stratify)
        return [(self.subset(train), self.subset(val)) for train, val in folds]

    def select(self, names) -> "Reader":
        """Return a reader of the samples with these names, in this order.

        Args:
            names: list of names, or the path of a text file with one name per line (empty lines
                are skipped).

        Raises:
            FileNotFoundError: the text file is missing.
            ValueError: no names, or names that are not in the reader.

        Example:
            >>> import tfseg
            >>> reader = tfseg.data.Folder("photos", "labels", ["leaf"])
            >>> reader.select(["leaf3", "leaf0"]).name(0)
            'leaf3'
        """
        return self.subset(splits.indices_of(self, names))

    def subset(self, indices: Sequence[int]) -> "Reader":
        """Return a reader of the samples at these positions, in this order."""
        from tfseg.data.readers.subset import Subset  # which derives from this class

        return Subset(self, indices)

    def tiles(self, size, overlap: float = 0.0) -> "Reader":
        """Return a reader of tiles that cover every image, for images too large to use whole.

        Split into train and val first: tiles of one image are similar, and with `overlap` they
        share pixels.

        Args:
            size: side of the tiles in pixels, or (height, width). An image that is smaller is one
                tile.
            overlap: minimum overlap of neighboring tiles as a fraction of their size, in [0, 1).

        Example:
            >>> import tfseg
            >>> reader = tfseg.data.Folder("photos", "labels", ["leaf"])
            >>> tiles = reader.tiles(32)
            >>> len(tiles), tiles.name(1)
            (16, 'leaf0/0_32')
        """
        from tfseg.data.readers.tiles import Tiles, covering_tiles

        return Tiles(self, covering_tiles(self.sizes, size, overlap))

    def disjoint_tiles(self, size: int) -> "Reader":
        """Return a reader of tiles that do not overlap, each at most `size` pixels on a side.

        Each pixel is in exactly one tile, so that metrics count it once. A smaller image is one
        tile.
        """
        from tfseg.data.readers.tiles import Tiles, partition

        return Tiles(self, partition(self.sizes, size))
