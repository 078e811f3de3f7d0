"""Numbered objects of single images, also of images that are too large to predict at once."""

import itertools
import math
from functools import partial

import numpy as np

from tfseg import checks
from tfseg.inference.flips import average_over_flips
from tfseg.inference.image_values import fill_not_finite, warn_of_not_finite, warn_of_range
from tfseg.inference.predictor import checked_image
from tfseg.inference.sliding_windows import for_windows, is_standardized
from tfseg.models import instance_settings, is_detector, is_instance_model, output_stride
from tfseg.models.instance_decoding import objects_of, star_candidates
from tfseg.models.instance_thresholds import check_thresholds, chosen_thresholds
from tfseg.ops import nms, window_corners

OVERLAP = 0.25  # of neighboring tiles


def predict_instances(
    model,
    image,
    tile: int | None = None,
    object_threshold: float | None = None,
    nms_overlap: float | None = None,
    flips: bool = False,
) -> dict:
    """Predict the objects of an image as a map of numbers.

    Args:
        model: a model of `tfseg.models.instances`, or a detector with masks, such as
            `tfseg.models.mask_rcnn`.
        image: (H, W, C) or (H, W), any dtype, with the values the model was trained on (0..255).
        tile: side in pixels of the overlapping tiles in which a large image is predicted to save
            memory; None predicts it at once. Tiles overlap by at least a quarter of their side,
            and objects should not be larger than that. Each object is found once, as in the
            prediction of the whole image, up to what the network sees of the tiles' borders.
        object_threshold: probability that an object needs, or for detectors its score. None for
            that of the model: 0.5, or 0.1 with head="center", unless the model was tuned or changed
            by `tfseg.models.with_object_thresholds`.
        nms_overlap: for models with head="star", overlap (intersection / area of the smaller one)
            above which the object of a lower score is dropped; None for that of the model, 0.4
            unless changed.
        flips: average the outputs over the image and its three flips: better outlines for four
            times the time. Not for detectors, and only for an even number of rays.

    Returns:
        dict of NumPy arrays: "instances" (H, W) int32, 0 for background and k + 1 for object k,
        where objects overlap that of the higher score; "scores" (N,) float32 in descending order;
        "classes" (N,) int32 from 0. For head="star" also "polygons" (N, rays, 2) float32, x and y
        of the outlines in pixels; for head="center" also "mask" (H, W) int32, class ids of all
        pixels, those of the objects included.

    Raises:
        ValueError: the model predicts no instances, the image's shape does not fit it, or an
            argument is out of range or not for this model.

    Warns:
        UserWarning: the image has values that are not finite, which are treated as the mean of
            their channel, or its values are not in the range of the model's normalization.

    Example:
        >>> import tfseg
        >>> model = tfseg.training.Run("runs/nuclei").model()  # doctest: +SKIP
        >>> image = tfseg.data.read_image("photos/leaf0.jpg")
        >>> found = tfseg.inference.predict_instances(model, image)  # doctest: +SKIP
        >>> found["instances"].max(), found["scores"].shape  # doctest: +SKIP
        (7, (7,))
    """
    return instances_of(model, image, tile, object_threshold, nms_overlap, flips)


def instances_of(
    model,
    image,
    tile: int | None = None,
    object_threshold: float | None = None,
    nms_overlap: float | None = None,
    flips: bool = False,
    owner: str = "predict_instances",
    trained: tuple | None = None,
) -> dict:
    """Do what `predict_instances` does, for a function that predicts many images.

    Args:
        model, image, tile, object_threshold, nms_overlap, flips: see `predict_instances`.
        owner: the beginning of warnings and errors, such as the name of the image.
        trained: (lowest, highest) value of the images that the model was trained on, to warn of
            images in another range; None for what the model's normalization tells.
    """
    _check(owner, model, tile, object_threshold, nms_overlap)
    require_flippable(owner, model, flips)
    image = finite_image(model, image, owner, trained)
    outputs = raw_predictions(model, image, tile, object_threshold, flips)
    return objects_of(model, outputs, image.shape[:2], object_threshold, nms_overlap)


def finite_image(model, image, owner: str, trained: tuple | None = None):
    """Return the image as (H, W, C) with values that the model can take; see `instances_of`."""
    image = checked_image(model, image, owner)
    warn_of_range(image, model, owner, trained)
    if is_standardized(model):
        warn_of_not_finite(image, owner)  # the model itself leaves them out of its statistics
        return image
    return fill_not_finite(image, owner)


def raw_predictions(model, image, tile=None, object_threshold=None, flips=False) -> dict:
    """Return what `tfseg.models.instance_decoding.objects_of` takes.

    Args:
        model, image, tile, object_threshold, flips: see `predict_instances`. The image is
            (H, W, C).

    Returns:
        dict: the outputs for the image, without batch axis; for "star" the candidates above the
        threshold.
    """
    object_threshold, _ = chosen_thresholds(model, object_threshold)
    is_star = not is_detector(model) and instance_settings(model).head == "star"
    grid = instance_settings(model).grid if is_star else 1
    if tile is None or tile >= max(image.shape[:2]):
        outputs = outputs_of(model, image, flips)
        return star_candidates(outputs, grid, object_threshold) if is_star else outputs
    if is_star:
        return _candidates_in_tiles(model, image, tile, grid, object_threshold, flips)
    if is_detector(model):
        return _detect_in_tiles(model, image, tile)
    return _outputs_in_tiles(model, image, tile, flips)


def require_instances(owner: str, model):
    """Raise a ValueError if a model predicts no instances."""
    is_detector_with_masks = is_detector(model) and model.has_masks
    if not is_detector_with_masks and not is_instance_model(model):
        raise ValueError(
            f"{owner}: the model {model.name!r} does not predict instances. Use one of "
            "`tfseg.models.instances` or `tfseg.models.mask_rcnn`; for boxes without masks call "
            "`tfseg.inference.detect`, for classes of pixels `tfseg.inference.predict`."
        )


def _check(owner, model, tile, object_threshold, nms_overlap):
    require_instances(owner, model)
    if tile is not None:
        checks.positive_int(owner, "tile", tile)
    check_thresholds(owner, model, object_threshold, nms_overlap)


def require_flippable(owner: str, model, flips: bool):
    """Raise a ValueError if `flips` are wanted and the outputs of a model cannot be flipped."""
    if not flips:
        return
    if is_detector(model):
        raise ValueError(
            f"{owner}: flips=True is for models of tfseg.models.instances, and {model.name!r} is a "
            "detector. Remove the argument."
        )
    rays = instance_settings(model).rays
    if rays is not None and rays % 2:
        raise ValueError(
            f"{owner}: flips=True needs an even number of rays, and the model {model.name!r} has "
            f"{rays}: flipped rays would lie between them. Pass flips=False."
        )


def outputs_of(model, image, flips: bool = False) -> dict:
    """Return the outputs of a model for one image (H, W, C), without the batch axis."""
    if flips:
        return average_over_flips(partial(outputs_of, model), image, instance_settings(model))
    # always of one dtype: Keras compiles anew for each
    batch = model.predict_on_batch(image[None].astype(np.float32))
    return {name: np.asarray(value)[0] for name, value in batch.items()}


def _tiles(model, image, tile, grid=1, flips=False):
    """Yield the outputs of overlapping tiles, and which part of the image each one answers for.

    The parts do not overlap and cover the image; their borders are in the middle between those of
    two tiles. Tiles and parts begin on multiples of the grid, and tiles on multiples of the model's
    stride, so that its features lie on the same grids as those of the whole image.

    Yields:
        outputs of the tile; (top, left) of the tile; (top, bottom, left, right) of its part, in
        pixels of the image.
    """
    stride = math.lcm(output_stride(model), grid)
    if tile < stride:
        raise ValueError(
            f"predict_instances: tile={tile} is smaller than the stride {stride} of the model "
            f"{model.name!r}. Pass larger tiles, such as {16 * stride}."
        )
    corners = window_corners(image.shape[:2], tile, OVERLAP, stride)
    rows = _parts(sorted({y for y, _ in corners}), tile, image.shape[0], grid)
    columns = _parts(sorted({x for _, x in corners}), tile, image.shape[1], grid)
    model, prepare = for_windows(model, image)
    for y, x in corners:
        outputs = outputs_of(model, prepare(image[y : y + tile, x : x + tile]), flips)
        yield outputs, (y, x), (*rows[y], *columns[x])


def _parts(starts, size, extent, grid):
    """Return {start of a tile: (first, end) of its part} along one axis.

    Example: tiles of 8 at 0 and 4 of an extent of 12 with a grid of 1. They share 4 to 8, so the
    parts meet at 6.
    """
    borders = [
        (left + size + right) // 2 // grid * grid for left, right in itertools.pairwise(starts)
    ]
    return dict(zip(starts, zip([0, *borders], [*borders, extent], strict=True), strict=True))


def _candidates_in_tiles(model, image, tile, grid, threshold, flips):
    """Return the candidates of all tiles, each sample from the tile whose part it is in.

    Suppression then sees all of them at once, so no object is split or doubled.
    """
    found = []
    for outputs, (y, x), (top, bottom, left, right) in _tiles(model, image, tile, grid, flips):
        rows = slice((top - y) // grid, -(-(bottom - y) // grid))
        columns = slice((left - x) // grid, -(-(right - x) // grid))
        candidates = star_candidates(outputs, grid, threshold, (rows, columns))
        candidates["centers"] = candidates["centers"] + np.array([x, y], np.float32)
        found.append(candidates)
    found = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    # in the order of the whole image, which decides between equal scores
    order = np.lexsort(found["centers"].T)
    return {name: values[order] for name, values in found.items()}


def _outputs_in_tiles(model, image, tile, flips):
    """Return the outputs of the whole image, put together from the parts of all tiles."""
    whole = {}
    for outputs, (y, x), part in _tiles(model, image, tile, flips=flips):
        top, bottom, left, right = part
        for name, values in outputs.items():
            if name not in whole:
                whole[name] = np.zeros((*image.shape[:2], values.shape[-1]), np.float32)
            values = values[top - y : bottom - y, left - x : right - x]
            whole[name][top:bottom, left:right] = values
    return whole


def _detect_in_tiles(model, image, tile):
    """Return the detections of all tiles in pixels of the image, by descending score.

    A tile answers for the objects whose box has its center in the tile's part. The box of an object
    at the border of a part differs a little between tiles, so those nearby are taken from both
    tiles, and of two that overlap the better one is kept. Boxes at a border of a tile are cut
    objects, which another tile shows whole.
    """
    found = []
    margin = OVERLAP * tile / 4
    for outputs, (y, x), (top, bottom, left, right) in _tiles(model, image, tile):
        boxes = outputs["boxes"] + np.array([x, y, x, y], np.float32)
        center = (boxes[:, :2] + boxes[:, 2:]) / 2
        low, high = np.array([left, top]) - margin, np.array([right, bottom]) + margin
        in_part = ((center >= low) & (center < high)).all(1)
        ends = np.minimum([x + tile, y + tile], image.shape[1::-1])
        cut_low = (boxes[:, :2] < np.array([x, y]) + 1) & (np.array([x, y]) > 0)
        cut_high = (boxes[:, 2:] > ends - 1) & (ends < image.shape[1::-1])
        wanted = in_part & ~(cut_low | cut_high).any(1) & (outputs["classes"] >= 0)
        found.append({name: values[wanted] for name, values in {**outputs, "boxes": boxes}.items()})
    found = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return _without_doubles(found, model.get_layer("detections").nms_iou)


def _without_doubles(detections, nms_iou):
    """Return the detections that remain after non-maximum suppression, by descending score."""
    count = len(detections["scores"])
    if not count:
        return detections
    boxes, scores, classes = (detections[name][None] for name in ("boxes", "scores", "classes"))
    indices, kept = nms(boxes, scores, nms_iou, count, classes)
    order = np.asarray(indices)[0][np.asarray(kept)[0]]
    return {name: values[order] for name, values in detections.items()}
