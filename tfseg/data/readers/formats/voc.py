"""The reader of datasets in the layout of Pascal VOC (devkit of VOC 2012)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfseg.checks import BACKGROUND, is_background, one_of
from tfseg.data.readers.base import Reader, check_class_names
from tfseg.data.readers.extract import shrink_labels
from tfseg.data.readers.file_names import FileFinder, same_form
from tfseg.data.readers.formats.voc_xml import names_in, read_objects
from tfseg.data.readers.image_files import read_image, read_mask
from tfseg.data.readers.mask_values import identity_table, to_class_ids
from tfseg.data.readers.objects import (
    BOX_FIELDS,
    OBJECT_FIELDS,
    boxes_around,
    instance_areas,
    object_arrays,
    relabel,
)
from tfseg.data.readers.pairing import read_headers
from tfseg.data.readers.pillow_files import SUFFIXES
from tfseg.data.readers.problems import first_few, format_problems
from tfseg.data.splits import read_names

NAMES = (
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
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
LISTS = {"detection": "Main", "segmentation": "Segmentation"}  # folders of the lists of names
# In 8-bit files of objects: the pixels around objects, which belong to none.
BORDER = 255


class Voc(Reader):
    """A dataset in the layout of Pascal VOC: JPEG images with palette masks or XML boxes.

    `root` contains JPEGImages and ImageSets, and for each task:

    - "detection": Annotations/<name>.xml and the list ImageSets/Main/<split>.txt. Samples have
      "image", "boxes", "classes", "crowd" and "areas". VOC counts pixels from 1, and a box includes
      its last pixel: (xmin, ymin, xmax, ymax) becomes (xmin - 1, ymin - 1, xmax, ymax), clipped to
      the image.
    - "segmentation": SegmentationClass/<name>.png and the list ImageSets/Segmentation/<split>.txt.
      Samples have "image" and "mask"; 0 is the background, 255 the ignored border of objects. If
      there is a folder SegmentationObject, also "instances", "boxes" (around the pixels of the
      objects, not from the XML), "classes", "crowd" and "areas".

    Args:
        root: folder, such as VOCdevkit/VOC2012.
        split: name of the list: "train", "val", "trainval", "test" or your own.
        task: "segmentation" or "detection".
        class_names: classes of the objects in the order of their ids, without the background.
            With the background at the front they may be `class_names` of another reader.
            None: the twenty classes of VOC. For detection, if the XML files (of all splits) contain
            any other name: all names that they contain, in alphabetical order.
        difficult: whether to keep objects marked as difficult (detection).

    Attributes:
        dropped: list of (name of the sample, reason) of boxes without area (detection).
        palette: the colors of VOC, for its own classes.

    Raises:
        FileNotFoundError: the folder or the list is missing.
        ValueError: files are missing, damaged or do not match their image; every one is named.

    Example:
        >>> import pathlib, shutil, tfseg
        >>> _ = shutil.copytree("photos", "voc/JPEGImages")
        >>> _ = shutil.copytree("labels", "voc/SegmentationClass")
        >>> pathlib.Path("voc/ImageSets/Segmentation").mkdir(parents=True)
        >>> _ = pathlib.Path("voc/ImageSets/Segmentation/train.txt").write_text("leaf0\\nleaf2")
        >>> tfseg.data.Voc("voc", "train", class_names=["leaf"])
        <Voc: 2 samples of image, mask; 3 channels of uint8; 2 classes: background, leaf>
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        task: str = "segmentation",
        class_names: Sequence[str] | None = None,
        difficult: bool = True,
    ):
        one_of("Voc", "task", task, LISTS)
        self._root = Path(root)
        self._finder = FileFinder()
        if not self._root.is_dir():
            raise FileNotFoundError(f"There is no folder '{self._root}'. Check the path.")
        path = self._root / "ImageSets" / LISTS[task] / f"{split}.txt"
        self._names = _image_names(read_names(path), self._root / "JPEGImages")
        if not self._names:
            raise ValueError(f"{path} contains no name. Write one name per line.")
        twice = [name for name, count in Counter(self._names).items() if count > 1]
        if twice:
            raise ValueError(
                f"{path} lists images twice: {first_few(twice)}. Keep one line of each."
            )
        self.dropped = []
        if task == "detection":
            self._open_detection(class_names, difficult)
        else:
            self._open_segmentation(class_names)

    def _open_segmentation(self, class_names):
        self.fields = ("image", "mask")
        folders = ["SegmentationClass"]
        if (self._root / "SegmentationObject").is_dir():
            self.fields = ("image", *OBJECT_FIELDS)
            folders.append("SegmentationObject")
        masks = [
            [self._finder.find(self._root / folder, f"{name}.png") for folder in folders]
            for name in self._names
        ]
        names = list(NAMES if class_names is None else check_class_names(class_names))
        self._open([BACKGROUND, *names[is_background(names[0]) :]], masks)
        self.mask_values = identity_table(self.class_names)
        self._table = {**self.mask_values, self.ignore_index: self.ignore_index}
        if class_names is None:
            self.palette = colormap(len(self.class_names))

    def _open_detection(self, class_names, difficult):
        self.fields = ("image", *BOX_FIELDS)
        folder = self._root / "Annotations"
        if class_names is None:
            found = names_in(folder)
            class_names = list(NAMES) if found <= set(NAMES) else sorted(found)
            if class_names == list(NAMES):
                self.palette = colormap(len(NAMES) + 1)[1:]
        self._open(class_names, [[] for _ in self._names])
        class_ids = {name: class_id for class_id, name in enumerate(self.object_names)}
        self._objects = []
        problems = []
        for name, size in zip(self._names, self.sizes.tolist(), strict=True):
            try:
                boxes, classes, reasons = read_objects(
                    self._finder.find(folder, f"{name}.xml"), size, class_ids, difficult
                )
            except (FileNotFoundError, ValueError) as error:
                problems.append(str(error))
                continue
            self._objects.append((boxes, classes))
            self.dropped += [(name, reason) for reason in reasons]
        if problems:
            raise ValueError(format_problems(problems))

    def _open(self, class_names, masks):
        images = _find_images(self._root / "JPEGImages", self._names)
        self._files = [(image, *paths) for image, paths in zip(images, masks, strict=True)]
        super().__init__(class_names, *read_headers(self._files))

    def __getitem__(self, index: int) -> dict:
        return self.read(index)

    def read(self, index: int, shrink: int = 1) -> dict:
        """Return a sample at 1 / `shrink` of its size, see `Reader.read`. Fast for JPEGs."""
        pixels = read_image(self._files[index][0], self.channels, shrink)
        labels = shrink_labels(self._labels(index), shrink)
        return {"image": pixels.astype(self.dtype, copy=False), **labels}

    def _labels(self, index):
        """Return the mask and the objects of a sample, those that it has."""
        masks = self._files[index][1:]
        if not masks:
            return object_arrays(*self._objects[index])
        mask = to_class_ids(read_mask(masks[0]), self._table, masks[0])
        if len(masks) == 1:
            return {"mask": mask}
        return {"mask": mask, **_read_instances(masks[1], mask, len(self.label_names))}

    def name(self, index: int) -> str:
        """Return the name in the list: the image's file name without its suffix."""
        return self._names[index]

    def image_path(self, index: int) -> Path:
        """Return the file of the sample's image."""
        return self._files[index][0]

    def plain_files(self) -> tuple[list, dict] | None:
        """Return the files of images and masks; see `Reader.plain_files`."""
        if type(self) is not Voc or self.fields != ("image", "mask"):
            return None
        return self._files, self._table


def colormap(count: int):
    """Return the (count, 3) uint8 RGB colors of VOC.

    The bits of an id are dealt to red, green and blue in turn, lowest bit first, and fill each
    channel from its highest bit: 5 = 0b101 has bit 0 for red and bit 2 for blue.

    Example:
        >>> colormap(6)[5].tolist()
        [128, 0, 128]
    """
    ids = np.arange(count)
    colors = np.zeros((count, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bits = ids >> (3 * place + channel) & 1
            colors[:, channel] |= (bits << (7 - place)).astype(np.uint8)
    return colors


def _image_names(listed, folder):
    """Return the names of a list without the suffixes that some tools write."""
    existing = {same_form(path.name) for path in folder.iterdir()} if folder.is_dir() else set()
    names = []
    for name in listed:
        stem, _, suffix = name.rpartition(".")
        is_suffix = f".{suffix.lower()}" in (*SUFFIXES, ".xml")
        has_image = any(same_form(name + other) in existing for other in SUFFIXES)
        names.append(stem if stem and is_suffix and not has_image else name)
    return names


def _find_images(folder, names):
    """Return the files of these images: JPEG in VOC, others in datasets that copy its layout."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder '{folder}', where datasets in the layout of VOC have their images."
        )
    finder = FileFinder()
    files = []
    for name in names:
        found = (finder.find(folder, name + suffix) for suffix in (".jpg", *SUFFIXES))
        files.append(next((path for path in found if path.exists()), folder / f"{name}.jpg"))
    return files


def _read_instances(path, mask, num_classes):
    """Return "instances" and the objects, each of the class of most of its pixels.

    Args:
        path: file of numbered objects.
        mask: (H, W) class ids; any id from `num_classes` on is ignored.
        num_classes: number of class ids, with the background.
    """
    values = read_mask(path)
    border = BORDER if values.dtype == np.uint8 else np.iinfo(np.uint16).max
    instances, _ = relabel(np.where(values == border, 0, values))
    boxes = boxes_around(instances)
    # Count the pixels of every pair (object, class id) with one bincount; the last id is "ignored".
    width = num_classes + 1
    pairs = instances.astype(int) * width + np.minimum(mask, num_classes).astype(int)
    counts = np.bincount(pairs.ravel(), minlength=(len(boxes) + 1) * width).reshape(-1, width)
    counts = counts[1 : len(boxes) + 1, 1:num_classes]  # without background and ignored pixels
    without_class = np.flatnonzero(~counts.any(axis=1)) + 1
    if without_class.size:
        raise ValueError(
            f"{path} contains objects ({first_few(without_class.tolist())}, counted in the order "
            "of their ids) where the class mask has no class. Correct one of the two files."
        )
    areas = instance_areas(instances, len(boxes))
    return {"instances": instances, **object_arrays(boxes, counts.argmax(axis=1), areas=areas)}
