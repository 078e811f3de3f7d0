"""Pascal VOC: images with XML annotations, palette masks and lists of names (devkit of VOC 2012)."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from tfseg.checks import BACKGROUND, IGNORE_INDEX, one_of
from tfseg.data.readers.base import Reader, class_ids, format_problems
from tfseg.data.readers.folder import read_headers
from tfseg.data.readers.image_files import SUFFIXES, read_image, read_mask
from tfseg.data.readers.objects import boxes_of, relabeled
from tfseg.data.splits import read_names

NAMES = (
    *(
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
    ),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
BORDER = 255  # of the masks: pixels around objects that are nobody's


class Voc(Reader):
    """A dataset in the layout of Pascal VOC.

    `root` holds JPEGImages and ImageSets, and by task:

    - "detection": Annotations/<name>.xml, the list ImageSets/Main/<split>.txt. Samples hold "image", "boxes" and
      "classes". VOC counts pixels from 1 and a box includes its last ones: (xmin, ymin, xmax, ymax) becomes
      (xmin - 1, ymin - 1, xmax, ymax), clipped to the image.
    - "segmentation": SegmentationClass/<name>.png, the list ImageSets/Segmentation/<split>.txt. Samples hold "image"
      and "mask"; 0 is the background, 255 the border that is ignored. Where there is a folder SegmentationObject,
      also "instances", "boxes" (around the objects' pixels, not those of the XML) and "classes".

    Args:
        root: folder, such as VOCdevkit/VOC2012.
        split: name of the list: "train", "val", "trainval", "test" or one of your own.
        task: "segmentation" or "detection".
        class_names: the objects' classes in the order of their ids, without the background. None: VOC's twenty;
            for detection, if the XML files (of all splits) name any other, all that they name, in alphabetical order.
        difficult: whether to keep objects marked as difficult (detection).

    Attributes:
        dropped: list of (name, why) of boxes that enclose nothing (detection).
        palette: VOC's colors, of its own classes.

    Raises:
        FileNotFoundError: the folder or the list is missing.
        ValueError: files are missing, broken or do not fit their image; every one is named.
    """

    def __init__(self, root, split="train", task="segmentation", class_names=None, difficult=True):
        one_of("Voc", "task", task, ("segmentation", "detection"))
        self._root = Path(root)
        if not self._root.is_dir():
            raise FileNotFoundError(f"There is no folder '{self._root}'. Check the path.")
        folder = "Main" if task == "detection" else "Segmentation"
        self._names = read_names(self._root / "ImageSets" / folder / f"{split}.txt")
        if not self._names:
            raise ValueError(
                f"{self._root / 'ImageSets' / folder / f'{split}.txt'} holds no name. Add one a line."
            )
        self.dropped = []
        if task == "detection":
            self._open_detection(class_names, difficult)
        else:
            self._open_segmentation(class_names)

    def _open_segmentation(self, class_names):
        folders = ["SegmentationClass"]
        self.fields = ("image", "mask")
        if (self._root / "SegmentationObject").is_dir():
            folders.append("SegmentationObject")
            self.fields = ("image", "mask", "instances", "boxes", "classes")
        masks = [
            [self._root / folder / f"{name}.png" for folder in folders] for name in self._names
        ]
        self._open([BACKGROUND, *(NAMES if class_names is None else class_names)], masks)
        self.mask_values = {class_id: class_id for class_id in range(len(self.class_names))}
        if class_names is None:
            self.palette = colormap(len(self.class_names))

    def _open_detection(self, class_names, difficult):
        self.fields = ("image", "boxes", "classes")
        paths = [self._root / "Annotations" / f"{name}.xml" for name in self._names]
        if class_names is None:
            class_names = _names_in(self._root / "Annotations")
            if class_names == list(NAMES):
                self.palette = colormap(len(NAMES) + 1)[1:]
        self._open(class_names, [[] for _ in paths])
        ids = {name: class_id for class_id, name in enumerate(self.label_names)}
        parsed = [
            _parsed(path, size, ids, difficult)
            for path, size in zip(paths, self.sizes.tolist(), strict=True)
        ]
        problems = [result for result in parsed if isinstance(result, str)]
        if problems:
            raise ValueError(format_problems(problems))
        self._objects = [(boxes, classes) for boxes, classes, _ in parsed]
        self.dropped = [
            (n, why) for n, (_, _, lost) in zip(self._names, parsed, strict=True) for why in lost
        ]

    def _open(self, class_names, masks):
        images = _pictures(self._root / "JPEGImages", self._names)
        self._files = [(image, *paths) for image, paths in zip(images, masks, strict=True)]
        super().__init__(class_names, *read_headers(self._files))

    def __getitem__(self, index):
        image, *masks = self._files[index]
        sample = {"image": read_image(image, self.channels).astype(self.dtype, copy=False)}
        if not masks:
            boxes, classes = self._objects[index]
            return sample | {"boxes": boxes.copy(), "classes": classes.copy()}
        sample["mask"] = class_ids(
            read_mask(masks[0]), {**self.mask_values, BORDER: IGNORE_INDEX}, masks[0]
        )
        if len(masks) > 1:
            sample |= _instances(masks[1], sample["mask"])
        return sample

    def name(self, index):
        """Return the name in the list: the image's file name without its suffix."""
        return self._names[index]


def colormap(count):
    """Return VOC's (count, 3) uint8 colors: an id's bits, dealt out to red, green and blue from the highest down."""
    ids = np.arange(count)
    colors = np.zeros((count, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            colors[:, channel] |= ((ids >> 3 * place + channel & 1) << 7 - place).astype(np.uint8)
    return colors


def _pictures(folder, names):
    """Return the images of these names: JPEGs in VOC, anything readable in the sets that copy its layout."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder '{folder}'. A dataset in VOC's layout keeps its images there."
        )
    there = {path.name for path in folder.iterdir()}
    found = [
        next((name + s for s in (".jpg", *SUFFIXES) if name + s in there), f"{name}.jpg")
        for name in names
    ]
    return [folder / name for name in found]


def _instances(path, mask):
    """Return "instances", "boxes" and "classes" of a mask of objects; an object has the class of most of its pixels."""
    values = read_mask(path)
    instances = relabeled(np.where(values == BORDER, 0, values))[0]
    boxes = boxes_of(instances)
    pairs = instances.astype(int) * 256 + mask
    pixels = np.bincount(pairs.ravel(), minlength=(len(boxes) + 1) * 256).reshape(-1, 256)[1:]
    pixels = pixels[: len(boxes), 1:IGNORE_INDEX]
    bare = np.flatnonzero(~pixels.any(axis=1)) + 1
    if bare.size:
        raise ValueError(
            f"{path} has objects ({', '.join(map(str, bare[:8].tolist()))}, counted in the order of their ids) where "
            "the mask of classes has none. Correct one of the two."
        )
    return {
        "instances": instances,
        "boxes": boxes,
        "classes": pixels.argmax(axis=1).astype(np.int32) + 1,
    }


def _names_in(folder):
    """Return VOC's names, or all names of objects in a folder of XML files if any is not VOC's."""
    found = set()
    for path in folder.glob(
        "*.xml"
    ):  # of all splits, or train and val would number classes differently
        try:
            found |= {_text(item, "name") for item in ElementTree.parse(path).iter("object")}
        except ElementTree.ParseError:
            continue  # told of if it is in the split
    found.discard("")
    return list(NAMES) if found <= set(NAMES) else sorted(found)


def _parsed(path, size, ids, difficult):
    """Return (boxes, classes, reasons why others were dropped) of an XML file, or what is wrong with it."""
    try:
        annotation = ElementTree.parse(path).getroot()
        _check_size(annotation, size)
        boxes, classes, lost = [], [], []
        for item in annotation.iter("object"):
            if not difficult and _text(item, "difficult") == "1":
                continue
            box, why = _box(item, size)
            if why:
                lost.append(why)
                continue
            boxes.append(box)
            classes.append(_class_id(item, ids))
    except FileNotFoundError:
        return f"There is no file '{path}'. Every name in the list needs one."
    except ElementTree.ParseError as error:
        return f"{path} is no XML ({error}). Copy it again from its source."
    except ValueError as error:
        return f"{path}: {error}"
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int32), lost


def _check_size(annotation, size):
    height, width = (_text(annotation, f"size/{name}") for name in ("height", "width"))
    if (
        height.isdigit()
        and width.isdigit()
        and int(height)
        and int(width)
        and [int(height), int(width)] != list(size)
    ):
        raise ValueError(
            f"made for an image of {width} x {height}, but it is {size[1]} x {size[0]} pixels. "
            "Bring back the image that was labeled, or correct the XML."
        )


def _box(item, size):
    """Return (the box in the contract's pixels, None) or (None, why it is dropped)."""
    texts = [_text(item, f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x_min, y_min, x_max, y_max = map(float, texts)
    except ValueError:
        raise ValueError(
            f"an object's bndbox has xmin, ymin, xmax, ymax = {', '.join(text or 'nothing' for text in texts)}. "
            "Expected four numbers."
        ) from None
    told = f"{_text(item, 'name')} ({', '.join(texts)})"
    if not (
        x_min < x_max and y_min < y_max
    ):  # one pixel by VOC's letter; a click without a drag in truth
        return None, f"{told} has no area"
    height, width = size
    box = [max(x_min - 1, 0), max(y_min - 1, 0), min(x_max, width), min(y_max, height)]
    if not (box[0] < box[2] and box[1] < box[3]):
        return None, f"{told} lies outside of the image of {width} x {height}"
    return box, None


def _class_id(item, ids):
    name = _text(item, "name")
    if name not in ids:
        raise ValueError(
            f"holds an object {name!r}; the classes are {', '.join(ids)}. Add it to `class_names`."
        )
    return ids[name]


def _text(item, path):
    return (item.findtext(path) or "").strip()
