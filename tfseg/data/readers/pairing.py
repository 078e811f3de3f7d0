"""Pair images with masks by file name, and check that their headers match."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tfseg.data.readers.image_files import read_header
from tfseg.data.readers.problems import format_problems


def pair_by_stem(images, masks, kind: str = "image", image_suffix="", mask_suffix=".png"):
    """Pair images with the masks of the same name.

    Args:
        images: {name without suffix: file}, of one folder.
        masks: the same of another folder.
        kind: what the errors call an image.
        image_suffix, mask_suffix: of the missing files that the errors name.

    Returns:
        list of (image, mask) in the order of the images.

    Raises:
        ValueError: images without a mask, or masks without an image; every one is named.
    """
    image_folder = next(iter(images.values())).parent
    mask_folder = next(iter(masks.values())).parent
    problems = [
        f"{file} has no mask '{stem}{mask_suffix}' in {mask_folder}"
        for stem, file in images.items()
        if stem not in masks
    ]
    problems += [
        f"{file} has no {kind} '{stem}{image_suffix}' in {image_folder}"
        for stem, file in masks.items()
        if stem not in images
    ]
    if problems:
        raise ValueError(
            f"{format_problems(problems)}\nA mask has the name of its {kind}: rename or add the "
            "missing files, or remove the others."
        )
    return [(file, masks[stem]) for stem, file in images.items()]


def read_headers(files):
    """Open the headers of images and of the masks that belong to them.

    Args:
        files: list of (image, mask, ...), any number of masks of the size of their image.

    Returns:
        sizes: list of (height, width).
        channels: 3 if any image is in color, else 1.
        dtype: uint8 if all images have 8 bit, else float32.

    Raises:
        ValueError: files that are not images, or masks of another size; every one is named.
    """
    with ThreadPoolExecutor() as pool:
        headers = list(pool.map(_header, files))
    problems = [header for header in headers if isinstance(header, str)]
    if problems:
        raise ValueError(format_problems(problems))
    sizes = [(height, width) for height, width, _, _ in headers]
    channels = max(channels for _, _, channels, _ in headers)
    all_8_bit = all(is_8_bit for _, _, _, is_8_bit in headers)
    return sizes, channels, np.uint8 if all_8_bit else np.float32


def _header(files):
    """Return an image's header, or a sentence about what is wrong with it or with its masks."""
    try:
        headers = [read_header(file) for file in files]
    except (OSError, ValueError) as error:
        return str(error)
    height, width = headers[0][:2]
    for mask, (mask_height, mask_width, _, _) in zip(files[1:], headers[1:], strict=True):
        if (height, width) != (mask_height, mask_width):
            return (
                f"{files[0]} is {width} x {height}, but its mask {mask} is {mask_width} x "
                f"{mask_height} pixels. Resize the mask with nearest neighbor, or label again."
            )
    return headers[0]
