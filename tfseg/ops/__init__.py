"""Numeric code shared by the other packages, in `keras.ops`, which run under TensorFlow and JAX.

`top_ids`, `count_id_pairs`, `paste_mask`, `paste_masks`, `nearest_centers`, `render_polygons`,
`ray_directions` and the functions of `tfseg.ops.windows`, `star_targets` and `center_targets` are
for NumPy arrays.
"""

from tfseg.ops.box_coder import decode_boxes, encode_boxes
from tfseg.ops.boxes import (
    box_area,
    box_iou,
    box_overlap,
    clip_boxes,
    move_boxes,
    move_points,
)
from tfseg.ops.center_grouping import (
    describe_instances,
    find_centers,
    group_pixels,
    nearest_centers,
    pixel_targets,
    thing_pixels,
)
from tfseg.ops.center_targets import center_heat, center_offsets, object_centers
from tfseg.ops.class_ids import top_class, top_ids
from tfseg.ops.color import apply_color, blur, color_matrices, jpeg, noise
from tfseg.ops.confusion import (
    agreement,
    channel_counts,
    channel_matrices,
    class_counts,
    class_fraction,
    confusion_matrix,
    count_id_pairs,
    mean_ratio,
    ratio,
    split_ratio,
)
from tfseg.ops.distance import squared_distance
from tfseg.ops.masks import (
    nan_where,
    read_target,
    shapes_agree,
    split_dense,
    split_labels,
    target_kind,
)
from tfseg.ops.matching import match_boxes, sample_matches
from tfseg.ops.nms import nms
from tfseg.ops.object_masks import MASK_THRESHOLD, crop_masks, paste_mask, paste_masks
from tfseg.ops.pixel_boxes import pixel_boxes
from tfseg.ops.polygon_nms import polygon_nms
from tfseg.ops.polygon_rendering import draw_polygons, render_polygons
from tfseg.ops.polygons import (
    polygon_area,
    polygon_boxes,
    polygon_intersection,
    polygon_overlap,
    ray_directions,
    star_polygons,
)
from tfseg.ops.random import random_bits, uniform
from tfseg.ops.roi_align import multiscale_roi_align, roi_align
from tfseg.ops.softmax import class_sums, softmax_nll, softmax_nll_and_sums, softmax_sums
from tfseg.ops.star_targets import object_probabilities, star_distances
from tfseg.ops.warp import apply_matrices, crop_matrices, resample, smooth_field, source_points
from tfseg.ops.windows import blend_weights, window_corners, window_count, window_stride

__all__ = [
    "MASK_THRESHOLD",
    "agreement",
    "apply_color",
    "apply_matrices",
    "blend_weights",
    "blur",
    "box_area",
    "box_iou",
    "box_overlap",
    "center_heat",
    "center_offsets",
    "channel_counts",
    "channel_matrices",
    "class_counts",
    "class_fraction",
    "class_sums",
    "clip_boxes",
    "color_matrices",
    "confusion_matrix",
    "count_id_pairs",
    "crop_masks",
    "crop_matrices",
    "decode_boxes",
    "describe_instances",
    "draw_polygons",
    "encode_boxes",
    "find_centers",
    "group_pixels",
    "jpeg",
    "match_boxes",
    "mean_ratio",
    "move_boxes",
    "move_points",
    "multiscale_roi_align",
    "nan_where",
    "nearest_centers",
    "nms",
    "noise",
    "object_centers",
    "object_probabilities",
    "paste_mask",
    "paste_masks",
    "pixel_boxes",
    "pixel_targets",
    "polygon_area",
    "polygon_boxes",
    "polygon_intersection",
    "polygon_nms",
    "polygon_overlap",
    "random_bits",
    "ratio",
    "ray_directions",
    "read_target",
    "render_polygons",
    "resample",
    "roi_align",
    "sample_matches",
    "shapes_agree",
    "smooth_field",
    "softmax_nll",
    "softmax_nll_and_sums",
    "softmax_sums",
    "source_points",
    "split_dense",
    "split_labels",
    "split_ratio",
    "squared_distance",
    "star_distances",
    "star_polygons",
    "target_kind",
    "thing_pixels",
    "top_class",
    "top_ids",
    "uniform",
    "window_corners",
    "window_count",
    "window_stride",
]
