"""The readers of a training, from the folders that its config names."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfseg.data import Folder, Reader, open_objects
from tfseg.data.readers.open_objects import has_voc_list
from tfseg.data.value_range import range_warning
from tfseg.doctor import Summary, check
from tfseg.training.config import TrainConfig
from tfseg.training.record import DataFacts
from tfseg.training.task_fields import SEMANTIC

NAMES_SHOWN = 8


@dataclass(frozen=True)
class CheckedData:
    """Opened readers whose samples were all read once.

    Attributes:
        train, val: readers.
        summary, val_summary: `tfseg.doctor.Summary` of each.
    """

    train: Reader
    val: Reader
    summary: Summary
    val_summary: Summary


def open_readers(config: TrainConfig, data: DataFacts | None = None):
    """Open the folders of a config: images and masks, or images and the labels of objects.

    Args:
        config: the `TrainConfig`.
        data: what the run found in its data; then exactly its samples are opened, whatever else the
            folders contain by now. None for a new run.

    Returns:
        (train, val): readers.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: files do not match, a sample of the run is missing, or the config's groups do
            not fit the samples.
    """
    if config.images is None:
        raise ValueError("TrainConfig: images=None names no folder. Pass readers: train and val.")
    train, val = _open_objects(config, data) if config.has_objects else _open_masks(config, data)
    if data is not None:
        return select_samples(train, data.train_names), select_samples(val, data.val_names)
    if config.fold is not None:
        return train.k_fold(config.folds, config.seed, config.groups)[config.fold - 1]
    if val is train:
        return train.split(config.val_fraction, config.seed, config.groups)
    if config.groups is not None:
        raise ValueError(
            f"TrainConfig: groups={config.groups!r} contradicts '{config.labels}', which lists the "
            "images to validate on in val.txt in ImageSets. Remove the groups, or the list."
        )
    return train, val


def open_whole(config: TrainConfig, data: DataFacts | None = None) -> Folder:
    """Open the images and masks of a config for folds, which are not split.

    Args:
        config: the `TrainConfig`.
        data: what a fold found in its data; None before the first one.
    """
    if config.images is None:
        raise ValueError("TrainConfig: images=None names no folder. Pass a reader of all samples.")
    return _open_masks(config, data)[0]


def _open_objects(config, data):
    """Return the training and the validation reader of objects, or one reader twice."""
    names = config.class_names if data is None else data.label_names or data.object_names
    train = open_objects(config.images, config.labels, config.task, names)
    folders = config.val_images, config.val_labels
    if config.val_images is None:
        if not has_voc_list(config.labels, config.task, "val"):
            return train, train
        folders = config.images, config.labels
    return train, open_objects(*folders, config.task, train.label_names, split="val")


def _open_masks(config, data):
    """Return the training and the validation reader of folders, or one reader twice."""
    train = Folder(
        config.images,
        config.masks,
        config.class_names,
        ignore_value=config.ignore_value,
        mask_values=config.mask_values if data is None else data.mask_values,
        channels=_channels(config, data),
        **_mask_options(config),
    )
    val = train
    if config.val_images is not None:
        folders = config.val_images, config.val_masks
        val = open_like(train, *folders, config.ignore_value, train.mask_values, config)
    return train, val


def _mask_options(config):
    """Return the arguments of `Folder` that say where masks are, and whether they are colored."""
    names = ("colors", "recursive", "mask_suffix")
    return {name: getattr(config, name) for name in names}


def open_like(
    example,
    images,
    masks,
    ignore_value: int,
    mask_values: dict | None,
    config: TrainConfig | None = None,
) -> Folder:
    """Open two folders whose images are read like those of a training.

    Args:
        example: the training's reader or its `DataFacts`.
        images, masks: folders.
        ignore_value, mask_values: see `tfseg.data.Folder`.
        config: the training's config, for its `colors`, `recursive` and `mask_suffix`.

    Raises:
        ValueError: the training's images have 8 bits per channel, and these have more.
    """
    reader = Folder(
        images,
        masks,
        example.class_names,
        ignore_value=ignore_value,
        mask_values=mask_values,
        channels=example.channels,
        **(_mask_options(config) if config else {}),
    )
    # Of a mixed training set, which is read as float32, a part may well have 8 bits only.
    if np.dtype(example.dtype) == np.uint8 and reader.dtype != np.uint8:
        raise ValueError(
            f"The images in '{images}' have more than 8 bits per channel, but the training images "
            "have 8 bits: their values have another meaning. Convert them to 8 bits first."
        )
    return reader


def require_alike(train, val) -> None:
    """Refuse readers that give ids, channels or values another meaning."""
    for name in ("class_names", "object_names"):
        names, others = (list(getattr(reader, name, None) or []) for reader in (train, val))
        if names != others:
            raise ValueError(
                f"train: the training reader has {name} {names}, but the validation reader has "
                f"{others}: their ids mean different classes. Pass the same names to both readers, "
                "for example Coco(..., class_names=train.class_names)."
            )
    if train.channels != val.channels:
        raise ValueError(
            f"train: the training images have {train.channels} channels, but the validation images "
            f"have {val.channels}. Read both alike, for example with channels={train.channels}."
        )
    if train.dtype == np.uint8 and val.dtype != np.uint8:
        raise ValueError(
            "train: the training images have 8 bits per channel, but the validation images are "
            f"{val.dtype}: their values have another meaning. Convert them to 8 bits first."
        )


def open_checked(
    config: TrainConfig, track: Callable = lambda samples, total: samples
) -> CheckedData:
    """Open the folders of a config and read every sample once, for `train`'s `checked`.

    Args:
        config: the `TrainConfig`.
        track: wraps the iteration to show progress.

    Raises:
        FileNotFoundError, ValueError: see `open_readers`; or samples cannot be trained or validated
            on.
    """
    train, val = open_readers(config)
    require_alike(train, val)
    return check_readers(config.task, train, val, track)


def check_readers(task: str, train: Reader, val: Reader, track: Callable) -> CheckedData:
    """Read every sample once.

    Args:
        task: see `TrainConfig`. Only masks must show two classes.
        train, val: readers.
        track: wraps the iteration to show progress.

    Raises:
        ValueError: samples cannot be trained or validated on; the message names those of both.
    """
    summaries, problems = [], []
    min_classes = 2 if task == SEMANTIC else 1
    for reader, purpose, classes in ((train, "training", min_classes), (val, "validation", 1)):
        try:
            summaries.append(check(reader, track, min_samples=1, min_classes=classes))
        except ValueError as error:
            problems.append(f"In the {purpose} images: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    return CheckedData(train, val, *summaries)


def warn_of_ranges(data: CheckedData, takes_0_255: bool, stacklevel: int = 4) -> None:
    """Warn about images that are not in the range of the model, or of the training images.

    Args:
        data: the checked readers.
        takes_0_255: whether the model is known to normalize 0..255.
        stacklevel: of the warning, so that it names the caller of `train`.
    """
    if data.train.dtype == np.uint8:
        return
    trained = data.summary.value_range
    texts = [range_warning(*data.val_summary.value_range, trained, "train: validation images")]
    if takes_0_255:
        texts.append(range_warning(*trained, None, "train: training images"))
    for text in filter(None, texts):
        warnings.warn(text, stacklevel=stacklevel)


def sample_names(reader) -> list[str]:
    """Return the names of a reader's samples, in order."""
    return [reader.name(index) for index in range(len(reader))]


def _channels(config, data):
    if data is not None:
        return data.channels
    return 1 if config.gray else None


def select_samples(reader, names):
    """Return a reader of the samples of a run; raise a ValueError if some are missing."""
    present = set(sample_names(reader))
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(
            f"{len(missing)} of the run's images are missing: {', '.join(missing[:NAMES_SHOWN])}. "
            "Restore them, or start a new run."
        )
    return reader.select(names)
