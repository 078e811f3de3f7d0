"""What a training on objects finds in its data: the numbers of objects, and the shared facts."""

import numpy as np

from tfseg.data.readers.problems import dropped_sentence
from tfseg.training.open_data import CheckedData, warn_of_ranges
from tfseg.training.record import DataFacts
from tfseg.training.task import common_facts


def require_objects(data: CheckedData, takes_0_255: bool) -> None:
    """Refuse readers without an object, and warn about the range of the images.

    Args:
        data: the checked readers of objects.
        takes_0_255: whether the model is known to normalize 0..255.

    Raises:
        ValueError: the images to train or to validate on have no object at all.
    """
    _require_objects("training", data.train, data.summary)
    _require_objects("validation", data.val, data.val_summary)
    warn_of_ranges(data, takes_0_255, stacklevel=6)


def object_facts(data: CheckedData, **others) -> DataFacts:
    """Return the `DataFacts` of readers of objects.

    Args:
        data: the checked readers of objects.
        **others: further fields.
    """
    names = list(data.train.object_names)
    return DataFacts(
        class_names=names,
        mask_values=None,
        **common_facts(data),
        object_names=names,
        object_counts=_objects_per_class(data.summary, len(names)),
        val_object_counts=_objects_per_class(data.val_summary, len(names)),
        **others,
    )


def require_fields(task: str, reader, needed) -> None:
    """Raise a ValueError if the samples of a reader lack fields that a task needs."""
    missing = sorted(set(needed) - set(reader.fields))
    if missing:
        raise ValueError(
            f"train: task={task!r} needs {', '.join(missing)}, but the reader provides "
            f"{', '.join(reader.fields)}. Use a reader of objects."
        )


def objects_of(summary):
    """Return boxes (N, 4), classes (N,) and positions of the image (N,), without crowds."""
    boxes, classes, images = [], [], []
    for index, (each, ids, crowd) in enumerate(
        zip(summary.boxes, summary.classes, summary.crowd, strict=True)
    ):
        is_object = ~np.asarray(crowd, bool)
        boxes.append(np.reshape(each, (-1, 4))[is_object])
        classes.append(np.asarray(ids, int)[is_object])
        images.append(np.full(len(classes[-1]), index))
    return np.concatenate(boxes), np.concatenate(classes), np.concatenate(images)


def _require_objects(purpose, reader, summary):
    if len(objects_of(summary)[1]):
        return
    raise ValueError(
        f"train: none of the {len(reader)} {purpose} images has an object."
        f"{dropped_sentence(reader.dropped)} Check the labels."
    )


def _objects_per_class(summary, count):
    return np.bincount(objects_of(summary)[1], minlength=count).tolist()
