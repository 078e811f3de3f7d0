"""The reader of images and masks in memory."""

import warnings
from collections.abc import Sequence

import numpy as np

from tfseg.data.readers.base import Reader
from tfseg.data.readers.mask_values import (
    as_integers,
    check_ids,
    identity_table,
    single_class_warning,
    to_class_ids,
)


class Arrays(Reader):
    """Images and masks in memory.

    Args:
        images: (N, H, W, C) or (N, H, W), or a list of (H, W, C) of any sizes.
        masks: (N, H, W) or (N, H, W, 1) integer class ids, or a list of such; 255 is ignored, or
            65535 with more than 255 classes.
        class_names: names in the order of their ids.
        mask_values: {value in the masks: class id}, such as `{0: 0, 255: 1}` for masks of 0 and
            255. None if the values are class ids.

    Raises:
        ValueError: images and masks do not match, or images differ in channels or dtype. When a
            sample is read: its mask contains values that map to no class.

    Warns:
        UserWarning: the masks contain a single class and ignored pixels, such as 0 and 255 without
            `mask_values`: nothing could be learned from them.

    Example:
        >>> import numpy as np, tfseg
        >>> images = np.zeros((5, 32, 48, 3), np.uint8)
        >>> masks = np.zeros((5, 32, 48), np.uint8)
        >>> tfseg.data.Arrays(images, masks, ["background", "cell"])
        <Arrays: 5 samples of image, mask; 3 channels of uint8; 2 classes: background, cell>
    """

    def __init__(
        self,
        images,
        masks,
        class_names: Sequence[str],
        mask_values: dict[int, int] | None = None,
    ):
        images = [np.asarray(image) for image in images]
        self._images = [image[..., None] if image.ndim == 2 else image for image in images]
        self._masks = [
            as_integers(np.asarray(mask), f"mask {index}") for index, mask in enumerate(masks)
        ]
        _check_pairs(self._images, self._masks)
        _check_alike(self._images)
        first = self._images[0]
        sizes = [mask.shape for mask in self._masks]
        super().__init__(class_names, sizes, first.shape[-1], first.dtype)
        if mask_values is not None:
            check_ids("Arrays", self.label_names, mask_values)
        table = identity_table(self.label_names) if mask_values is None else mask_values
        self._table = {self.ignore_index: self.ignore_index, **table}
        if mask_values is None:
            warning = single_class_warning("Arrays", self._masks, self.label_names)
            if warning is not None:
                warnings.warn(warning, stacklevel=2)

    def __getitem__(self, index: int) -> dict:
        mask = to_class_ids(self._masks[index], self._table, f"mask {index}")
        return {"image": self._images[index], "mask": mask}


def _check_pairs(images, masks):
    """Raise a ValueError unless there is a mask of the same size for each image."""
    if not images or len(images) != len(masks):
        raise ValueError(
            f"Arrays: got {len(images)} images and {len(masks)} masks, expected one mask per image."
        )
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        if image.shape[:2] != mask.shape:
            raise ValueError(
                f"Arrays: image {index} has size {image.shape[:2]}, but its mask {mask.shape}. "
                "Give masks (H, W) of the size of their images."
            )


def _check_alike(images):
    """Raise a ValueError unless all images have the channels and dtype of the first."""
    first = images[0]
    for index, image in enumerate(images):
        if (image.shape[-1], image.dtype) != (first.shape[-1], first.dtype):
            raise ValueError(
                f"Arrays: image {index} has {image.shape[-1]} channels of {image.dtype}, but "
                f"image 0 has {first.shape[-1]} of {first.dtype}. Convert all images to the same "
                "kind."
            )
