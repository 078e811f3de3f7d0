"""What a dataset folder is for: its images, its labels, and the task that suits them."""

from pathlib import Path

from tfseg.data import find_folders
from tfseg.data.readers.mask_layouts import only_subfolders
from tfseg.data.readers.open_objects import open_objects
from tfseg.data.readers.pillow_files import SUFFIXES

ANNOTATIONS = (".json", ".xml")
IMAGE_FOLDERS = ("images", "image", "imgs", "photos", "JPEGImages")


def find_data(root: str | Path) -> tuple[Path, Path]:
    """Find the images and the labels of a dataset's folder by their usual names.

    Args:
        root: folder that contains a folder of images, and a folder of masks or labels, a single
            JSON file, or the layout of Pascal VOC.

    Returns:
        (folder of images, folder or file of masks or labels).

    Raises:
        FileNotFoundError: there are none; the message lists the usual names.

    Example:
        >>> images, labels = find_data(".")
        >>> images.name, labels.name
        ('photos', 'labels')
    """
    root = Path(root)
    try:
        return find_folders(root)
    except FileNotFoundError:
        images = next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), None)
        files = sorted(root.glob("*.json"))
        if images is not None and len(files) == 1:
            return images, files[0]
        if images is not None and (root / "ImageSets").is_dir():
            return images, root
        raise


def find_validation(images: str | Path, labels: str | Path) -> tuple[Path, Path] | None:
    """Return the folders to validate on beside those to train on, such as `val` and `valannot`.

    Args:
        images, labels: folders to train on; the names of both begin with "train".

    Returns:
        (images, labels), or None if there are none.
    """
    folders = Path(images), Path(labels)
    if not all(folder.name.startswith("train") for folder in folders):
        return None
    others = [folder.with_name(f"val{folder.name.removeprefix('train')}") for folder in folders]
    return tuple(others) if all(folder.is_dir() for folder in others) else None


def guess_task(images: str | Path, labels: str | Path) -> str:
    """Return the task that labels are for: "semantic", "instances" or "detect".

    Masks in image files are for "semantic", also if they number objects: `guess_classes` finds
    that. Other labels are for "instances" if they have outlines or masks of the objects.

    Args:
        images: folder of images.
        labels: folder or file.

    Raises:
        FileNotFoundError, ValueError: they are not labels; see `open_objects`.
    """
    if _has_masks(Path(images), Path(labels)):
        return "semantic"
    reader = open_objects(images, labels, "detect")
    return "instances" if "instances" in reader.fields else "detect"


def _has_masks(images, labels):
    """Return whether labels are a folder of image files, also in subfolders, and nothing else."""
    if not labels.is_dir() or labels.resolve() == images.resolve():
        return False
    suffixes = {path.suffix.lower() for path in labels.iterdir() if path.is_file()}
    if suffixes.intersection(ANNOTATIONS) or (labels / "ImageSets").is_dir():
        return False
    return bool(suffixes.intersection(SUFFIXES) or only_subfolders(labels))
