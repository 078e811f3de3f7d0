"""The reader of a folder of pictures and a folder of masks."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfseg.checks import IGNORE_INDEX
from tfseg.data.files import picture_files, read_header, read_image, read_mask
from tfseg.data.readers import Reader, class_ids, identity, listed


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
        ids = {value: class_id for value, class_id in identity(self.label_names).items() if value != ignore}
        self.mask_values = mask_values or ids
        self._table = {ignore: IGNORE_INDEX, **self.mask_values}

    def __getitem__(self, index):
        image, mask = self._files[index]
        mask = class_ids(read_mask(mask), self._table, mask)
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
