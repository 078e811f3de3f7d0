"""Cityscapes: street scenes of 50 cities, with fine or coarse masks of 34 ids (arXiv:1604.01685)."""

from pathlib import Path

import numpy as np

from tfseg.checks import IGNORE_INDEX, one_of
from tfseg.data.readers.base import Reader, class_ids
from tfseg.data.readers.folder import read_headers
from tfseg.data.readers.image_files import read_image, read_mask
from tfseg.data.readers.objects import boxes_of, relabeled

# Of every id in labelIds files: name, color, train id (None: not evaluated, ignored in training).
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
TRAIN_IDS = {
    label: IGNORE_INDEX if train is None else train for label, (_, _, train) in enumerate(LABELS)
}
ALL_IDS = {label: label for label in range(len(LABELS))}
PER_CLASS = (
    1000  # instanceIds: label * 1000 + number of the object; below it lies what has no objects
)


class Cityscapes(Reader):
    """Cityscapes as its makers give it out.

    `root` holds leftImg8bit/<split>/<city>/<frame>_leftImg8bit.png and, with `mode` in the place of the stars,
    gt*/<split>/<city>/<frame>_gt*_labelIds.png, or _labelTrainIds.png where no labelIds are. Where every frame has
    _instanceIds.png, samples also hold "instances", "boxes" and "classes"; groups of objects that nobody took
    apart are no instances, nor are objects of ignored classes.

    A sample's name is "<city>/<frame>": `reader.split(0.2, groups=lambda name: name.split("/")[0])` keeps cities
    together.

    Args:
        root: folder.
        split: "train", "val", "test" or "train_extra".
        mode: "fine" or "coarse".
        ids: "train" for the 19 classes of the benchmark, all others ignored; "all" for the 34 ids as they are.

    Raises:
        FileNotFoundError: a folder is missing or holds no frame.
        ValueError: files are missing, broken or do not fit their image; every one is named.
    """

    def __init__(self, root, split="train", mode="fine", ids="train"):
        one_of("Cityscapes", "mode", mode, ("fine", "coarse"))
        one_of("Cityscapes", "ids", ids, ("train", "all"))
        images = _frames(Path(root) / "leftImg8bit" / split)
        stems = [_mask_stem(path, Path(root), split, f"gt{mode.capitalize()}") for path in images]
        label_ids = [Path(f"{stem}_labelIds.png") for stem in stems]
        train_ids = [Path(f"{stem}_labelTrainIds.png") for stem in stems]
        instance_ids = [Path(f"{stem}_instanceIds.png") for stem in stems]
        self._label_ids = TRAIN_IDS if ids == "train" else ALL_IDS
        self.mask_values, masks = self._label_ids, label_ids
        if (
            ids == "train"
            and not any(path.exists() for path in label_ids)
            and train_ids[0].exists()
        ):
            self.mask_values, masks = {i: i for i in (*range(19), IGNORE_INDEX)}, train_ids
        self._files = list(zip(images, masks, strict=True))
        if all(path.exists() for path in instance_ids):
            self.fields = ("image", "mask", "instances", "boxes", "classes")
            self._files = list(zip(images, masks, instance_ids, strict=True))
        kept = [label for label in LABELS if ids == "all" or label[2] is not None]
        super().__init__([name for name, _, _ in kept], *read_headers(self._files))
        self.palette = np.array([color for _, color, _ in kept], np.uint8)

    def __getitem__(self, index):
        image, mask, *objects = self._files[index]
        sample = {
            "image": read_image(image, self.channels).astype(self.dtype, copy=False),
            "mask": class_ids(read_mask(mask), self.mask_values, mask),
        }
        return sample | _instances(objects[0], self._label_ids) if objects else sample

    def name(self, index):
        """Return "<city>/<frame>"."""
        path = self._files[index][0]
        return f"{path.parent.name}/{path.name.removesuffix('_leftImg8bit.png')}"


def _frames(folder):
    images = sorted(folder.glob("*/*_leftImg8bit.png"))
    if not images:
        raise FileNotFoundError(
            f"'{folder}' holds no <city>/<frame>_leftImg8bit.png. Check the path and the split; the dataset is "
            "given out at www.cityscapes-dataset.com."
        )
    return images


def _mask_stem(image, root, split, folder):
    frame = image.name.removesuffix("_leftImg8bit.png")
    return root / folder / split / image.parent.name / f"{frame}_{folder}"


def _instances(path, label_ids):
    """Return "instances", "boxes" and "classes" of an instanceIds file."""
    values = read_mask(path)
    numbers, ids = relabeled(np.where(values < PER_CLASS, 0, values))
    unknown = [value for value in ids.tolist() if value // PER_CLASS not in label_ids]
    if unknown:
        raise ValueError(
            f"{path} holds the values {', '.join(map(str, unknown[:8]))}, which are of no class: "
            f"expected class * {PER_CLASS} + number, classes 0 to {len(LABELS) - 1}."
        )
    classes = np.array([IGNORE_INDEX, *(label_ids[value // PER_CLASS] for value in ids.tolist())])
    kept = classes != IGNORE_INDEX
    instances = np.where(kept, np.cumsum(kept), 0).astype(np.int32)[numbers]
    return {
        "instances": instances,
        "boxes": boxes_of(instances),
        "classes": classes[kept].astype(np.int32),
    }
