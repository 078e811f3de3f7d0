"""The XML files of Pascal VOC: names and boxes of objects."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from tfseg.data.readers.file_names import is_hidden

DECLARATION = re.compile(r"""^\s*<\?xml[^>]*?encoding=["']([\w.-]+)["'][^>]*\?>""")


def names_in(folder: Path) -> set[str]:
    """Return the names of all objects in a folder of XML files.

    All splits are read: otherwise train and val would number their classes differently.
    """
    found = set()
    for path in folder.glob("*"):
        if path.suffix.lower() != ".xml" or is_hidden(path):
            continue
        try:
            found |= {_text(item, "name") for item in parse_xml(path).iter("object")}
        except ElementTree.ParseError:
            continue  # reported later if the file is in this split
    found.discard("")
    return found


def parse_xml(path: Path):
    """Return the root element of an XML file in any encoding.

    The parser of Python knows no encoding with several bytes per character except UTF-8 and
    UTF-16, and believes a declaration that does not fit the content.

    Raises:
        FileNotFoundError: the file is missing.
        xml.etree.ElementTree.ParseError: the file is not XML.
    """
    data = path.read_bytes()
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError):
        return ElementTree.fromstring(_decode(data))


def _decode(data):
    """Return the text of an XML file without its declaration."""
    declaration = DECLARATION.match(data.lstrip(b"\xef\xbb\xbf")[:200].decode("latin-1"))
    encodings = [json.detect_encoding(data), "utf-8-sig"]
    if declaration:
        encodings.insert(0, declaration[1])
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except (LookupError, UnicodeError) as error:
            message = str(error)
            continue
        return re.sub(r"^\ufeff?\s*<\?xml[^>]*\?>", "", text)
    raise ElementTree.ParseError(f"{message}; save it as UTF-8")


def read_objects(path: Path, size, class_ids: dict[str, int], difficult: bool):
    """Read the objects of an XML file.

    Args:
        path: file.
        size: (height, width) of the image.
        class_ids: {name: class id}.
        difficult: whether to keep objects marked as difficult.

    Returns:
        boxes: (N, 4) float32, x_min, y_min, x_max, y_max in pixels.
        classes: (N,) int32.
        reasons: why other objects were dropped.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is damaged or does not match the image.
    """
    try:
        annotation = parse_xml(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"There is no file '{path}'. Every name in the list needs one."
        ) from error
    except ElementTree.ParseError as error:
        raise ValueError(
            f"{path} is not an XML file ({error}). Copy it again from its source."
        ) from error
    try:
        _check_size(annotation, size)
        return _objects(annotation, size, class_ids, difficult)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _objects(annotation, size, class_ids, difficult):
    boxes = []
    classes = []
    reasons = []
    for item in annotation.iter("object"):
        if not difficult and _text(item, "difficult") == "1":
            continue
        box, reason = _box(item, size)
        if reason:
            reasons.append(reason)
        else:
            boxes.append(box)
            classes.append(_class_id(item, class_ids))
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int32), reasons


def _check_size(annotation, size):
    """Raise a ValueError if the XML file was made for an image of another size.

    Files without a size, or with zeros, are accepted.
    """
    height = _text(annotation, "size/height")
    width = _text(annotation, "size/width")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        return
    listed = [int(height), int(width)]
    if listed != list(size):
        hint = ""
        if listed[::-1] == list(size):
            hint = " It may have been labeled without its EXIF orientation: remove that from it."
        raise ValueError(
            f"the image is {size[1]} x {size[0]} pixels, but the file was made for {width} x "
            f"{height}. Restore the image that was labeled, or correct the XML.{hint}"
        )


def _box(item, size):
    """Return (box in pixels counted from 0, None), or (None, the reason why it is dropped)."""
    texts = [_text(item, f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x_min, y_min, x_max, y_max = [float(text) for text in texts]
    except ValueError:
        found = ", ".join(text or "nothing" for text in texts)
        raise ValueError(
            f"an object's bndbox has xmin, ymin, xmax, ymax = {found}. Expected four numbers."
        ) from None
    label = f"{_text(item, 'name')} ({', '.join(texts)})"
    if not np.isfinite([x_min, y_min, x_max, y_max]).all():
        return None, f"{label} contains NaN or infinity"
    if max(x_max, y_max) <= 1 and not all(float(text).is_integer() for text in texts):
        raise ValueError(
            f"{label} is in fractions of the image's size. Expected pixels, counted from 1."
        )
    # By the definition of VOC, equal sides are one pixel; in practice, a click without a drag.
    if not (x_min < x_max and y_min < y_max):
        return None, f"{label} has no area"
    height, width = size
    box = [max(x_min - 1, 0), max(y_min - 1, 0), min(x_max, width), min(y_max, height)]
    if not (box[0] < box[2] and box[1] < box[3]):
        return None, f"{label} is outside the image of {width} x {height}"
    return box, None


def _class_id(item, class_ids):
    name = _text(item, "name")
    if name not in class_ids:
        raise ValueError(
            f"it contains an object {name!r}, but the classes are {', '.join(class_ids)}. Add it "
            "to `class_names`."
        )
    return class_ids[name]


def _text(item, path):
    return (item.findtext(path) or "").strip()
