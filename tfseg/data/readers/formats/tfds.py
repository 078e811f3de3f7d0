"""The reader of datasets that TensorFlow Datasets has prepared (https://www.tensorflow.org/datasets)."""

import io
import os

import numpy as np
import tensorflow as tf
from PIL import Image

from tfseg import checks
from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers.base import Reader, class_ids, identity, integers
from tfseg.data.readers.formats.drawing import clipped


class Tfds(Reader):
    """A split of a dataset of TensorFlow Datasets, already downloaded and prepared; never downloads.

    Files of the format "array_record" are read at random; of others the encoded images are held in memory. Needs
    tensorflow_datasets (extra `tfds`).

    Args:
        builder: a `tfds.core.DatasetBuilder`, or its name, such as "oxford_iiit_pet".
        split: such as "train" or "train[:80%]".
        image: name of the images' feature.
        mask: name of the masks' feature, (H, W, 1) integers; None for none.
        class_names: names in the order of their ids. None: those that the feature of the masks, or else of the
            objects' labels has.
        mask_values: {value on disk: class id}; None: values are ids.
        objects: name of the feature of objects, each with a "bbox" and a "label", for "boxes" and "classes"; None for
            none. Without masks the first class name is label 0; with masks both count in the same way. Crowds
            ("is_crowd") are left out.

    Attributes:
        dropped: list of (name, why) of objects without area.

    Raises:
        FileNotFoundError: the dataset is not prepared.
        ValueError: it has no such features, or nothing names the classes.
    """

    def __init__(
        self,
        builder,
        split,
        image="image",
        mask="segmentation_mask",
        class_names=None,
        mask_values=None,
        objects=None,
    ):
        tfds = checks.require_package("tensorflow_datasets", "tfds")
        builder = tfds.builder(builder) if isinstance(builder, str) else builder
        wanted = {"image": image, "mask": mask, "objects": objects}
        self._keys = {part: key for part, key in wanted.items() if key is not None}
        for part, key in self._keys.items():
            checks.one_of(f"Tfds: {builder.name}", part, key, list(builder.info.features))
        self._features = {part: builder.info.features[key] for part, key in self._keys.items()}
        self._split = str(split)
        self._samples = _samples(tfds, builder, split, set(self._keys.values()))
        feature = self._features["image"]
        sizes = [_size(self._samples[i][image]) for i in range(len(self._samples))]
        super().__init__(
            class_names or _class_names(self._features), sizes, feature.shape[-1], feature.np_dtype
        )
        self.fields = (
            "image",
            *["mask"] * ("mask" in self._keys),
            *["boxes", "classes"] * ("objects" in self._keys),
        )
        self.mask_values = (
            (mask_values or identity(self.label_names)) if "mask" in self._keys else None
        )
        self._table = {IGNORE_INDEX: IGNORE_INDEX, **(self.mask_values or {})}
        self.dropped = []
        if "objects" in self._keys:
            self._objects = [self._boxes(i) for i in range(len(self))]

    def __getitem__(self, index):
        read = self._samples[index]
        sample = {"image": self._decode("image", read, index)}
        if "mask" in self.fields:
            where = f"the mask of {self.name(index)}"
            sample["mask"] = class_ids(
                integers(self._decode("mask", read, index), where), self._table, where
            )
        if "boxes" in self.fields:
            sample["boxes"], sample["classes"] = self._objects[index]
        return sample

    def name(self, index):
        """Return the split and the sample's number in it: "train/00017"."""
        return f"{self._split}/{index:05d}"

    def _decode(self, part, read, index):
        value = read[self._keys[part]]
        if not isinstance(value, bytes):
            return np.asarray(value)
        try:
            # Not decode_example_np: OpenCV gives a truncated JPEG back as a half-gray image without an error.
            array = self._features[part].decode_example(value).numpy()
        except (tf.errors.OpError, ValueError) as error:
            raise OSError(
                f"The {part} of {self.name(index)} is damaged ({error}). Prepare the set again."
            ) from error
        if array.shape[:2] != tuple(self.sizes[index]):
            size = tuple(self.sizes[index].tolist())
            raise ValueError(
                f"The {part} of {self.name(index)} is {array.shape[:2]}, the image {size}."
            )
        return array

    def _boxes(self, index):
        """Return the boxes (N, 4) and classes (N,) of a sample."""
        objects = self._samples[index][self._keys["objects"]]
        count = len(objects["label"])
        crowd = objects["is_crowd"] if "is_crowd" in objects else [False] * count
        height, width = self.sizes[index].tolist()
        first = len(self.label_names) - len(self.class_names) if "mask" not in self._keys else 0
        boxes, classes = [], []
        for box, label, is_crowd in zip(objects["bbox"], objects["label"], crowd, strict=True):
            if is_crowd:
                continue
            if not 0 <= label + first < len(self.label_names):
                raise ValueError(
                    f"{self.name(index)}: the label {label} has no name; name all classes."
                )
            y_min, x_min, y_max, x_max = (
                np.asarray(box, np.float64) * [height, width, height, width]
            ).tolist()
            kept, why = clipped((x_min, y_min, x_max, y_max), (height, width))
            if why:
                self.dropped.append((self.name(index), why))
            else:
                boxes.append(kept)
                classes.append(label + first)
        return np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int32)


def _samples(tfds, builder, split, keys):
    """Return a sequence of {key: value}; images are bytes as encoded on disk."""
    if not os.path.exists(builder.data_path):
        raise FileNotFoundError(
            f"The dataset {builder.name} is not at '{builder.data_path}'. Prepare it: "
            f"tensorflow_datasets.builder({builder.name!r}).download_and_prepare(file_format='array_record')."
        )
    skip = {
        k: tfds.decode.SkipDecoding()
        for k, f in builder.info.features.items()
        if isinstance(f, tfds.features.Image)
    }
    try:
        return builder.as_data_source(split, decoders=skip)
    except NotImplementedError:  # the file format knows no random access
        kept = {key: decoder for key, decoder in skip.items() if key in keys}
        partial = tfds.decode.PartialDecoding(dict.fromkeys(keys, True), decoders=kept)
        return list(
            tfds.as_numpy(builder.as_dataset(split=split, decoders=partial, shuffle_files=False))
        )


def _size(picture):
    if not isinstance(picture, bytes):
        return np.shape(picture)[:2]
    with Image.open(io.BytesIO(picture)) as image:
        return image.size[::-1]


def _class_names(features):
    """Return the names that the masks' feature, or else that of the objects' labels, gives."""
    names = getattr(features.get("mask"), "names", None)
    if not names and "objects" in features:
        names = getattr(features["objects"].feature["label"], "names", None)
    if not names:
        raise ValueError(
            "Tfds: the dataset does not name its classes. Give `class_names`, in the order of their ids."
        )
    return names
