"""Readers: where samples come from. `reader[i]` is a dict of arrays, ready for the pipeline."""

import numpy as np

from tfseg.checks import IGNORE_INDEX


def label_names(class_names):
    """Return the names of the ids 0, 1, ... in masks: a single class has "background" before it."""
    return list(class_names) if len(class_names) > 1 else ["background", *class_names]


VALUE_REMEDY = "Name more classes, say which value to ignore (`--ignore`), or correct the mask."
PICTURE_REMEDY = (
    "So many values are those of a picture, if images and masks are swapped, or of numbered objects: "
    "give every pixel the id of its class, such as (objects > 0) for one class."
)


class Reader:
    """Samples with classes: a sequence of dicts of arrays.

    "image" (H, W, C) is always there; `fields` tells which of the others are:

    - "mask" (H, W) uint8: class ids in [0, num_classes) and `ignore_index` (255), whatever was on disk.
    - "instances" (H, W) int32: 0 where there is no object, k on the k-th of the sample's N objects. Where objects
      overlap the smaller lies on top.
    - "boxes" (N, 4) float32: x_min, y_min, x_max, y_max of the objects in pixels, the picture reaching from 0 to
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
        palette: (C, 3) uint8 RGB colours of `label_names` as the data set's makers show them; None if they say none.
        mask_values: {value on disk: class id}; None for masks in memory.
    """

    ignore_index = IGNORE_INDEX
    fields = ("image", "mask")
    palette = None
    mask_values = None

    def __init__(self, class_names, sizes, channels, dtype):
        self.class_names = [str(name) for name in class_names]
        if not 1 <= len(self.class_names) <= IGNORE_INDEX:
            raise ValueError(f"class_names: {len(self.class_names)} names came; name 1 to {IGNORE_INDEX} classes.")
        if not all(self.class_names):
            raise ValueError(f"class_names: {self.class_names} holds an empty name. Name every class, or drop a comma.")
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError(f"class_names: {', '.join(self.class_names)} names a class twice.")
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

    def __getitem__(self, index):
        raise NotImplementedError

    def name(self, index):
        """Return a name for the sample, unique in the reader."""
        return str(index)

    def split(self, val_fraction, seed=0):
        """Return (train, val) readers; the same seed gives the same split.

        Samples are drawn singly. Where neighbours are alike (frames of a video, sections of a stack) the val
        part is then easier than new data: keep such groups together with folders of their own, or `take`.
        """
        if not 0 < val_fraction < 1 or len(self) < 2:
            raise ValueError(
                f"split: val_fraction={val_fraction} of {len(self)} samples came. At least two samples are needed, "
                "and a share above 0 and below 1."
            )
        order = np.random.default_rng(seed).permutation(len(self))
        count = min(max(1, round(val_fraction * len(self))), len(self) - 1)
        return self.take(np.sort(order[count:])), self.take(np.sort(order[:count]))

    def take(self, indices):
        """Return a reader of the samples with these indices, in this order."""
        return _Taken(self, indices)


class _Taken(Reader):
    def __init__(self, reader, indices):
        self._reader, self._indices = reader, np.asarray(indices, int)
        self.mask_values, self.fields, self.palette = reader.mask_values, reader.fields, reader.palette
        super().__init__(reader.class_names, reader.sizes[self._indices], reader.channels, reader.dtype)

    def __getitem__(self, index):
        return self._reader[int(self._indices[index])]

    def name(self, index):
        return self._reader.name(int(self._indices[index]))


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
        self._masks = [integers(np.asarray(mask), f"mask {index}") for index, mask in enumerate(masks)]
        if not self._images or len(self._images) != len(self._masks):
            raise ValueError(f"Arrays: {len(self._images)} images and {len(self._masks)} masks came.")
        for index, (image, mask) in enumerate(zip(self._images, self._masks, strict=True)):
            if image.shape[:2] != mask.shape:
                raise ValueError(f"Arrays: image {index} is {image.shape[:2]}, its mask {mask.shape}.")
        first = self._images[0]
        for index, image in enumerate(self._images):
            if (image.shape[-1], image.dtype) != (first.shape[-1], first.dtype):
                raise ValueError(
                    f"Arrays: image {index} has {image.shape[-1]} channels of {image.dtype}, "
                    f"image 0 has {first.shape[-1]} of {first.dtype}. Bring them to one kind."
                )
        super().__init__(class_names, [mask.shape for mask in self._masks], first.shape[-1], first.dtype)
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
    """Translate a mask's values on disk to class ids by {value: id}."""
    if values.dtype == np.uint8:
        found = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    else:
        found = np.unique(values)
    unknown = [value for value in found.tolist() if value not in table]
    if unknown:
        known = ", ".join(str(value) for value in sorted(table) if table[value] != IGNORE_INDEX)
        ignored = (
            ", ".join(str(value) for value in sorted(table) if table[value] == IGNORE_INDEX and value >= 0) or "none"
        )
        raise ValueError(
            f"{where} holds the value{'s' if len(unknown) > 1 else ''} {', '.join(map(str, unknown[:8]))}"
            f"{' ...' if len(unknown) > 8 else ''}, which stand for no class (classes: {known}; ignored: {ignored}). "
            f"{PICTURE_REMEDY if len(unknown) > 8 else VALUE_REMEDY}"
        )
    if values.dtype != np.uint8:
        on_disk = np.array(sorted(table))
        return np.array([table[value] for value in on_disk.tolist()], np.uint8)[np.searchsorted(on_disk, values)]
    lookup = np.full(256, IGNORE_INDEX, np.uint8)
    for value in found.tolist():
        lookup[value] = table[value]
    return lookup[values]


def listed(problems, most=8):
    """Join problems, one a line, naming at most `most`."""
    remedies = [remedy for remedy in (VALUE_REMEDY, PICTURE_REMEDY) if any(remedy in text for text in problems)]
    if len(problems) > 1:  # once is enough
        for remedy in remedies:
            problems = [text.replace(f" {remedy}", "") for text in problems]
    more = f"\n  ... and {len(problems) - most} more" if len(problems) > most else ""
    head = f"{len(problems)} problems:\n  " if len(problems) > 1 else ""
    remedy = "".join(f"\n{remedy}" for remedy in remedies) if len(problems) > 1 else ""
    return head + "\n  ".join(problems[:most]) + more + remedy
