"""Non-maximum suppression: of boxes that overlap too much only the best one is kept."""

import dataclasses
from typing import Any

from keras import ops

from tfseg.ops.boxes import SMALLEST_AREA, box_area

# Boxes are compared in tiles of this many: the areas of two tiles stay in the cache of a CPU core.
TILE = 128


def nms(boxes, scores, iou_threshold: float, max_outputs: int, classes=None, valid=None):
    """Keep the boxes that overlap no kept box of a higher score too much, per image.

    Greedy suppression, exact: a box is dropped if its IoU with a kept box of a higher score is
    above the threshold. On equal scores the earlier box counts as the higher one. The time grows
    with the square of the number of valid boxes down to the last row returned; memory with N.

    Args:
        boxes: (B, N, 4) x_min, y_min, x_max, y_max in pixels, finite where valid.
        scores: (B, N), finite where valid, in any order.
        iou_threshold: in [0, 1]. Boxes whose IoU equals it are both kept.
        max_outputs: number of rows to return per image.
        classes: (B, N) integers, or None. If given, only boxes of the same class suppress each
            other.
        valid: (B, N) bool, False for padding, which is neither kept nor suppresses; or None if all
            boxes are valid.

    Returns:
        indices (B, max_outputs) int32 into N, by descending score, 0 for padding at the end; and
        kept (B, max_outputs) bool, False for padding.

    Example:
        >>> from keras import ops
        >>> from tfseg.ops import nms
        >>> boxes = [[[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0], [5.0, 0.0, 9.0, 4.0]]]
        >>> indices, kept = nms(boxes, [[0.9, 0.8, 0.7]], iou_threshold=0.5, max_outputs=3)
        >>> ops.convert_to_numpy(indices).tolist(), ops.convert_to_numpy(kept).tolist()
        ([[0, 2, 0]], [[True, True, False]])
    """
    boxes = ops.stop_gradient(ops.cast(boxes, "float32"))
    scores = ops.stop_gradient(ops.cast(scores, "float32"))
    valid = ops.ones_like(scores, "bool") if valid is None else ops.cast(valid, "bool")
    boxes = ops.where(valid[..., None], boxes, 0.0)
    missing = [[0, 0], [0, missing_rows(scores.shape[1], max_outputs)]]
    scores = ops.pad(
        ops.where(valid, scores, -float("inf")), missing, constant_values=-float("inf")
    )
    order = ops.top_k(scores, ops.shape(scores)[1] // TILE * TILE)[1]
    boxes = ops.take_along_axis(ops.pad(boxes, [*missing, [0, 0]]), order[..., None], axis=1)
    valid = ops.take_along_axis(ops.pad(valid, missing), order, axis=1)
    if classes is not None:
        classes = ops.take_along_axis(ops.pad(ops.cast(classes, "int32"), missing), order, axis=1)
    keep = _Tiles.of(boxes, classes, iou_threshold).survivors(in_tiles(valid), max_outputs)
    return first_kept(ops.reshape(keep, ops.shape(valid)), order, max_outputs)


def missing_rows(count, max_outputs):
    """Return how many rows of padding make whole tiles of at least `max_outputs` rows.

    If the count is unknown, there are enough rows for that and a remainder, which is cut off.
    """
    if count is None:
        return max_outputs + TILE
    return -(-max(count, max_outputs, 1) // TILE) * TILE - count


def in_tiles(rows):
    """Split (B, N, ...) into (B, T, TILE, ...)."""
    shape = ops.shape(rows)
    return ops.reshape(rows, (shape[0], shape[1] // TILE, TILE, *shape[2:]))


@dataclasses.dataclass(frozen=True)
class _Tiles:
    """Boxes by descending score in T tiles.

    Args:
        corners: (B, T, TILE, 4) x_max, y_max, -x_min, -y_min. So the corners of an intersection are
            minima, and its sides are sums.
        areas: (B, T, TILE), above 0.
        classes: (B, T, TILE), or None.
        threshold: IoU above which a box suppresses another.
    """

    corners: Any
    areas: Any
    classes: Any
    threshold: float

    @classmethod
    def of(cls, boxes, classes, threshold):
        """Split boxes (B, N, 4) and classes (B, N); N is a multiple of the size of a tile."""
        corners = ops.concatenate([boxes[..., 2:], -boxes[..., :2]], axis=-1)
        areas = ops.maximum(box_area(boxes), SMALLEST_AREA)  # IoU of boxes without area: not 0 / 0
        classes = None if classes is None else in_tiles(classes)
        return cls(in_tiles(corners), in_tiles(areas), classes, threshold)

    def survivors(self, valid, enough):
        """Return (B, T, TILE), which valid boxes are suppressed by no survivor of a higher score.

        Stops, with False for the rest, as soon as each image has `enough` survivors.

        Args:
            valid: (B, T, TILE) bool, True at the start of each image and False at its end.
            enough: number of survivors.
        """
        tiles = ops.shape(valid)[1]
        end = ops.max(count_kept(valid))

        def unfinished(tile, keep):
            return ops.logical_and(tile * TILE < end, ops.any(count_kept(keep) < enough))

        def add_tile(tile, keep):
            free = ops.logical_not(self._hit_before(tile, keep))
            kept = self._settle(tile, ops.logical_and(ops.take(valid, tile, axis=1), free))
            is_tile = ops.arange(tiles)[:, None] == tile
            return tile + 1, ops.logical_or(keep, ops.logical_and(is_tile, kept[:, None]))

        return ops.while_loop(unfinished, add_tile, (0, ops.zeros_like(valid)))[1]

    def _hit_before(self, tile, keep):
        """Return (B, TILE), which boxes of a tile are suppressed by survivors in earlier tiles."""

        def is_before(other, _):
            return other < tile

        def add_hits(other, hit):
            # An infinite area makes the IoU with a suppressed box 0.
            areas = ops.take(self.areas, other, axis=1)
            areas = ops.where(ops.take(keep, other, axis=1), areas, float("inf"))
            iou = self._iou(tile, other, areas)
            return other + 1, ops.logical_or(hit, ops.max(iou, axis=2) > self.threshold)

        return ops.while_loop(is_before, add_hits, (0, ops.zeros_like(keep[:, 0])))[1]

    def _settle(self, tile, free):
        """Return (B, TILE), which free boxes of a tile no survivor of the same tile suppresses.

        The answer for the first k boxes is right after k rounds at the latest, and a round that
        changes nothing proves that all are right.
        """
        position = ops.arange(TILE)
        iou = self._iou(tile, tile, ops.take(self.areas, tile, axis=1))
        suppressed = ops.logical_and(iou > self.threshold, position < position[:, None])
        suppressed = ops.cast(suppressed, "float32")

        def differs(keep, previous):
            return ops.any(keep != previous)

        def update(keep, _):
            hits = ops.matmul(suppressed, ops.cast(keep, "float32")[..., None])[..., 0]
            return ops.logical_and(free, hits == 0), keep

        return ops.while_loop(differs, update, (free, ops.logical_not(free)))[0]

    def _iou(self, tile, other, other_areas):
        """Return (B, TILE, TILE), at most 0 for boxes that do not overlap."""
        corners = ops.take(self.corners, tile, axis=1)[:, :, None]
        others = ops.take(self.corners, other, axis=1)[:, None]
        right, bottom, left, top = (
            ops.minimum(corners[..., side], others[..., side]) for side in range(4)
        )
        inter = ops.maximum(right + left, 0) * (bottom + top)
        areas = ops.take(self.areas, tile, axis=1)
        iou = inter / (areas[:, :, None] + other_areas[:, None] - inter)
        if self.classes is None:
            return iou
        classes = ops.take(self.classes, tile, axis=1)[:, :, None]
        return ops.where(classes == ops.take(self.classes, other, axis=1)[:, None], iou, 0.0)


def count_kept(flags):
    """Return (B,) int32: how many of (B, T, TILE) flags are True."""
    return ops.sum(ops.cast(flags, "int32"), axis=(1, 2))


def first_kept(keep, order, count):
    """Return the first `count` kept entries of `order` (B, N), and which of them exist."""
    length = ops.shape(keep)[1]
    ahead = ops.where(keep, length - ops.arange(length), 0)
    values, places = ops.top_k(ahead, count)
    kept = values > 0
    indices = ops.take_along_axis(order, places, axis=1)
    return ops.where(kept, ops.cast(indices, "int32"), 0), kept
