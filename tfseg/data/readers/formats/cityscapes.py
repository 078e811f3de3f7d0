"""The reader of Cityscapes: street scenes of 50 cities with masks of 34 ids (arXiv:1604.01685)."""

from pathlib import Path

import numpy as np

from tfseg.checks import IGNORE_INDEX, one_of
from tfseg.data.readers.base import Reader
from tfseg.data.readers.extract import shrink_labels
from tfseg.data.readers.file_names import FileFinder, is_hidden
from tfseg.data.readers.image_files import read_image, read_mask
from tfseg.data.readers.mask_values import identity_table, to_class_ids
from tfseg.data.readers.objects import (
    OBJECT_FIELDS,
    boxes_around,
    instance_areas,
    object_arrays,
    relabel,
)
from tfseg.data.readers.pairing import read_headers
from tfseg.data.readers.problems import first_few

# Name, color and train id of every id in labelIds files. Classes without a train id are not
# evaluated, and ignored in training.
LABELS = (
    ("unlabeled", (0, 0, 0), None),
    ("ego vehicle", (0, 0, 0), None),
    ("rectification border", (0, 0, 0), None),
    ("out of roi", (0, 0, 0), None),
    ("static", (0, 0, 0), None),
    ("dynamic", (111, 74, 0), None),
    ("ground", (81, 0, 81), None),
    ("road", (128, 64, 128), 0),
    ("sidewalk", (244, 35, 232), 1),
    ("parking", (250, 170, 160), None),
    ("rail track", (230, 150, 140), None),
    ("building", (70, 70, 70), 2),
    ("wall", (102, 102, 156), 3),
    ("fence", (190, 153, 153), 4),
    ("guard rail", (180, 165, 180), None),
    ("bridge", (150, 100, 100), None),
    ("tunnel", (150, 120, 90), None),
    ("pole", (153, 153, 153), 5),
    ("polegroup", (153, 153, 153), None),
    ("traffic light", (250, 170, 30), 6),
    ("traffic sign", (220, 220, 0), 7),
    ("vegetation", (107, 142, 35), 8),
    ("terrain", (152, 251, 152), 9),
    ("sky", (70, 130, 180), 10),
    ("person", (220, 20, 60), 11),
    ("rider", (255, 0, 0), 12),
    ("car", (0, 0, 142), 13),
    ("truck", (0, 0, 70), 14),
    ("bus", (0, 60, 100), 15),
    ("caravan", (0, 0, 90), None),
    ("trailer", (0, 0, 110), None),
    ("train", (0, 80, 100), 16),
    ("motorcycle", (0, 0, 230), 17),
    ("bicycle", (119, 11, 32), 18),
)
NUM_TRAIN_CLASSES = 19
TRAIN_IDS = {
    label_id: IGNORE_INDEX if train_id is None else train_id
    for label_id, (_, _, train_id) in enumerate(LABELS)
}
ALL_IDS = identity_table(LABELS)
# The classes that have objects.
OBJECT_LABELS = (
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "caravan",
    "trailer",
    "train",
    "motorcycle",
    "bicycle",
)
# A value in instanceIds files is class * 1000 + number of the object. Values below 1000 are classes
# without objects.
PER_CLASS = 1000
IMAGE_END = "_leftImg8bit.png"


class Cityscapes(Reader):
    """Cityscapes in its original layout.

    `root` contains leftImg8bit/<split>/<city>/<frame>_leftImg8bit.png and, with <gt> for gtFine or
    gtCoarse, <gt>/<split>/<city>/<frame>_<gt>_labelIds.png, or _labelTrainIds.png if there are no
    labelIds. If every frame has _instanceIds.png, samples also have "instances", "boxes",
    "classes", "crowd" and "areas". Groups of objects that are not separated are not instances, nor
    are objects of ignored classes.

    The name of a sample is "<city>/<frame>":
    `reader.split(0.2, groups=lambda name: name.split("/")[0])` keeps cities together.

    Args:
        root: folder.
        split: "train", "val", "test" or "train_extra".
        mode: "fine" or "coarse".
        ids: "train" for the 19 classes of the benchmark, all others ignored; "all" for all 34 ids.

    Raises:
        FileNotFoundError: a folder is missing or contains no frame.
        ValueError: files are missing, damaged or do not match their image; every one is named.

    Example:
        >>> import numpy as np, pathlib, tfseg
        >>> from PIL import Image
        >>> for folder, kind in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        ...     pathlib.Path(folder, "train", "ulm").mkdir(parents=True)
        ...     image = Image.fromarray(np.full((4, 8), 26, np.uint8))  # 26: car
        ...     image.save(f"{folder}/train/ulm/ulm_000003_{kind}.png")
        >>> reader = tfseg.data.Cityscapes(".")
        >>> reader.name(0), reader.class_names[reader[0]["mask"].max()]
        ('ulm/ulm_000003', 'car')
    """

    def __init__(
        self, root: str | Path, split: str = "train", mode: str = "fine", ids: str = "train"
    ):
        one_of("Cityscapes", "mode", mode, ("fine", "coarse"))
        one_of("Cityscapes", "ids", ids, ("train", "all"))
        root = Path(root)
        images = _frames(root / "leftImg8bit" / split)
        folder = root / f"gt{mode.capitalize()}" / split
        masks, train_masks, instances = (
            _masks(images, folder, kind) for kind in ("labelIds", "labelTrainIds", "instanceIds")
        )
        self.mask_values = TRAIN_IDS if ids == "train" else ALL_IDS
        has_label_ids = any(path.exists() for path in masks)
        if ids == "train" and not has_label_ids and train_masks[0].exists():
            masks = train_masks
            self.mask_values = {i: i for i in (*range(NUM_TRAIN_CLASSES), IGNORE_INDEX)}
        self._files = list(zip(images, masks, strict=True))
        if all(path.exists() for path in instances):
            self.fields = ("image", *OBJECT_FIELDS)
            self._files = list(zip(images, masks, instances, strict=True))
        classes = [label for label in LABELS if ids == "all" or label[2] is not None]
        super().__init__([name for name, _, _ in classes], *read_headers(self._files))
        self.palette = np.array([color for _, color, _ in classes], np.uint8)

    @property
    def object_names(self) -> list[str]:
        """Names of the classes with objects, from "person" to "bicycle"."""
        if "classes" not in self.fields:
            return []
        return [name for name in self.class_names if name in OBJECT_LABELS]

    def __getitem__(self, index: int) -> dict:
        return self.read(index)

    def read(self, index: int, shrink: int = 1) -> dict:
        """Return a sample at 1 / `shrink` of its size, see `Reader.read`."""
        image, mask, *instances = self._files[index]
        labels = {"mask": to_class_ids(read_mask(mask), self.mask_values, mask)}
        if instances:
            labels.update(_read_instances(instances[0], self._object_ids()))
        pixels = read_image(image, self.channels, shrink).astype(self.dtype, copy=False)
        return {"image": pixels, **shrink_labels(labels, shrink)}

    def _object_ids(self):
        """Return {id in labelIds: object category, None if its objects are ignored}."""
        categories = {name: category for category, name in enumerate(self.object_names)}
        return {
            label_id: categories.get(name)
            for label_id, (name, _, _) in enumerate(LABELS)
            if name in OBJECT_LABELS
        }

    def name(self, index: int) -> str:
        """Return "<city>/<frame>"."""
        path = self._files[index][0]
        return f"{path.parent.name}/{path.name[: -len(IMAGE_END)]}"

    def image_path(self, index: int) -> Path:
        """Return the file of the sample's image."""
        return self._files[index][0]

    def plain_files(self) -> tuple[list, dict] | None:
        """Return the files of images and masks; see `Reader.plain_files`."""
        if type(self) is not Cityscapes or self.fields != ("image", "mask"):
            return None
        return self._files, self.mask_values


def _frames(folder):
    """Return the images of a split, sorted."""
    images = sorted(
        path
        for path in folder.glob("*/*")
        if path.name.lower().endswith(IMAGE_END.lower()) and not is_hidden(path)
    )
    if not images:
        raise FileNotFoundError(
            f"'{folder}' contains no <city>/<frame>_leftImg8bit.png. Check the path and the split. "
            "Download the dataset from www.cityscapes-dataset.com."
        )
    return images


def _masks(images, folder, kind):
    """Return the masks of one kind, in gtFine or gtCoarse, whether or not they exist."""
    finder = FileFinder()
    return [
        finder.find(
            folder / image.parent.name,
            f"{image.name[: -len(IMAGE_END)]}_{folder.parent.name}_{kind}.png",
        )
        for image in images
    ]


def _read_instances(path, object_ids):
    """Return "instances" and the arrays of the objects of an instanceIds file."""
    values = read_mask(path)
    numbers, ids = relabel(np.where(values < PER_CLASS, 0, values))
    unknown = [value for value in ids.tolist() if value // PER_CLASS not in object_ids]
    if unknown:
        raise ValueError(
            f"{path} contains values that map to no class: {first_few(unknown)}. Expected class * "
            f"{PER_CLASS} + number, with the classes {first_few(object_ids, len(object_ids))}."
        )
    found = [object_ids[value // PER_CLASS] for value in ids.tolist()]
    kept = np.array([False, *(category is not None for category in found)])
    # New number of each object, 0 if it is ignored: kept = 0, 1, 0, 1 -> 0, 1, 0, 2.
    table = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    instances = table[numbers]
    boxes = boxes_around(instances)
    classes = [category for category in found if category is not None]
    areas = instance_areas(instances, len(boxes))
    return {"instances": instances, **object_arrays(boxes, classes, areas=areas)}
