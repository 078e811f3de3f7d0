"""The reader of datasets prepared by TensorFlow Datasets (https://www.tensorflow.org/datasets)."""

import io
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from tfseg import checks
from tfseg.data.readers.base import Reader
from tfseg.data.readers.formats.drawing import annotated_area, clip_box
from tfseg.data.readers.mask_values import as_integers, identity_table, to_class_ids
from tfseg.data.readers.objects import BOX_FIELDS, object_arrays


class Tfds(Reader):
    """A split of a dataset that TensorFlow Datasets has downloaded and prepared; never downloads.

    Files in the format "array_record" are read at random positions. In other formats, the encoded
    images are kept in memory. Needs tensorflow_datasets (extra `tfds`).

    Args:
        builder: `tfds.core.DatasetBuilder`, or its name, such as "oxford_iiit_pet".
        split: such as "train" or "train[:80%]".
        image: name of the feature with the images.
        mask: name of the feature with the masks, (H, W, 1) integers; None for none.
        class_names: names in the order of their ids. None: the names in the feature of the masks,
            or else of the objects' labels.
        mask_values: {value on disk: class id}; None: values are ids.
        objects: name of the feature with the objects, each with a "bbox" and a "label", for
            "boxes", "classes", "crowd" ("is_crowd") and "areas" ("area"); None for none. Without
            masks, label 0 is the first class name; with masks, labels and mask ids count in the
            same way.

    Attributes:
        dropped: list of (name of the sample, reason) of objects without area, and of crowds.

    Raises:
        FileNotFoundError: the dataset is not prepared.
        ValueError: it has no such features, or nothing names the classes.

    Example:
        The dataset must have been prepared: `tensorflow_datasets.builder("oxford_iiit_pet")
        .download_and_prepare(file_format="array_record")`.

        >>> import tfseg
        >>> reader = tfseg.data.Tfds(  # doctest: +SKIP
        ...     "oxford_iiit_pet", "train", mask_values={1: 0, 2: 1, 3: 2},
        ...     class_names=["pet", "background", "border"])
    """

    def __init__(
        self,
        builder,
        split: str,
        image: str = "image",
        mask: str | None = "segmentation_mask",
        class_names: Sequence[str] | None = None,
        mask_values: dict[int, int] | None = None,
        objects: str | None = None,
    ):
        tfds = checks.require_package("tensorflow_datasets", "tfds")
        if isinstance(builder, str):
            builder = tfds.builder(builder)
        keys = {"image": image, "mask": mask, "objects": objects}
        self._keys = {part: key for part, key in keys.items() if key is not None}
        known = builder.info.features
        for part, key in self._keys.items():
            checks.one_of(f"Tfds: {builder.name}", part, key, list(known))
        self._features = {part: known[key] for part, key in self._keys.items()}
        self._split = str(split)
        self._samples = _samples(tfds, builder, split, set(self._keys.values()))
        sizes = [_size(self._samples[i][image]) for i in range(len(self._samples))]
        feature = self._features["image"]
        class_names = class_names or _class_names(self._features)
        super().__init__(class_names, sizes, feature.shape[-1], feature.np_dtype)
        self.fields = ("image",)
        self._table = {self.ignore_index: self.ignore_index}
        if mask is not None:
            self.fields += ("mask",)
            self.mask_values = mask_values or identity_table(self.label_names)
            self._table.update(self.mask_values)
        self.dropped = []
        if objects is not None:
            self.fields += BOX_FIELDS
            self._objects = [self._read_objects(i) for i in range(len(self))]

    def __getitem__(self, index: int) -> dict:
        stored = self._samples[index]
        sample = {"image": self._decode(stored, "image", index)}
        if "mask" in self.fields:
            where = f"the mask of {self.name(index)}"
            values = as_integers(self._decode(stored, "mask", index), where)
            sample["mask"] = to_class_ids(values, self._table, where)
        if "boxes" in self.fields:
            sample |= object_arrays(*self._objects[index])
        return sample

    def name(self, index: int) -> str:
        """Return the split and the sample's number in it: "train/00017"."""
        return f"{self._split}/{index:05d}"

    def _decode(self, stored, part, index):
        """Return the array of an image or mask."""
        value = stored[self._keys[part]]
        if not isinstance(value, bytes):
            return np.asarray(value)
        try:
            # `decode_example_np` uses OpenCV, which returns a truncated JPEG as a half-gray image
            # without an error.
            array = self._features[part].decode_example(value).numpy()
        except (tf.errors.OpError, ValueError) as error:
            raise OSError(
                f"The {part} of {self.name(index)} is damaged ({error}). Prepare the dataset again."
            ) from error
        size = tuple(self.sizes[index].tolist())
        if array.shape[:2] != size:
            raise ValueError(
                f"The {part} of {self.name(index)} has size {array.shape[:2]}, but the image has "
                f"size {size}."
            )
        return array

    def _read_objects(self, index):
        """Return the boxes, classes, crowd and areas of a sample; add to `dropped`."""
        objects = self._samples[index][self._keys["objects"]]
        count = len(objects["label"])
        is_crowd = objects["is_crowd"] if "is_crowd" in objects else [False] * count
        annotated = objects["area"] if "area" in objects else [None] * count
        size = self.sizes[index].tolist()
        boxes, classes, crowd, areas = [], [], [], []
        for i in range(count):
            class_id = self._class_id(objects["label"][i], index)
            box, reason = clip_box(_in_pixels(objects["bbox"][i], size), size)
            if class_id is None:
                reason = "its class is the background"
            if reason is None:
                boxes.append(box)
                classes.append(class_id)
                crowd.append(bool(is_crowd[i]))
                areas.append(annotated_area(annotated[i]))
                if is_crowd[i]:
                    reason = "it is a crowd, not an object"
            if reason:
                self.dropped.append((self.name(index), reason))
        return boxes, classes, crowd, areas

    def _class_id(self, label, index):
        """Return the category of an object's label; None for the background."""
        names = self.label_names if "mask" in self._keys else self.class_names
        if not 0 <= label < len(names):
            raise ValueError(
                f"{self.name(index)} has an object with the label {label}, which has no name. Pass "
                "`class_names` for all labels."
            )
        if names[label] not in self.object_names:
            return None
        return self.object_names.index(names[label])


def _in_pixels(box, size):
    """Convert y_min, x_min, y_max, x_max in [0, 1] to x_min, y_min, x_max, y_max in pixels."""
    height, width = size
    scaled = np.asarray(box, np.float64) * [height, width, height, width]
    y_min, x_min, y_max, x_max = scaled.tolist()
    return x_min, y_min, x_max, y_max


def _samples(tfds, builder, split, keys):
    """Return a sequence of {key: value}. Images are encoded bytes, as on disk."""
    if not os.path.exists(builder.data_path):
        raise FileNotFoundError(
            f"The dataset {builder.name} is not at '{builder.data_path}'. Prepare it: "
            f"tensorflow_datasets.builder({builder.name!r})"
            ".download_and_prepare(file_format='array_record')."
        )
    skip = {
        key: tfds.decode.SkipDecoding()
        for key, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    }
    try:
        return builder.as_data_source(split, decoders=skip)
    except NotImplementedError:  # this file format has no random access
        skip = {key: decoder for key, decoder in skip.items() if key in keys}
        partial = tfds.decode.PartialDecoding(dict.fromkeys(keys, True), decoders=skip)
        dataset = builder.as_dataset(split=split, decoders=partial, shuffle_files=False)
        return list(tfds.as_numpy(dataset))


def _size(image):
    """Return (height, width) of an array or of encoded bytes."""
    if not isinstance(image, bytes):
        return np.shape(image)[:2]
    with Image.open(io.BytesIO(image)) as opened:
        return opened.size[::-1]


def _class_names(features):
    """Return the names in the feature of the masks, or else of the objects' labels."""
    names = getattr(features.get("mask"), "names", None)
    if not names and "objects" in features:
        names = getattr(features["objects"].feature["label"], "names", None)
    if not names:
        raise ValueError(
            "Tfds: the dataset does not name its classes. Pass `class_names`, in the order of "
            "their ids."
        )
    return names
