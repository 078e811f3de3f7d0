"""From a reader to batches for `model.fit` and `model.evaluate`."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfseg import checks
from tfseg.data.augment import Augment
from tfseg.data.augment.color_ops import color_range
from tfseg.data.cache import cached
from tfseg.data.exit_gate import until_exit
from tfseg.data.loading import Loader
from tfseg.data.native.cache_source import cache_source
from tfseg.data.native.file_source import file_source
from tfseg.data.native.sample_store import has_plain_samples, stored_source
from tfseg.data.native.streams import read_by_tensorflow
from tfseg.data.python_streams import read_by_python
from tfseg.data.readers import Reader
from tfseg.data.readers.tiles import are_tiles
from tfseg.data.resize import Resize
from tfseg.data.sample_checks import ImageChecks
from tfseg.data.sample_order import each_once, endless_order
from tfseg.data.value_range import check_range

ON_ERROR = ("raise", "skip")


def pipeline(
    reader: Reader,
    batch_size: int = 8,
    augment: Augment | None = None,
    seed: int = 0,
    first_step: int = 0,
    shuffle: bool | None = None,
    cache: str | Path | None = None,
    resize: Resize | None = None,
    pad: bool = False,
    on_error: str = "raise",
    value_range: tuple[float, float] | None = None,
    max_objects: int | None = None,
) -> tf.data.Dataset:
    """Create a `tf.data.Dataset` of (image, mask) batches.

    With `augment` it is a training stream: full batches of augmented crops, shuffled anew in every
    epoch. The seed and the step fix every random choice, whatever the number of threads: a stream
    that starts at step k yields the batches that an uninterrupted stream yields from step k on.
    Without `augment` it is an evaluation stream: every sample once, whole, in batches of images of
    one size.

    Images that `augment` or `resize` shows at half of their size or less are read at a half, a
    quarter or an eighth of it, which is faster for JPEG files.

    Where it can, TensorFlow reads samples without Python, and so makes use of many cores: nothing
    in the dataset's graph calls Python. So it also works with the `tf.data` service: repeat it
    before `distribute`, whose passes all begin anew. These are the samples of images and masks of

    - `Folder`, `Voc`, `Cityscapes` and `TFRecords` with one JPEG or PNG per image and one PNG per
      mask, parts of them, and their tiles in random order;
    - any reader with `cache="memory"` or a folder as cache. It is filled, and every sample in it
      checked, when the pipeline is opened.

    Python reads everything else, and with `resize`, `pad` or `on_error="skip"`. The batches are the
    same. `read_by` of the dataset says which of them reads.

    Samples are checked: masks must contain class ids, and images that are not in the range of
    values which a model expects are warned of. If TensorFlow reads files, Python checks a few of
    them first, when the pipeline is opened; if these show a single class, Python reads all.

    Args:
        reader: a `Reader`.
        batch_size: number of images per batch.
        augment: an `Augment`, or None.
        seed: random seed of the order and the augmentation.
        first_step: number of the batch that the training stream starts with.
        shuffle: True for a training stream of whole samples, for `training.augmented`. None
            shuffles if there is an `augment`.
        cache: where to keep decoded samples: "memory", or the path of a folder, which is created.
            None decodes them every time.
        resize: a `Resize` that brings whole images to one size. Not with `augment`.
        pad: without `augment`, batch images of different sizes together, padded at the right and
            the bottom: images with 0, masks with `reader.ignore_index`. It is faster, but the model
            sees the padding.
        on_error: "raise" stops at a sample that cannot be read, with an error that names the file.
            "skip" leaves it out, and warns about all skipped samples at the end of each pass. A
            training batch contains the next sample instead.
        value_range: lowest and highest value of the images that the model is trained on; the
            default is that of `augment`. An `augment` without one uses it for color operations,
            which need it unless images are uint8.
        max_objects: number of objects per image in every batch, so that all batches have one shape.
            Images with fewer are padded; of images (or crops) with more the largest boxes are kept,
            and a warning at the end of each pass names those that were not named before. None pads
            to the largest number in a batch.

    Returns:
        tf.data.Dataset of (B, H, W, C) images, float32 or of the reader's dtype, and (B, H, W)
        masks, uint8, or int32 with more than 255 classes. For readers with boxes the second element
        is a dict of all labels: "boxes" (B, N, 4), "classes", "crowd" and "areas" (B, N) are padded
        with boxes of class -1. Its attribute `read_by` is "TensorFlow" or "Python".

    Raises:
        ValueError: an argument is out of range, two of them exclude each other, or the reader is
            empty. Or `augment` changes colors of images that are not uint8, without a range.
        OSError, ValueError: a sample that is read when the pipeline is opened cannot be read, or
            its mask contains values that are not class ids.
        tf.errors.OpError: from the dataset, the same of later samples. The error names the sample.

    Warns:
        UserWarning: images are not in the expected range, as after a division by 255; all masks
            contain a single class and ignored pixels; or there are more than `max_objects`.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf"])
        >>> batches = tfseg.data.pipeline(reader, batch_size=2)
        >>> images, masks = next(iter(batches))
        >>> images.shape, masks.shape
        (TensorShape([2, 48, 64, 3]), TensorShape([2, 48, 64]))
    """
    _check_arguments(reader, batch_size, augment, shuffle, resize, pad, on_error, value_range)
    if max_objects is not None:
        _check_max_objects(reader, max_objects)
    if augment is not None:
        augment = _for_reader(augment, reader, value_range)
    is_endless = augment is not None or bool(shuffle)
    shrink = 1 if augment is None else augment.crop_sampler.shrink
    image_checks = _image_checks(reader, augment, value_range)
    # Crops show a part of the objects: those are cut after the augmentation.
    limit = max_objects if augment is None else None
    needs_python = on_error == "skip" or resize is not None or pad
    is_native = not needs_python and _may_be_native(reader, cache, is_endless)
    reader = reader if is_native and cache == "memory" else cached(reader, cache)
    loader = Loader(reader, on_error, resize, shrink, image_checks, limit)
    if is_endless and augment is None and not pad:
        _check_one_size(loader.sizes)
    source = _open_source(loader, cache, image_checks.clipped) if is_native else None
    if is_endless:
        order, steps = endless_order(len(loader.sizes), batch_size, seed, first_step)
    else:
        order, steps = each_once(loader.sizes, batch_size, pad)
    augment = None if augment is None else augment.scaled_by(shrink)
    if source is not None:
        dataset = read_by_tensorflow(order, loader, source, augment, seed)
    else:
        dataset = read_by_python(order, loader, batch_size, augment, seed, max_objects)
    reports = max_objects is not None or on_error == "skip"
    dataset = _finish(dataset, steps, loader.report if reports else None)
    dataset.read_by = "Python" if source is None else "TensorFlow"
    return dataset


def _may_be_native(reader, cache, is_endless):
    """Return whether TensorFlow may read the samples of a reader."""
    # Python keeps the last images, which TensorFlow would decode again for every tile.
    are_kept = not is_endless and cache is None and are_tiles(reader)
    # Keras' other backends cannot compute crops inside TensorFlow functions.
    is_tensorflow = keras.backend.backend() == "tensorflow"
    return is_tensorflow and not are_kept and has_plain_samples(reader)


def _open_source(loader, cache, clipped):
    """Return the `Source` of the samples; None if TensorFlow cannot read them."""
    with tf.device("CPU:0"):
        if cache is not None:
            return stored_source(loader) if cache == "memory" else cache_source(loader, clipped)
        source = file_source(loader, clipped)
        is_checked = source is not None and loader.check_first_samples()
    return source if is_checked else None


def _check_arguments(reader, batch_size, augment, shuffle, resize, pad, on_error, value_range):
    if not len(reader):
        raise ValueError("pipeline: the reader is empty. Choose other files or another split.")
    checks.positive_int("pipeline", "batch_size", batch_size)
    checks.one_of("pipeline", "on_error", on_error, ON_ERROR)
    if value_range is not None:
        check_range("pipeline", value_range)
    if augment is None:
        return
    if resize is not None or pad or shuffle is False:
        raise ValueError(
            "pipeline: `resize`, `pad` and `shuffle=False` are for whole images, but `augment` "
            "takes crops. Remove them, or remove `augment`."
        )
    if augment.crop == "classes" and "mask" not in reader.fields:
        raise ValueError(
            "pipeline: crop='classes' needs masks, but this reader has none. Use crop='random'."
        )


def _check_one_size(sizes):
    if len(np.unique(sizes, axis=0)) > 1:
        raise ValueError(
            "pipeline: the images differ in size. Pass `resize`, `pad=True` or an `augment`."
        )


def _check_max_objects(reader, max_objects):
    checks.positive_int("pipeline", "max_objects", max_objects)
    if "boxes" not in reader.fields:
        raise ValueError(
            f"pipeline: max_objects={max_objects} needs objects, but this reader has only "
            f"{', '.join(reader.fields)}. Remove max_objects, or use a reader of objects."
        )


def _for_reader(augment, reader, value_range):
    """Return the augmentation with the reader's `ignore_index` and the range of its images."""
    changes = {}
    if augment.ignore_index != reader.ignore_index:
        changes["ignore_index"] = reader.ignore_index
    if augment.changes_colors and augment.value_range is None and value_range is not None:
        changes["value_range"] = value_range
    if changes:  # a copy compiles its kernel anew
        augment = replace(augment, **changes)
    color_range(augment, reader.dtype)  # raises if it is unknown
    return augment


def _image_checks(reader, augment, value_range):
    if augment is None:
        return ImageChecks(reader, value_range)
    clipped = augment.value_range if augment.changes_colors else None
    normalized = augment.normalization is not None
    return ImageChecks(reader, value_range or augment.value_range, clipped, normalized)


def _image_and_labels(batch):
    """Return the image, and the mask or a dict of all labels, as `model.fit` expects."""
    image = batch.pop("image")
    return image, batch["mask"] if batch.keys() == {"mask"} else batch


def _finish(dataset, steps, report):
    """Return the dataset as `model.fit` expects it, which calls `report` at its end if any."""
    options = tf.data.Options()
    # The autotune thread sleeps up to a minute, and TensorFlow 2.21 waits for it to wake up when an
    # epoch's iterator ends: `fit` stopped for 8 to 50 s after the last step. Nothing here needs it.
    options.autotune.enabled = False
    dataset = dataset.map(_image_and_labels)
    if report is not None:
        dataset = dataset.concatenate(_call_at_end(report, dataset))
    if dataset.cardinality() != steps:  # a worker of the tf.data service may see a part of them
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    return dataset.prefetch(2).with_options(options)


def _call_at_end(function, like):
    """Return an empty dataset that calls a function when it is reached."""

    def nothing(_):
        call = until_exit(function, lambda: None)
        with tf.control_dependencies([tf.py_function(call, [], [])]):
            return like.take(tf.constant(0, tf.int64))

    return tf.data.Dataset.range(1).flat_map(nothing)
