"""From the outputs of instance models and detectors to numbered objects, on the host (NumPy)."""

import functools

import keras
import numpy as np

from tfseg.models.detection import is_detector
from tfseg.models.instance_settings import instance_settings
from tfseg.models.instance_thresholds import chosen_thresholds
from tfseg.ops import (
    MASK_THRESHOLD,
    describe_instances,
    find_centers,
    nearest_centers,
    paste_mask,
    pixel_targets,
    polygon_nms,
    render_polygons,
    star_polygons,
    thing_pixels,
)

MIN_ROWS = 256  # candidates are padded to powers of two, so that few sizes are compiled
CENTERS_PER_PIXEL = 1 / 16  # peaks are at least 4 pixels apart


def decode_instances(
    model,
    outputs: dict,
    size: tuple[int, int],
    object_threshold: float | None = None,
    nms_overlap: float | None = None,
) -> dict:
    """Return the objects that a model's outputs for one image stand for.

    Args:
        model: a model of `tfseg.models.instances`, or a detector with masks.
        outputs: dict of NumPy arrays, the outputs of the model for one image, without batch axis.
        size: (height, width) of the image in pixels.
        object_threshold: probability that the center of an object needs, or for detectors its
            score. None for that of the model: 0.5, or 0.1 for "center", unless
            `with_object_thresholds` has changed it.
        nms_overlap: for "star", overlap (intersection / area of the smaller one) above which the
            object of a lower score is dropped; None for that of the model, 0.4 unless changed.
            Other models do not use it.

    Returns:
        dict: "instances" (H, W) int32, 0 for background and k + 1 for object k, where objects
        overlap that of the higher score; "scores" (N,) float32 in descending order; "classes" (N,)
        int32 from 0. For "star" also "polygons" (N, rays, 2) float32, x and y of the vertices in
        pixels. For "center" also "mask" (H, W) int32, the class ids of the model's logits, that
        of the object on its pixels: with "instances" a panoptic segmentation.
    """
    object_threshold, nms_overlap = chosen_thresholds(model, object_threshold, nms_overlap)
    settings = None if is_detector(model) else instance_settings(model)
    if settings is not None and settings.head == "star":
        outputs = star_candidates(outputs, settings.grid, object_threshold)
    return objects_of(model, outputs, size, object_threshold, nms_overlap)


def objects_of(
    model,
    outputs: dict,
    size: tuple[int, int],
    object_threshold: float | None = None,
    nms_overlap: float | None = None,
) -> dict:
    """Do what `decode_instances` does, for "star" with the candidates in place of the outputs.

    Args:
        model, size, object_threshold, nms_overlap: see `decode_instances`.
        outputs: see `decode_instances`; for "star", candidates above the threshold, see
            `star_candidates`.
    """
    object_threshold, nms_overlap = chosen_thresholds(model, object_threshold, nms_overlap)
    if is_detector(model):
        return detected_objects(outputs, size, object_threshold)
    settings = instance_settings(model)
    if settings.head == "star":
        return star_objects(outputs, size, nms_overlap)
    return center_objects(outputs, settings.thing_ids, object_threshold)


def star_candidates(outputs: dict, grid: int, threshold: float, part=None) -> dict:
    """List the samples whose object probability is above a threshold.

    Args:
        outputs: "object_logits" (h, w, 1), "distances" (h, w, rays) and, with several categories,
            "class_logits" (h, w, C).
        grid: distance of the samples in pixels.
        threshold: of the object probability.
        part: pair of slices, the rows and columns of samples to look at; None for all.

    Returns:
        dict: "centers" (N, 2) x and y in pixels, "distances" (N, rays), "scores" (N,), "classes"
        (N,) int32.
    """
    part = np.s_[:, :] if part is None else part
    scores = _sigmoid(outputs["object_logits"][part][..., 0])
    rows, columns = np.nonzero(scores > threshold)
    first = [bounds.start or 0 for bounds in part]
    samples = np.stack([columns + first[1], rows + first[0]], axis=-1)
    classes = np.zeros(len(rows), np.int32)
    if "class_logits" in outputs:
        classes = outputs["class_logits"][part][rows, columns].argmax(-1).astype(np.int32)
    return {
        "centers": (samples * grid + 0.5).astype(np.float32),
        "distances": outputs["distances"][part][rows, columns],
        "scores": scores[rows, columns],
        "classes": classes,
    }


def star_objects(candidates: dict, size: tuple[int, int], nms_overlap: float) -> dict:
    """Suppress overlapping candidates and draw the others; see `decode_instances`.

    Args:
        candidates: see `star_candidates`.
        size: (height, width) of the image in pixels.
        nms_overlap: see `decode_instances`.
    """
    return draw_stars(suppress(candidates, nms_overlap), size)


def draw_stars(kept: dict, size: tuple[int, int]) -> dict:
    """Return the objects of the candidates that `suppress` returned; see `decode_instances`."""
    centers, distances = kept["centers"], kept["distances"]
    vertices = np.zeros((0, distances.shape[-1], 2), np.float32)
    if len(centers):
        vertices = np.asarray(keras.ops.convert_to_numpy(star_polygons(distances, centers)))
    labels = render_polygons(distances, centers, *size)
    return _visible(labels, kept["scores"], kept["classes"], polygons=vertices)


def suppress(candidates: dict, overlap: float, most: int | None = None) -> dict:
    """Return the candidates that remain after non-maximum suppression, by descending score.

    Args:
        candidates: see `star_candidates`.
        overlap: see `polygon_nms`.
        most: return this many, those of the highest scores; None for all.
    """
    count = len(candidates["scores"])
    if most is None:
        return _suppress(candidates, overlap)
    order = np.argsort(-candidates["scores"], kind="stable")
    rows = 4 * most
    while True:  # candidates of lower scores do not change which of the others remain
        best = {name: values[order[:rows]] for name, values in candidates.items()}
        kept = _suppress(best, overlap)
        if len(kept["scores"]) >= most or rows >= count:
            return {name: values[:most] for name, values in kept.items()}
        rows *= 4


def _suppress(candidates, overlap):
    """Return all candidates that remain, by descending score."""
    count = len(candidates["scores"])
    rows = MIN_ROWS
    while rows < count:
        rows *= 2
    names = ("distances", "centers", "scores")
    padding = [(0, rows - count)]
    inputs = [
        np.pad(candidates[name], padding + [(0, 0)] * (candidates[name].ndim - 1)).astype("float32")
        for name in names
    ]
    valid = np.arange(rows) < count
    model = _suppression(inputs[0].shape[-1])
    threshold = np.full((1, 1), overlap, np.float32)
    batch = [array[None] for array in (*inputs, valid)]
    indices, kept = model.predict_on_batch([*batch, threshold])
    order = np.asarray(indices)[0][np.asarray(kept)[0]]
    return {name: values[order] for name, values in candidates.items()}


class _Suppression(keras.layers.Layer):
    """`polygon_nms` as a layer, which Keras compiles for its backend."""

    def call(self, distances, centers, scores, valid, overlap):
        return polygon_nms(distances, centers, scores, overlap[0, 0], valid=valid)

    def compute_output_spec(self, distances, centers, scores, valid, overlap):
        indices = keras.KerasTensor(scores.shape, "int32")
        return indices, keras.KerasTensor(scores.shape, "bool")


@functools.cache
def _suppression(rays):
    inputs = [
        keras.Input((None, rays)),
        keras.Input((None, 2)),
        keras.Input((None,)),
        keras.Input((None,), dtype="bool"),
        keras.Input((1,)),
    ]
    return keras.Model(inputs, _Suppression(dtype="float32")(*inputs))


def center_objects(outputs: dict, thing_ids, threshold: float) -> dict:
    """Group the pixels of one image around the peaks of its center heat map.

    Args:
        outputs: "class_logits" (H, W, C), "center_logits" (H, W, 1) and "offsets" (H, W, 2).
        thing_ids: class ids of the object categories.
        threshold: heat that a center needs.

    Returns:
        dict, see `decode_instances`.
    """
    heat = _sigmoid(outputs["center_logits"][..., 0])
    most = int(np.ceil(heat.size * CENTERS_PER_PIXEL)) + 1
    centers, scores = (
        np.asarray(keras.ops.convert_to_numpy(rows))[0]
        for rows in find_centers(heat[None], threshold, max_centers=most)
    )
    count = np.count_nonzero(scores)
    logits = outputs["class_logits"][None]
    targets = keras.ops.convert_to_numpy(pixel_targets(outputs["offsets"][None]))[0]
    things = np.asarray(keras.ops.convert_to_numpy(thing_pixels(logits, thing_ids)))[0]
    ids = np.where(things, nearest_centers(np.asarray(targets), centers[:count]), 0)
    described = describe_instances(ids[None], logits, scores[None, :count], thing_ids)
    classes, scores, mask = (np.asarray(keras.ops.convert_to_numpy(x))[0] for x in described)
    order = np.argsort(-scores, kind="stable")
    numbers = np.zeros(count + 1, np.int32)
    numbers[order + 1] = np.arange(1, count + 1)
    return {**_visible(numbers[ids], scores[order], classes[order]), "mask": mask}


def detected_objects(detections: dict, size, threshold: float) -> dict:
    """Draw the masks of detections into one label map; see `decode_instances`.

    Args:
        detections: "scores" (M,) in descending order, "classes" (M,) with -1 for padding, "boxes"
            (M, 4) and "masks" (M, 28, 28) of one image.
        size: (height, width) of the image in pixels.
        threshold: score that an object needs.
    """
    wanted = (detections["classes"] >= 0) & (detections["scores"] > threshold)
    boxes, masks = detections["boxes"][wanted], detections["masks"][wanted]
    labels = np.zeros(size, np.int32)
    for k in reversed(range(len(boxes))):  # the objects of higher scores over the others
        crop, top, left = paste_mask(masks[k], boxes[k], *size)
        region = labels[top : top + crop.shape[0], left : left + crop.shape[1]]
        region[crop > MASK_THRESHOLD] = k + 1
    return _visible(labels, detections["scores"][wanted], detections["classes"][wanted])


def _visible(labels, scores, classes, **more):
    """Number the objects anew without those that have no pixels, which are behind others."""
    is_visible = np.bincount(labels.ravel(), minlength=len(scores) + 1)[1:] > 0
    numbers = np.concatenate([[0], np.where(is_visible, np.cumsum(is_visible), 0)])
    return {
        "instances": numbers.astype(np.int32)[labels],
        "scores": scores[is_visible].astype(np.float32),
        "classes": classes[is_visible].astype(np.int32),
        **{name: values[is_visible] for name, values in more.items()},
    }


def _sigmoid(logits):
    return keras.ops.convert_to_numpy(keras.ops.sigmoid(np.asarray(logits, np.float32)))
