"""Open labels of objects in any of the usual formats, by what a path contains."""

from collections.abc import Sequence
from pathlib import Path

from tfseg import checks
from tfseg.checks import is_background
from tfseg.data.readers.base import Reader
from tfseg.data.readers.file_names import is_hidden
from tfseg.data.readers.formats import Coco, CocoPanoptic, LabelMe, Voc, VocXml, Yolo
from tfseg.data.readers.formats.labelme_file import is_labelme
from tfseg.data.readers.formats.voc import LISTS as VOC_LISTS
from tfseg.data.readers.instance_masks import InstanceMasks
from tfseg.data.readers.other_formats import layout_hint, other_format
from tfseg.data.readers.pillow_files import SUFFIXES
from tfseg.data.readers.problems import first_few
from tfseg.data.readers.text_files import read_lines

TASKS = ("detect", "instances")
YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "config.yaml")
PANOPTIC_KEY = b'"segments_info"'
NAME_FILES = ("classes.txt", "obj.names")
LOOKED_FOR = (
    "a COCO file (.json), alone in its folder or named directly, also a panoptic one",
    "a folder in the layout of Pascal VOC (ImageSets with Annotations or SegmentationObject), or "
    "of its XML files",
    "a folder of YOLO text files with data.yaml, classes.txt or class_names; or that data.yaml",
    "a folder of LabelMe files (.json, one per image)",
    "a folder of PNG or TIFF masks of numbered objects",
)


def open_objects(
    images: str | Path,
    labels: str | Path,
    task: str = "detect",
    class_names: Sequence[str] | None = None,
    split: str = "train",
) -> Reader:
    """Open images and labels of objects, whatever their format.

    Args:
        images: folder of images.
        labels: a COCO file; a panoptic COCO file, whose PNG files are beside it or in the folder
            of its name; a folder in the layout of Pascal VOC, whose own images are read; a folder
            of VOC's XML files; a folder of YOLO text files, a folder that contains it, or its
            data.yaml; a folder of LabelMe files; or a folder of masks of numbered objects.
        task: "detect" needs boxes; "instances" needs a mask of every object.
        class_names: names of the object categories in the order of their ids, with or without the
            background at the front; of a panoptic file those of the stuff, too. None for those of
            the labels ("object" for masks of numbered objects). Pass `train.label_names` for
            validation data.
        split: list of names in the layout of Pascal VOC, such as "train" or "val".

    Returns:
        A reader of the format: `Coco`, `CocoPanoptic`, `Voc`, `VocXml`, `Yolo`, `LabelMe` or
        `InstanceMasks`.

    Raises:
        FileNotFoundError: a path is missing, or contains nothing of these formats; the message
            lists what was looked for.
        ValueError: the labels have boxes only, but the task is "instances"; or see the reader.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.open_objects("photos", "labels", "instances", ["leaf"])
        >>> reader
        <InstanceMasks: 4 samples of image, mask, instances, boxes, classes, crowd, areas; 3 \
channels of uint8; 2 classes: background, leaf>
    """
    checks.one_of("open_objects", "task", task, TASKS)
    images, labels = Path(images), Path(labels)
    if not labels.exists():
        raise FileNotFoundError(f"There is no '{labels}'. Check the path.")
    names = None if class_names is None else list(class_names)
    panoptic = _panoptic_file(labels)
    if panoptic is not None:
        return _open_panoptic(images, panoptic, names)
    if names and is_background(names[0]):
        names = names[1:]
    reader = _open_file(images, labels, names) if labels.is_file() else None
    if reader is None and labels.is_dir():
        reader = _open_folder(images, labels, task, names, split)
    if reader is None:
        raise FileNotFoundError(_nothing_found(labels))
    if task == "instances" and "instances" not in reader.fields:
        raise ValueError(
            f"open_objects: task='instances' needs a mask of every object, but {labels} has only "
            "boxes. Pass task='detect', or labels with polygons or masks."
        )
    return reader


def has_voc_list(labels: str | Path, task: str, split: str) -> bool:
    """Return whether labels are in the layout of Pascal VOC, with a list of names for a split."""
    folder = Path(labels)
    lists = folder / "ImageSets" / VOC_LISTS[_voc_task(folder, task)]
    return (lists / f"{split}.txt").is_file()


def _panoptic_file(labels):
    """Return the panoptic COCO file that labels are, or that is alone in their folder; or None."""
    files = [labels] if labels.is_file() else sorted(labels.iterdir())
    files = [path for path in files if path.suffix.lower() == ".json" and not is_hidden(path)]
    return files[0] if len(files) == 1 and PANOPTIC_KEY in files[0].read_bytes() else None


def _open_panoptic(images, path, names):
    folder = path.with_suffix("")
    return CocoPanoptic(images, folder if folder.is_dir() else path.parent, path, names)


def _open_file(images, path, names):
    if path.suffix.lower() == ".json":
        return Coco(images, path, class_names=names)
    if path.suffix.lower() in (".yaml", ".yml"):
        return _open_yolo(images, _text_folder(images, path.parent), names or path)
    return None


def _open_folder(images, folder, task, names, split):
    if (folder / "ImageSets").is_dir():
        return _open_voc(folder, task, names, split)
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not is_hidden(path)]
    by_suffix = {}
    for path in files:
        by_suffix.setdefault(path.suffix.lower(), []).append(path)
    if ".xml" in by_suffix:
        return VocXml(images, folder, names)
    if ".json" in by_suffix:
        return _open_json(images, folder, by_suffix[".json"], names)
    texts = _text_folder(images, folder)
    if texts is not None:
        return _open_yolo(images, texts, names or _names_beside(texts, folder, images))
    if any(suffix in by_suffix for suffix in SUFFIXES) and folder.resolve() != images.resolve():
        return InstanceMasks(images, folder, names or ["object"])
    return None


def _open_voc(folder, task, names, split):
    if task == "instances" and not (folder / "SegmentationObject").is_dir():
        raise ValueError(
            f"open_objects: task='instances' needs '{folder / 'SegmentationObject'}', which "
            "does not exist. Pass task='detect' for boxes."
        )
    return Voc(folder, split, _voc_task(folder, task), names)


def _voc_task(folder, task):
    """Return the task of `Voc`: masks for instances, else the XML files if there are any."""
    has_boxes = (folder / "Annotations").is_dir()
    return "detection" if task == "detect" and has_boxes else "segmentation"


def _open_json(images, folder, files, names):
    """Open a folder of LabelMe files, or one with a single COCO file; None for others."""
    if any(is_labelme(path) for path in files):
        return LabelMe(images, folder, names)
    if len(files) == 1:
        return Coco(images, files[0], class_names=names)
    kinds = {other_format(path) or "unknown." for path in files}
    raise ValueError(
        f"open_objects: '{folder}' contains {len(files)} JSON files ({first_few(files, 3)}): "
        f"{first_few(sorted(kinds), 2)} Pass one COCO file, or a folder of LabelMe files."
    )


def _text_folder(images, folder):
    """Return the folder with YOLO's text files: the folder itself, or one below it; or None."""
    candidates = [folder]
    parts = images.parts
    if "images" in parts:  # datasets have images/train beside labels/train
        last = len(parts) - 1 - parts[::-1].index("images")
        candidates.append(Path(*parts[:last], "labels", *parts[last + 1 :]))
    candidates += [folder / "labels" / images.name, folder / "labels"]
    for candidate in candidates:
        if candidate.is_dir() and any(_is_label_text(path) for path in candidate.iterdir()):
            return candidate
    return None


def _is_label_text(path):
    return path.suffix.lower() == ".txt" and path.name not in NAME_FILES and not is_hidden(path)


def _names_beside(texts, folder, images):
    """Return the class names of YOLO labels: a YAML file, or a list of names."""
    places = dict.fromkeys([folder, texts, texts.parent, texts.parent.parent, images.parent])
    for place in places:
        for name in YAML_NAMES:
            if (place / name).is_file():
                return place / name
    for place in places:
        for name in NAME_FILES:
            if (place / name).is_file():
                lines = [line.strip() for line in read_lines(place / name)]
                return [line for line in lines if line]
    raise FileNotFoundError(
        f"open_objects: the YOLO labels in '{texts}' have no class names: there is no "
        f"{', '.join((*YAML_NAMES, *NAME_FILES))} in {', '.join(map(str, places))}. Pass "
        "class_names."
    )


def _open_yolo(images, texts, names):
    if texts is None:
        return None
    return Yolo(images, texts, names, "polygons" if _has_outlines(texts) else "boxes")


def _has_outlines(texts):
    """Return whether the first object in a folder of YOLO files is an outline."""
    for path in sorted(texts.iterdir()):
        if not _is_label_text(path):
            continue
        for line in read_lines(path):
            if line.strip():
                return len(line.split()) > 6
    return False


def _nothing_found(labels):
    expected = "\n".join(f"  {kind}" for kind in LOOKED_FOR)
    other = f" It is {other_format(labels)}" if labels.is_file() else layout_hint(labels)
    return f"open_objects: '{labels}' contains no labels of objects. Looked for:\n{expected}{other}"
