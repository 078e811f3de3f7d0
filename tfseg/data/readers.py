"""Readers: where samples come from. `reader[i]` is a dict with "image" and "mask", ready for the pipeline."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfseg.checks import IGNORE_INDEX
from tfseg.data.files import picture_files, read_header, read_image, read_mask


def label_names(class_names):
    """Return the names of the ids 0, 1, ... in masks: a single class has "background" before it."""
    return list(class_names) if len(class_names) > 1 else ["background", *class_names]


VALUE_REMEDY = "Name more classes, say which value to ignore (`--ignore`), or correct the mask."
PICTURE_REMEDY = (
    "So many values are those of a picture, if images and masks are swapped, or of numbered objects: "
    "give every pixel the id of its class, such as (objects > 0) for one class."
)


class Reader:
    """Samples with classes: a sequence of {"image": (H, W, C), "mask": (H, W) uint8}.

    Masks hold class ids in [0, num_classes) and `ignore_index` (255), whatever was on disk. With a single
    class name they hold 0, the background, and 1, the class.

    Attributes:
        class_names: list of names, in the order of their ids.
        sizes: (N, 2) int array of heights and widths.
        channels: C.
        dtype: NumPy dtype of the images.
        mask_values: {value on disk: class id}; None for masks in memory.
    """

    ignore_index = IGNORE_INDEX
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
        self.mask_values = reader.mask_values
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
        self._masks = [_integers(np.asarray(mask), f"mask {index}") for index, mask in enumerate(masks)]
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
        self._table = {**_identity(self.label_names), IGNORE_INDEX: IGNORE_INDEX}

    def __getitem__(self, index):
        mask = _class_ids(self._masks[index], self._table, f"mask {index}")
        return {"image": self._images[index], "mask": mask}


class Folder(Reader):
    """A folder of pictures and a folder of masks, paired by file name without suffix.

    Opens the header of every file, so that files that cannot belong together are found at once.

    Args:
        images: folder of pictures (PNG, JPEG, BMP, TIFF, WebP; grey, RGB, RGBA or palette of 8 bit, grey of 16).
        masks: folder of masks (PNG, BMP, TIFF): class ids as grey levels or palette indices.
        class_names: names in the order of their ids.
        ignore: the value on disk of pixels without a label, translated to 255; -1 for none.
        mask_values: {value on disk: class id}, which go before `ignore`; or None: values are ids, except that
            masks of two classes that hold nothing but 0 and 255 are read as 0 and 1.
        channels: 1 or 3 to read all pictures as grey or RGB; None for RGB if any is in colour.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: pictures without a mask or the reverse, or sizes that differ; every such file is named.
        OSError: a file is no picture.
    """

    def __init__(self, images, masks, class_names, ignore=IGNORE_INDEX, mask_values=None, channels=None):
        self._files = _pairs(Path(images), Path(masks))
        with ThreadPoolExecutor() as pool:
            headers = list(pool.map(_headers, self._files))
        problems = [header for header in headers if isinstance(header, str)]
        if problems:
            raise ValueError(listed(problems))
        channels = channels or max(header[2] for header in headers)
        eight_bit = all(header[3] for header in headers)
        super().__init__(
            class_names, [header[:2] for header in headers], channels, np.uint8 if eight_bit else np.float32
        )
        if mask_values is None and len(self.label_names) == 2 and self._holds_0_and_255():
            mask_values = {0: 0, 255: 1}
        ids = {value: class_id for value, class_id in _identity(self.label_names).items() if value != ignore}
        self.mask_values = mask_values or ids
        self._table = {ignore: IGNORE_INDEX, **self.mask_values}

    def __getitem__(self, index):
        image, mask = self._files[index]
        mask = _class_ids(read_mask(mask), self._table, mask)
        return {"image": read_image(image, self.channels).astype(self.dtype, copy=False), "mask": mask}

    def name(self, index):
        """Return the picture's file name without its suffix."""
        return self._files[index][0].stem

    def _holds_0_and_255(self):
        # Two classes of which only the first is ever drawn make no data set: 255 must be the other one.
        # All masks are looked at, for the first of them may be empty; ids 0 and 1 end the search early.
        seen = set()
        for _, mask in self._files:
            try:
                seen |= set(np.unique(read_mask(mask)).tolist())
            except (OSError, ValueError):
                continue  # `check` tells of it, and of all others
            if not seen <= {0, 255}:
                return False
        return 255 in seen


def _pairs(images, masks):
    """List (picture, mask) by file stem."""
    by_stem = [_by_stem(picture_files(folder)) for folder in (images, masks)]
    problems = [f"{path} has no mask '{stem}.png' in {masks}" for stem, path in _only(*by_stem)]
    problems += [f"{path} has no picture '{stem}' in {images}" for stem, path in _only(*by_stem[::-1])]
    if problems:
        remedy = "\nA mask has the name of its picture: rename or add the missing files, or remove the spare ones."
        raise ValueError(listed(problems) + remedy)
    return [(path, by_stem[1][stem]) for stem, path in by_stem[0].items()]


def _by_stem(files):
    found = {}
    for path in files:
        if path.stem in found:
            raise ValueError(f"{found[path.stem]} and {path} bear the same name. Keep one of them.")
        found[path.stem] = path
    return found


def _only(first, second):
    return [(stem, path) for stem, path in first.items() if stem not in second]


def _headers(pair):
    """Return the picture's header, or what is wrong with the pair."""
    try:
        image, mask = (read_header(path) for path in pair)
    except (OSError, ValueError) as error:
        return str(error)
    if image[:2] != mask[:2]:
        sizes = [f"{path} is {width} x {height}" for path, (height, width, *_) in zip(pair, (image, mask), strict=True)]
        return f"{', but its mask '.join(sizes)} pixels. Resize the mask with nearest neighbour, or label again."
    return image


def _integers(mask, where):
    if mask.ndim == 3 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if mask.dtype == bool:
        return mask.astype(np.uint8)
    if mask.dtype.kind not in "iu":
        raise ValueError(f"{where} holds {mask.dtype}, not class ids. Convert it to integers.")
    return mask


def _identity(names):
    return {class_id: class_id for class_id in range(len(names))}


def _class_ids(values, table, where):
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
