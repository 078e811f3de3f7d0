"""Array arithmetic shared by the rooms above, in `keras.ops`: one code for TensorFlow and JAX."""

from tfseg.ops.confusion import class_scores, confusion_matrix, mean_present
from tfseg.ops.masks import split_dense, split_labels, target_kind
from tfseg.ops.warp import affine_matrices, affine_warp

__all__ = [
    "affine_matrices",
    "affine_warp",
    "class_scores",
    "confusion_matrix",
    "mean_present",
    "split_dense",
    "split_labels",
    "target_kind",
]
