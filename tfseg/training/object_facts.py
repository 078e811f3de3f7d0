"""What a training on objects finds in its data: the numbers of objects, and the shared facts."""

import numpy as np

from tfseg.data.readers.problems import dropped_sentence
from tfseg.training.open_data import check_readers, warn_of_ranges
from tfseg.training.record import DataFacts
from tfseg.training.task import common_facts


def check_objects(train, val, track, takes_0_255: bool):
    """Read every sample once, and refuse readers without an object.

    Args:
        train, val: readers of objects.
        track: wraps the iteration to show progress.
        takes_0_255: whether the model is known to normalize 0..255.

    Returns:
        (train, val): a `Summary` of each.

    Raises:
        ValueError: samples cannot be trained or validated on, or have no object at all.
    """
    summary, val_summary = check_readers(train, val, track, min_classes=1)
    _require_objects("training", train, summary)
    _require_objects("validation", val, val_summary)
    warn_of_ranges(train, summary, val_summary, takes_0_255, stacklevel=6)
    return summary, val_summary


def object_facts(train, val, summary, val_summary, **others) -> DataFacts:
    """Return the `DataFacts` of readers of objects.

    Args:
        train, val: readers of objects.
        summary, val_summary: what `check_objects` returned.
        **others: further fields.
    """
    count = len(train.object_names)
    return DataFacts(
        class_names=list(train.object_names),
        mask_values=None,
        **common_facts(train, val, summary, val_summary),
        object_names=list(train.object_names),
        object_counts=_objects_per_class(summary, count),
        val_object_counts=_objects_per_class(val_summary, count),
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
