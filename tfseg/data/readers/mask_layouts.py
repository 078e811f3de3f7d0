"""Ways in which the masks of a folder belong to its images."""

import itertools
import re
from collections import Counter, defaultdict
from pathlib import Path

from tfseg.data.readers.image_listing import (
    by_stem,
    image_files,
    images_of_dataset,
    subfolders_with_images,
)
from tfseg.data.readers.pairing import pair_by_stem
from tfseg.data.readers.pillow_files import SUFFIXES
from tfseg.data.readers.problems import first_few


def pair_files(images, masks, class_names, recursive: bool, mask_suffix: str | None):
    """Find the masks of every image.

    Args:
        images, masks: folders.
        class_names: names of the class ids in the masks.
        recursive: whether to read subfolders, too.
        mask_suffix: what the names of masks have after those of images; None for nothing.

    Returns:
        files: {name: (image, tuple of its masks)}, sorted by name.
        has_class_folders: whether the masks are in one folder per class.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: images without a mask, or masks without an image.
    """
    images, masks = Path(images), Path(masks)
    if mask_suffix:
        return _pair_by_suffix(images, masks, recursive, mask_suffix), False
    require_two_folders(images, masks, recursive)
    if recursive:
        found = by_stem(images_of_dataset(images, masks, recursive), images)
        labels = by_stem(image_files(masks, recursive), masks)
        return _pair(found, {stem: (file,) for stem, file in labels.items()}), False
    found = by_stem(images_of_dataset(images, masks))
    subfolders = only_subfolders(masks)
    if subfolders:
        return _pair_with_subfolders(found, masks, subfolders, class_names)
    labels = by_stem(image_files(masks))
    return _pair(found, {stem: (file,) for stem, file in labels.items()}), False


def _pair_with_subfolders(images, masks, subfolders, class_names):
    """Pair images with the masks in one folder per class, or in one folder per image.

    Args:
        images: {name: image}.
        masks, subfolders: the folder, and those in it.
        class_names: names of the class ids in the masks.

    Returns:
        see `pair_files`.
    """
    names = {path.name for path in subfolders}
    if names <= set(class_names):
        return _pair(images, _by_class(subfolders)), True
    if names <= set(images):
        masks = {path.name: tuple(image_files(path)) for path in subfolders}
        return _pair(images, masks), False
    raise FileNotFoundError(
        f"Folder: '{masks}' contains no image, but the folders {first_few(sorted(names))}. "
        f"Expected folders with the names of classes ({first_few(class_names)}) or of images "
        f"({first_few(images)}), or recursive=True (`--recursive`) for images in such folders."
    )


def _pair(images, masks):
    """Return {name: (image, masks)} of {name: image} and {name: tuple of masks}."""
    pair_by_stem(images, {stem: files[0] for stem, files in masks.items()})
    return {stem: (file, _by_number(masks[stem])) for stem, file in images.items()}


def _by_number(masks):
    """Sort the masks of an image: mask_2 before mask_10; later ones are on top."""
    # every second part is a number, so that texts are compared with texts
    key = {path: re.split(r"([0-9]+)", path.stem) for path in masks}
    for parts in key.values():
        parts[1::2] = map(int, parts[1::2])
    return tuple(sorted(masks, key=key.get))


def only_subfolders(folder: Path) -> list[Path]:
    """Return the subfolders with images of a folder without images of its own, else none."""
    if not folder.is_dir():
        return []
    for path in folder.iterdir():
        is_image = path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")
        if is_image and not path.is_dir():
            return []
    return subfolders_with_images(folder)


def _by_class(subfolders):
    """Return {name: masks} of one folder of masks per class."""
    masks = defaultdict(tuple)
    for folder in subfolders:
        for stem, file in by_stem(image_files(folder)).items():
            masks[stem] += (file,)
    return dict(masks)


def _pair_by_suffix(images, masks, recursive, mask_suffix):
    """Pair "leaf0" with "leaf0_mask", "leaf0_mask_1", ..., in one folder or in two."""
    is_mask = re.compile(re.escape(mask_suffix) + r"([ _-]?\d+)?$")
    same = images.resolve() == masks.resolve()
    root = images if recursive else None
    found = by_stem(images_of_dataset(images, masks, recursive), root)
    if same:
        found = {stem: file for stem, file in found.items() if not is_mask.search(stem)}
    labels = defaultdict(tuple)
    for stem, file in by_stem(image_files(masks, recursive), masks if recursive else None).items():
        match = is_mask.search(stem)
        if match:
            labels[stem[: match.start()]] += (file,)
        elif not same:
            labels[stem] += (file,)
    if not found or not labels:
        raise FileNotFoundError(
            f"Folder: '{masks}' contains no {'image' if labels else 'mask'} beside those whose "
            f"names end in mask_suffix={mask_suffix!r}. Check the suffix."
        )
    return _pair(found, labels)


def require_two_folders(images: Path, masks: Path, recursive: bool = False) -> None:
    """Raise a ValueError if images and masks are in the same folder."""
    if not images.is_dir() or images.resolve() != masks.resolve():
        return
    stems = sorted(by_stem(image_files(images, recursive), images if recursive else None))
    endings = Counter(
        longer[len(stem) :]
        for stem, longer in itertools.pairwise(stems)
        if longer.startswith(stem) and not longer[len(stem)].isdigit()
    )
    suffix = endings.most_common(1)[0][0] if endings else "_mask"
    raise ValueError(
        f"Folder: images and masks are the same folder '{images}'. If the names of masks end in "
        f"{suffix!r}, pass mask_suffix={suffix!r} (`--mask-suffix`); or move the masks to a folder "
        "of their own."
    )
