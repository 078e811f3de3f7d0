"""Readers: where samples come from. `reader[i]` is a dict of arrays, ready for the pipeline."""

import numpy as np

from tfseg import checks
from tfseg.checks import BACKGROUND, IGNORE_INDEX, label_names
from tfseg.data import splits
from tfseg.data.readers.cached import thread_safe_lru
from tfseg.data.readers.extract import parts, reduced, window_of
from tfseg.ops import window_corners

NAMES_SHOWN = 8  # of the classes, in a notebook
WHOLE_KEPT = 2  # images of which windows are read one after the other
VALUE_REMEDY = "Name more classes, say which value to ignore (`--ignore-value`), or correct the mask."
IMAGE_REMEDY = (
    "So many values are those of an image, if images and masks are swapped, or of numbered objects: "
    "give every pixel the id of its class, such as (objects > 0) for one class."
)


def checked_names(class_names):
    """Return class names as a list of str; raise a ValueError if they cannot be those of masks."""
    names = [str(name) for name in class_names]
    if not 1 <= len(names) <= IGNORE_INDEX:
        raise ValueError(f"class_names: {len(names)} names came; name 1 to {IGNORE_INDEX} classes.")
    if not all(names):
        raise ValueError(
            f"class_names: {names} holds an empty name. Name every class, or drop a comma."
        )
    if len(set(names)) != len(names):
        raise ValueError(f"class_names: {', '.join(names)} names a class twice.")
    if names == [BACKGROUND]:
        raise ValueError(
            f"class_names: only {BACKGROUND!r} came. Name the object: what is not it is background."
        )
    return names


class Reader:
    """Samples with classes: a sequence of dicts of arrays.

    "image" (H, W, C) is always there; `fields` tells which of the others are:

    - "mask" (H, W) uint8: class ids in [0, num_classes) and `ignore_index` (255), whatever was on disk.
    - "instances" (H, W) int32: 0 where there is no object, k on the k-th of the sample's N objects. Where objects
      overlap the smaller lies on top.
    - "boxes" (N, 4) float32: x_min, y_min, x_max, y_max of the objects in pixels, the image reaching from 0 to
      its width and height; no box is empty.
    - "classes" (N,) int32: the objects' class ids.

    All class ids are positions in `label_names`. With a single class name masks hold 0, the background, and 1, the
    class. Where a mask is drawn from objects, the first name is that of the background.

    Attributes:
        class_names: list of names, in the order of their ids.
        fields: tuple of the names in every sample.
        sizes: (N, 2) int array of heights and widths.
        channels: C.
        dtype: NumPy dtype of the images.
        palette: (C, 3) uint8 RGB colors of `label_names` as the dataset's makers show them; None if they say none.
        mask_values: {value on disk: class id}; None for masks in memory.
    """

    ignore_index = IGNORE_INDEX
    fields = ("image", "mask")
    palette = None
    mask_values = None

    def __init__(self, class_names, sizes, channels, dtype):
        self.class_names = checked_names(class_names)
        self.sizes = np.asarray(sizes, int).reshape(-1, 2)
        self.channels = channels
        self.dtype = np.dtype(dtype)

    @property
    def num_classes(self):
        """The number of channels a model needs: one a class name; one name is a single sigmoid."""
        return len(self.class_names)

    @property
    def label_names(self):
        """The names of the class ids in the masks: with one class name, also "background", which is 0."""
        return label_names(self.class_names)

    def __len__(self):
        return len(self.sizes)

    def __repr__(self):
        names = ", ".join(self.class_names[:NAMES_SHOWN]) + ", ..." * (
            self.num_classes > NAMES_SHOWN
        )
        return (
            f"<{type(self).__name__}: {len(self)} samples of {', '.join(self.fields)}; {self.channels} channels of "
            f"{self.dtype}; {self.num_classes} classes: {names}>"
        )

    def __getitem__(self, index):
        raise NotImplementedError

    def read(self, index, shrink=1):
        """Return a sample at 1 / `shrink` of its size, a power of 2: images averaged, masks at the blocks' middles.

        Sizes are rounded up. Where a format can be decoded so for less than all the work, the reader does.
        """
        return reduced(self[index], shrink)

    def name(self, index):
        """Return a name for the sample, unique in the reader."""
        return str(index)

    def version_key(self, index):
        """Return what changes when the sample's files do, or what their values mean, for JSON; None if unknown."""
        return None

    def split(self, val_fraction, seed=0, groups=None, stratify=False):
        """Return (train, val) readers; the same seed gives the same split.

        Samples are drawn singly. Where neighbors are alike (frames of a video, sections of a stack, slices of a
        patient) the val part is then easier than new data: name what belongs together by `groups`.

        Args:
            val_fraction: share of the samples that val holds, above 0 and below 1; about, if groups stay whole.
            seed: of the draw.
            groups: function of a sample's name, such as `lambda name: name[:6]`, or a list of one key a sample: all
                samples of one key come to one side.
            stratify: whether each side shall hold each class in about its share of samples (iterative
                stratification: Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10); reads every sample once.

        Raises:
            ValueError: fewer than two samples or groups, or a share out of range.
        """
        train, val = splits.split(self, val_fraction, seed, groups, stratify)
        return self.subset(train), self.subset(val)

    def k_fold(self, k, seed=0, groups=None, stratify=False):
        """Return a list of k (train, val) readers; every sample is in the val of one of them.

        Args:
            k: number of folds, at least 2.
            seed, groups, stratify: as of `split`.

        Raises:
            ValueError: fewer samples or groups than folds.
        """
        folds = splits.k_fold(self, k, seed, groups, stratify)
        return [(self.subset(train), self.subset(val)) for train, val in folds]

    def select(self, names):
        """Return a reader of the samples with these names, in this order.

        Args:
            names: list of names, or the path of a text file with one name a line (empty lines are left out).

        Raises:
            FileNotFoundError: there is no such list.
            ValueError: no name came, or names of no sample; they are told.
        """
        return self.subset(splits.positions(self, names))

    def tiles(self, size, overlap=0.0):
        """Return a reader of windows that cover every image: sliding crops, for images too large to take whole.

        Args:
            size: side of the windows in pixels, or (height, width). A smaller image is one window, as it is.
            overlap: share of a window that the next one covers again at least, at least 0 and below 1.

        Split before: windows of one image are alike, and with `overlap` they show the same pixels.
        """
        sides = (size, size) if np.ndim(size) == 0 else tuple(size)
        places = [
            (i, at, sides)
            for i, extent in enumerate(self.sizes)
            for at in window_corners(extent, size, overlap)
        ]
        return Tiles(self, places)

    def parts(self, size):
        """Return a reader of parts of every image, at most `size` pixels on a side, that do not overlap.

        To measure in: each pixel is in one part. An image that is not larger is one, as it is.
        """
        checks.positive_int("parts", "size", size)
        return Tiles(
            self,
            [(i, *part) for i, extent in enumerate(self.sizes) for part in parts(extent, size)],
        )

    def subset(self, indices):
        """Return a reader of the samples with these indices, in this order."""
        return Subset(self, indices)


class Subset(Reader):
    """Samples of another reader.

    Args:
        reader: a `Reader`.
        indices: which of its samples, in which order.
    """

    def __init__(self, reader, indices):
        self._reader, self._indices = reader, np.asarray(indices, int)
        self.mask_values, self.fields, self.palette = (
            reader.mask_values,
            reader.fields,
            reader.palette,
        )
        super().__init__(
            reader.class_names, reader.sizes[self._indices], reader.channels, reader.dtype
        )

    def __getitem__(self, index):
        return self._reader[int(self._indices[index])]

    def read(self, index, shrink=1):
        """Return a sample, smaller where asked; see `Reader.read`."""
        return self._reader.read(int(self._indices[index]), shrink)

    def name(self, index):
        """Return the sample's name in the other reader."""
        return self._reader.name(int(self._indices[index]))

    def version_key(self, index):
        """Return the sample's stamp in the other reader."""
        return self._reader.version_key(int(self._indices[index]))


class Tiles(Reader):
    """Windows of another reader's samples, see `Reader.tiles`; named by the sample and the window's corner.

    Args:
        reader: a `Reader`.
        places: list of (index of a sample, corner (y, x), size (height, width)).
    """

    def __init__(self, reader, places):
        self._reader, self._whole = reader, thread_safe_lru(reader.__getitem__, WHOLE_KEPT)
        self._places = places
        sizes = [np.minimum(size, reader.sizes[i] - corner) for i, corner, size in places]
        self.mask_values, self.fields, self.palette = (
            reader.mask_values,
            reader.fields,
            reader.palette,
        )
        super().__init__(reader.class_names, sizes, reader.channels, reader.dtype)

    def __getitem__(self, index):
        sample, corner, size = self._places[index]
        return window_of(self._whole(sample), corner, size)

    def name(self, index):
        """Return the sample's name, and the window's upper left corner as y and x."""
        sample, (y, x), _ = self._places[index]
        return f"{self._reader.name(sample)}/{y}_{x}"

    def version_key(self, index):
        """Return the whole sample's stamp."""
        return self._reader.version_key(self._places[index][0])


class Arrays(Reader):
    """Samples held in memory.

    Args:
        images: (N, H, W, C) or (N, H, W), or a list of (H, W, C) of any sizes.
        masks: (N, H, W) or (N, H, W, 1) integer class ids, or a list of such; 255 is ignored.
        class_names: names in the order of their ids.

    Raises:
        ValueError: images and masks do not fit each other, or images differ in channels or dtype.
    """

    def __init__(self, images, masks, class_names):
        images = [np.asarray(image) for image in images]
        self._images = [image[..., None] if image.ndim == 2 else image for image in images]
        self._masks = [
            integers(np.asarray(mask), f"mask {index}") for index, mask in enumerate(masks)
        ]
        if not self._images or len(self._images) != len(self._masks):
            raise ValueError(
                f"Arrays: {len(self._images)} images and {len(self._masks)} masks came."
            )
        for index, (image, mask) in enumerate(zip(self._images, self._masks, strict=True)):
            if image.shape[:2] != mask.shape:
                raise ValueError(
                    f"Arrays: image {index} is {image.shape[:2]}, its mask {mask.shape}."
                )
        first = self._images[0]
        for index, image in enumerate(self._images):
            if (image.shape[-1], image.dtype) != (first.shape[-1], first.dtype):
                raise ValueError(
                    f"Arrays: image {index} has {image.shape[-1]} channels of {image.dtype}, "
                    f"image 0 has {first.shape[-1]} of {first.dtype}. Bring them to one kind."
                )
        super().__init__(
            class_names, [mask.shape for mask in self._masks], first.shape[-1], first.dtype
        )
        self._table = {**identity(self.label_names), IGNORE_INDEX: IGNORE_INDEX}

    def __getitem__(self, index):
        mask = class_ids(self._masks[index], self._table, f"mask {index}")
        return {"image": self._images[index], "mask": mask}


def integers(mask, where):
    """Return (H, W) integers of a mask (H, W) or (H, W, 1) in memory, or raise a ValueError."""
    if mask.ndim == 3 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if mask.dtype == bool:
        return mask.astype(np.uint8)
    if mask.dtype.kind not in "iu":
        raise ValueError(f"{where} holds {mask.dtype}, not class ids. Convert it to integers.")
    return mask


def identity(names):
    """Return the table {value on disk: class id} of masks that hold ids."""
    return {class_id: class_id for class_id in range(len(names))}


def class_ids(values, table, where):
    """Translate a mask's values on disk to class ids by {value: id}.

    Raises:
        ValueError: values that are not in the table; `where` and the values are named.
    """
    if values.dtype == np.uint8:
        return _translated_bytes(values, table, where)
    _require_known(np.unique(values), table, where)
    on_disk = np.array(sorted(table))
    return np.array([table[value] for value in on_disk.tolist()], np.uint8)[
        np.searchsorted(on_disk, values)
    ]


def _translated_bytes(values, table, where):
    # As bytes: ten times as fast as counting and indexing, which took longer than to decode the file.
    raw = bytearray(np.ascontiguousarray(values))
    known = [value for value in table if 0 <= value <= 255]
    if raw.translate(None, bytes(known)):  # what is left when all that is known is deleted
        _require_known(np.unique(values), table, where)
    lookup = bytearray(256)
    for value in known:
        lookup[value] = table[value]
    return np.frombuffer(raw.translate(lookup), np.uint8).reshape(values.shape)


def _require_known(found, table, where):
    unknown = [value for value in found.tolist() if value not in table]
    if not unknown:
        return
    names = {True: [], False: []}  # of the values that are ignored, and of those of classes
    for value in sorted(table):
        names[table[value] == IGNORE_INDEX].append(str(value))
    ignored = [name for name in names[True] if int(name) >= 0]
    raise ValueError(
        f"{where} holds the value{'s' if len(unknown) > 1 else ''} {', '.join(map(str, unknown[:8]))}"
        f"{' ...' if len(unknown) > 8 else ''}, which stand{'s' * (len(unknown) == 1)} for no "
        f"class (classes: {', '.join(names[False])}; "
        f"ignored: {', '.join(ignored) or 'none'}). {IMAGE_REMEDY if len(unknown) > 8 else VALUE_REMEDY}"
    )


def format_problems(problems, most=8):
    """Join problems, one a line, naming at most `most`."""
    remedies = [
        remedy
        for remedy in (VALUE_REMEDY, IMAGE_REMEDY)
        if any(remedy in text for text in problems)
    ]
    if len(problems) > 1:  # once is enough
        for remedy in remedies:
            problems = [text.replace(f" {remedy}", "") for text in problems]
    more = f"\n  ... and {len(problems) - most} more" if len(problems) > most else ""
    head = f"{len(problems)} problems:\n  " if len(problems) > 1 else ""
    remedy = "".join(f"\n{remedy}" for remedy in remedies) if len(problems) > 1 else ""
    return head + "\n  ".join(problems[:most]) + more + remedy
