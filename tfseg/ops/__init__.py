"""Array arithmetic shared by the rooms above, in `keras.ops`: one code for TensorFlow and JAX."""

from tfseg.ops.confusion import (
    agreement,
    channel_counts,
    channel_matrices,
    class_counts,
    class_score,
    confusion_matrix,
    mean_present,
    ratio,
    top_class,
)
from tfseg.ops.distance import squared_distance
from tfseg.ops.masks import read_target, split_dense, split_labels, target_kind
from tfseg.ops.softmax import class_sums, softmax_nll, softmax_nll_and_sums, softmax_sums
from tfseg.ops.warp import affine_matrices, affine_warp

__all__ = [
    "affine_matrices",
    "affine_warp",
    "agreement",
    "channel_counts",
    "channel_matrices",
    "class_counts",
    "class_score",
    "class_sums",
    "confusion_matrix",
    "mean_present",
    "ratio",
    "read_target",
    "softmax_nll",
    "softmax_nll_and_sums",
    "softmax_sums",
    "split_dense",
    "split_labels",
    "squared_distance",
    "target_kind",
    "top_class",
]
