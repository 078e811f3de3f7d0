"""From augmented labels to the targets of `tfseg.models.instances`, as stages of tf.data."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfseg import checks, ops
from tfseg.checks import IGNORE_INDEX, ignore_index_for
from tfseg.data.exit_gate import until_exit

IGNORED = -1.0  # target of a probability that does not count


def star_targets(
    rays: int = 32, grid: int = 2, num_classes: int = 1, ignore_index: int = IGNORE_INDEX
) -> Callable:
    """Return a function that makes the targets of a star head from batches of instances.

    They are those of StarDist (arXiv:1806.03535). Map it over augmented batches:

        batches = tfseg.data.pipeline(reader, 8, augment)
        batches = batches.map(tfseg.data.star_targets(), num_parallel_calls=2)

    - "object_logits" (B, h, w, 1): the probability, see `tfseg.ops.object_probabilities`; -1 where
      the mask is ignored. It is computed on the samples, so that each object with a sample has one
      of 1.
    - "distances" (B, h, w, rays + 1): see `tfseg.ops.star_distances`; the last channel is the
      weight, the probability, and 0 where the mask is ignored.
    - "class_logits" (B, h, w), only if there are several classes: category of the pixel's object,
      ignored outside of objects.

    The part of an object outside of the crop does not exist for the targets: distances end at the
    border of the crop, as they do at the border of the image, while the probability does not drop
    towards it. So objects at the border are found wherever an image is cut.

    Args:
        rays: number of distances per sample.
        grid: distance of the samples in pixels.
        num_classes: number of object categories; 1 for objects of any category.
        ignore_index: `reader.ignore_index`.

    Returns:
        function (images, labels) -> (images, dict). The labels are a dict with "instances"
        (B, H, W), with "classes" (B, N) if there are several classes, and "mask" (B, H, W) if
        pixels can be ignored.

    Raises:
        ValueError: an argument is out of range. From the function: labels are missing.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["leaf"], instances=True)
        >>> batches = tfseg.data.pipeline(reader, 2).map(tfseg.data.star_targets(rays=16))
        >>> images, targets = next(iter(batches))
        >>> targets["distances"].shape
        TensorShape([2, 24, 32, 17])
    """
    checks.positive_int("star_targets", "rays", rays)
    checks.positive_int("star_targets", "grid", grid)
    checks.positive_int("star_targets", "num_classes", num_classes)

    def make(instances, classes, mask):
        samples = np.s_[:, ::grid, ::grid]
        ignored = mask[samples] == ignore_index
        probability = ops.object_probabilities(instances[samples])
        weight = np.where(ignored, 0, probability)[..., None].astype(np.float32)
        distances = ops.star_distances(instances, rays, grid)
        targets = {
            "object_logits": np.where(ignored, IGNORED, probability)[..., None].astype(np.float32),
            "distances": np.concatenate([distances, weight], axis=-1),
        }
        if num_classes > 1:
            outside = ignore_index_for(num_classes)
            ids = categories_of(instances[samples], classes, outside)
            targets["class_logits"] = np.where(ignored, outside, ids).astype(np.int32)
        return targets

    names = {"object_logits": tf.float32, "distances": tf.float32}
    channels = {"object_logits": [1], "distances": [rays + 1]}
    if num_classes > 1:
        names["class_logits"] = tf.int32
    return _stage("star_targets", make, names, channels, grid, num_classes > 1)


def center_targets(
    num_classes: int = 1,
    thing_ids: Sequence[int] | None = None,
    sigma: float = 8.0,
    ignore_index: int = IGNORE_INDEX,
) -> Callable:
    """Return a function that makes the targets of a center head from batches of instances.

    They are those of Panoptic-DeepLab (arXiv:1911.10194). Map it over augmented batches:

        batches = tfseg.data.pipeline(reader, 8, augment)
        batches = batches.map(tfseg.data.center_targets(), num_parallel_calls=2)

    - "class_logits" (B, H, W): 0 for background and k + 1 for category k; with `thing_ids`, the
      mask as it is.
    - "center_logits" (B, H, W, 1): the heat, see `tfseg.ops.center_heat`, -1 where it is ignored:
      where the mask is, and with `thing_ids` where the mask shows a thing that is not an object,
      such as a crowd.
    - "offsets" (B, H, W, 3): (dy, dx) to the center of mass of the pixel's object, as far as the
      crop shows it, and the weight: 1 in objects, 0 elsewhere and where the mask is ignored.

    Args:
        num_classes: number of object categories; with `thing_ids`, of ids in the masks.
        thing_ids: ids in the masks of the object categories, `reader.object_label_ids`, to learn
            stuff as well; None for things only.
        sigma: standard deviation of the heat in pixels. About a third of the distance of the
            closest centers lets them stay apart; the paper has 8.
        ignore_index: `reader.ignore_index`.

    Returns:
        function (images, labels) -> (images, dict). The labels are a dict with "instances"
        (B, H, W), with "classes" (B, N) if there are several categories, and "mask" (B, H, W) if
        pixels can be ignored; for `thing_ids` with "mask" and without "classes".

    Raises:
        ValueError: an argument is out of range. From the function: labels are missing.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["leaf"], instances=True)
        >>> batches = tfseg.data.pipeline(reader, 2).map(tfseg.data.center_targets(sigma=3))
        >>> images, targets = next(iter(batches))
        >>> targets["offsets"].shape
        TensorShape([2, 48, 64, 3])
    """
    checks.positive_int("center_targets", "num_classes", num_classes)
    checks.above_zero("center_targets", "sigma", sigma)
    things = None if thing_ids is None else np.array(thing_ids, np.int64).ravel()

    def make(instances, classes, mask):
        ignored = mask == ignore_index
        centers = ops.object_centers(instances)
        heat = ops.center_heat(centers, *instances.shape[1:], sigma)
        weight = ((instances > 0) & ~ignored)[..., None].astype(np.float32)
        offsets = ops.center_offsets(instances, centers)
        if things is None:
            outside = ignore_index_for(num_classes + 1)
            ids = np.where(ignored, outside, categories_of(instances, classes, -1) + 1)
        else:
            ids = np.where(ignored, ignore_index_for(num_classes), mask)
            ignored = ignored | ((instances == 0) & np.isin(mask, things))
        return {
            "class_logits": ids.astype(np.int32),
            "center_logits": np.where(ignored, IGNORED, heat)[..., None].astype(np.float32),
            "offsets": np.concatenate([offsets, weight], axis=-1),
        }

    names = {"class_logits": tf.int32, "center_logits": tf.float32, "offsets": tf.float32}
    channels = {"center_logits": [1], "offsets": [3]}
    has_stuff = things is not None
    needs_classes = num_classes > 1 and not has_stuff
    return _stage("center_targets", make, names, channels, 1, needs_classes, has_stuff)


def categories_of(instances, classes, outside: int):
    """Return (B, H, W) categories of the objects of pixels.

    Args:
        instances: (B, H, W): 0 for no object, k for the k-th object.
        classes: (B, N) categories.
        outside: the result where there is no object.
    """
    table = np.pad(classes, ((0, 0), (1, 0)), constant_values=outside)
    flat = np.take_along_axis(table, instances.reshape(len(instances), -1), axis=1)
    return flat.reshape(instances.shape)


def _stage(owner, make, dtypes, channels, grid, needs_classes, needs_mask=False):
    """Return a stage of tf.data that calls `make` on NumPy arrays.

    Args:
        owner: name for error messages.
        make: function of "instances", "classes" and "mask" of a batch -> dict of targets.
        dtypes: {name: dtype} of the targets.
        channels: {name: [C]} of the targets that have channels.
        grid: distance of their samples.
        needs_classes, needs_mask: whether these labels are used; others are made up.
    """
    needed = ["instances", *["classes"] * needs_classes, *["mask"] * needs_mask]

    def call(instances, classes, mask):
        # uint8 masks cannot contain every ignored label
        targets = make(instances, classes, mask.astype(np.int32))
        return [targets[name] for name in dtypes]

    def blank():
        shapes = [[0] * (3 + len(channels.get(name, []))) for name in dtypes]
        pairs = zip(shapes, dtypes.values(), strict=True)
        return [np.zeros(shape, dtype.as_numpy_dtype) for shape, dtype in pairs]

    def stage(images, labels):
        _require(owner, labels, needed)
        instances = labels["instances"]
        classes, mask = _classes(labels, needs_classes), _mask(labels)
        function = until_exit(call, blank)
        arrays = tf.numpy_function(
            function, [instances, classes, mask], list(dtypes.values()), stateful=False
        )
        batch, *sides = instances.shape
        size = [None if side is None else -(-side // grid) for side in sides]
        targets = dict(zip(dtypes, arrays, strict=True))
        for name, array in targets.items():
            array.set_shape([batch, *size, *channels.get(name, [])])
        return images, targets

    return stage


def _require(owner, labels, needed):
    missing = [name for name in needed if not isinstance(labels, dict) or name not in labels]
    if missing:
        found = list(labels) if isinstance(labels, dict) else "a mask"
        raise ValueError(
            f"{owner}: got labels {found} without {', '.join(missing)}. Use a reader of instances, "
            "such as tfseg.data.InstanceMasks or Folder(..., instances=True)."
        )


def _classes(labels, are_needed):
    """Return (B, N) categories; 0 for every object if there is a single one."""
    if are_needed:
        return labels["classes"]
    instances = labels["instances"]
    return tf.zeros([tf.shape(instances)[0], tf.reduce_max(instances)], tf.int32)


def _mask(labels):
    """Return the mask, or one without ignored pixels."""
    return labels["mask"] if "mask" in labels else tf.zeros_like(labels["instances"])
