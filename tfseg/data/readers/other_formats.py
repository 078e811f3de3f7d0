"""Recognize the files of other labeling tools, so that errors can say what they are."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

COCO_HINT = "Export as COCO from the tool, and read that with `Coco`."
SUPERVISELY = f"an export of Supervisely. {COCO_HINT}"
VIA = f"a file of the VGG Image Annotator. {COCO_HINT}"

# The keys by which JSON objects of other tools are recognized, and what the files are.
OBJECTS = (
    ({"images", "annotations", "categories"}, "a COCO file. Read it with `Coco`."),
    ({"shapes", "imagePath"}, "a LabelMe file. Read such folders with `LabelMe`."),
    ({"_via_img_metadata"}, VIA),
    ({"regions", "filename"}, VIA),
    ({"objects", "size"}, SUPERVISELY),
    ({"classes", "tags"}, SUPERVISELY),
    ({"classes", "projectType"}, SUPERVISELY),
    ({"items", "categories"}, f"a file of Datumaro. {COCO_HINT}"),
    ({"features", "type"}, "a GeoJSON file. Draw its polygons into masks, and use `GeoTiff`."),
    ({"imgHeight", "imgWidth"}, "a file of Cityscapes. Read the dataset with `Cityscapes`."),
    ({"instances", "metadata"}, f"a file of SuperAnnotate. {COCO_HINT}"),
)
# The same of the first entry of JSON lists.
LISTS = (
    ({"image_id", "category_id", "score"}, "a list of COCO results. Expected ground truth."),
    ({"image_id", "category_id"}, "only the annotations of a COCO file. Expected the whole file."),
    ({"data", "annotations"}, f"a JSON file of Label Studio. {COCO_HINT}"),
    ({"data", "completions"}, f"a JSON file of Label Studio. {COCO_HINT}"),
    ({"annotation_id", "annotator"}, f"a JSON-MIN file of Label Studio. {COCO_HINT}"),
    ({"data_row"}, f"a file of Labelbox. {COCO_HINT}"),
    ({"Labeled Data", "Label"}, f"a file of Labelbox. {COCO_HINT}"),
    ({"image", "annotations"}, f"a file of CreateML. {COCO_HINT}"),
    ({"name", "labels"}, f"a file of BDD100K or Scalabel. {COCO_HINT}"),
    ({"instances", "metadata"}, f"a file of SuperAnnotate. {COCO_HINT}"),
)


def other_format(path: Path) -> str | None:
    """Return what a file of labels is; None if that is unknown.

    Args:
        path: a JSON, XML or text file.

    Returns:
        what the file is and what to do with it, such as "a LabelMe file. Convert it ...".
    """
    data = path.read_bytes()
    start = data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<"):
        return _xml_format(data)
    try:
        return _json_format(json.loads(data))
    except (ValueError, RecursionError):
        return _text_format(data, start)


def other_layout(folder: Path) -> str | None:
    """Return what a folder of labels in a known layout is, like `other_format`; None if unknown."""
    if (folder / "leftImg8bit").is_dir():
        return "a dataset in the layout of Cityscapes. Read it with `Cityscapes`."
    if (folder / "JPEGImages").is_dir() and (folder / "Annotations").is_dir():
        return "a dataset in the layout of Pascal VOC. Read it with `Voc`."
    patterns = ("annotations.xml", "*.json", "annotations/*.json", "*/ann/*.json", "*/*.json")
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if not path.name.startswith(".") and path.is_file():
                return other_format(path)
    has_lines = next(folder.glob("labels/*.txt"), None) or next(folder.glob("*/labels/*.txt"), None)
    if has_lines or (folder / "data.yaml").is_file():
        return "a dataset in the layout of YOLO. Read it with `Yolo`."
    return None


def layout_hint(folder: Path) -> str:
    """Return a sentence about a folder in a known layout, to append to an error; "" if unknown."""
    other = other_layout(folder) if folder.is_dir() else None
    return f" It is {other}" if other else ""


def _xml_format(data):
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        return "an XML file."
    if root.tag == "annotations" and root.find("image") is not None:
        return f"an XML file of CVAT. {COCO_HINT}"
    if root.tag == "annotation":
        return "an XML file of Pascal VOC. Read such datasets with `Voc`, or folders with `VocXml`."
    return f"an XML file with the root element {root.tag!r}."


def _json_format(content):
    if isinstance(content, list):
        first = content[0] if content else None
        return _first_match(first, LISTS) or "a JSON list, not an object."
    if not isinstance(content, dict):
        return "a single JSON value."
    if list(content) == ["classes"]:
        return SUPERVISELY
    # Older files of the VGG Image Annotator are {file name and size: image}.
    entries = (content, *list(content.values())[:1])
    return next((found for entry in entries if (found := _first_match(entry, OBJECTS))), None)


def _first_match(content, kinds):
    if not isinstance(content, dict):
        return None
    return next((text for keys, text in kinds if keys <= content.keys()), None)


def _text_format(data, start):
    first, *others = data.splitlines() or [b""]
    if others and _is_json_object(first):
        return f"a file with one JSON object per line, as Labelbox exports. {COCO_HINT}"
    if re.fullmatch(rb"[\d.eE+\-\s]+", start):
        return "a text file of numbers. Read YOLO labels with `Yolo`."
    return None


def _is_json_object(line):
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
