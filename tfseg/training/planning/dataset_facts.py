"""What a plan is made from: a few numbers about a dataset."""

from dataclasses import dataclass

import numpy as np

from tfseg.data import Reader
from tfseg.doctor import Summary
from tfseg.doctor.halves import half_differences
from tfseg.training.task_fields import SEMANTIC

DIGITS = 4  # of the numbers in `plan.json`


@dataclass(frozen=True)
class ObjectFacts:
    """The objects of a dataset, without crowds.

    Attributes:
        count: number of objects in the images that were read.
        per_image: number of objects of the median image.
        diameters: at the quantiles 0.1, 0.5 and 0.95: the square root of the area of the box, in
            pixels.
        boxes: (N, 4) x_min, y_min, x_max, y_max in pixels.
        image_sizes: (N, 2) height and width of the image of each box.
    """

    count: int
    per_image: float
    diameters: tuple
    boxes: np.ndarray
    image_sizes: np.ndarray


@dataclass(frozen=True)
class DatasetFacts:
    """What a plan is made from.

    Attributes:
        task: "semantic", "detect" or "instances".
        images: number of images.
        class_names: of the masks, or of the objects.
        class_fractions: fraction of the labeled pixels of each class; empty with objects.
        class_weights: one per class, by median frequency balancing; empty with objects.
        channels, dtype: of the images.
        median_size, largest_size: (height, width) in pixels.
        has_one_size: whether all images have the same size.
        halves: how different labels are between top and bottom, and between left and right; see
            `tfseg.doctor.halves.half_differences`.
        brightness: at the quantiles 0.1 and 0.9: the mean of an image, as a fraction of the range
            of all images.
        contrast: the same of the std of an image.
        brightest: the same of the highest value of an image.
        objects: `ObjectFacts`, or None for the task "semantic".
        has_stuff: whether masks also have classes that are not objects, as panoptic labels.
    """

    task: str
    images: int
    class_names: tuple
    class_fractions: tuple
    class_weights: tuple
    channels: int
    dtype: str
    median_size: tuple
    largest_size: tuple
    has_one_size: bool
    halves: tuple
    brightness: tuple
    contrast: tuple
    brightest: tuple
    objects: ObjectFacts | None = None
    has_stuff: bool = False

    def to_json(self) -> dict:
        """Return the facts as JSON-compatible values, without the single boxes."""
        values = {**vars(self), "objects": None}
        if self.objects is not None:
            kept = ("count", "per_image", "diameters")
            values["objects"] = {name: getattr(self.objects, name) for name in kept}
        return values


def dataset_facts(reader: Reader, summary: Summary, task: str) -> DatasetFacts:
    """Return what matters for a plan of what was found in a dataset.

    Args:
        reader: a `tfseg.data.Reader`.
        summary: what `tfseg.doctor.check` returned for it.
        task: "semantic", "detect" or "instances".
    """
    has_objects = task != SEMANTIC
    sizes = np.array([sample.size for sample in summary.samples])
    pixels = summary.class_pixels
    brightness, contrast, brightest = _image_statistics(summary)
    return DatasetFacts(
        task=task,
        images=len(reader),
        class_names=tuple(reader.object_names if has_objects else reader.label_names),
        class_fractions=() if has_objects else _rounded(pixels / pixels.sum()),
        class_weights=() if has_objects else _rounded(summary.class_weights),
        channels=reader.channels,
        dtype=np.dtype(reader.dtype).name,
        median_size=tuple(int(side) for side in np.median(sizes, axis=0)),
        largest_size=tuple(sizes[sizes.prod(axis=1).argmax()].tolist()),
        has_one_size=len(np.unique(sizes, axis=0)) == 1,
        halves=_rounded(half_differences([s.halves for s in summary.samples])),
        brightness=brightness,
        contrast=contrast,
        brightest=brightest,
        objects=_object_facts(summary, sizes) if has_objects else None,
        has_stuff=has_objects and len(reader.label_names) > len(reader.object_names) + 1,
    )


def _image_statistics(summary):
    """Return `brightness`, `contrast` and `brightest` of `DatasetFacts`."""
    low, high = summary.value_range
    span = max(high - low, 1e-6)
    moments = np.array([sample.moments.mean(axis=1) for sample in summary.samples])
    means = moments[:, 1] / moments[:, 0]
    stds = np.sqrt(np.maximum(moments[:, 2] / moments[:, 0] - means**2, 0))
    maxima = np.array([sample.value_range[1] for sample in summary.samples])
    found = np.stack([means - low, stds, maxima - low]) / span
    if stds.any():
        found = found[:, stds > 0]  # without blank images, such as the first slices of a volume
    return [_rounded(np.quantile(values, (0.1, 0.9))) for values in found]


def _object_facts(summary, sizes):
    boxes = [
        np.asarray(boxes, float).reshape(-1, 4)[~crowd]
        for boxes, crowd in zip(summary.boxes, summary.crowd, strict=True)
    ]
    counts = [len(some) for some in boxes]
    image_sizes, boxes = np.repeat(sizes, counts, axis=0), np.concatenate(boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    has_area = (sides > 0).all(axis=1)
    diameters = np.sqrt(sides[has_area].prod(axis=1))
    return ObjectFacts(
        count=len(boxes),
        per_image=float(np.median(counts)),
        diameters=_rounded(np.quantile(diameters, (0.1, 0.5, 0.95))),
        boxes=boxes[has_area],
        image_sizes=image_sizes[has_area],
    )


def _rounded(values):
    return tuple(round(float(value), DIGITS) for value in values)
