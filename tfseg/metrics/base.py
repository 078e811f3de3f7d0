"""What the metrics of pixels share: how they read a batch, and what they refuse."""

import keras
import numpy as np
from keras import ops

from tfseg import checks
from tfseg.ops import split_dense, split_labels, target_kind, top_class

# Without its x64 switch JAX keeps integers and floating numbers in 32 bits, whatever is asked for.
WIDE = keras.backend.backend() == "tensorflow"
FLOAT = "float64" if WIDE else "float32"


class PixelMetric(keras.metrics.Metric):
    """Base of the metrics that count pixels; a subclass defines `count(truth, valid, y_pred)`.

    Args:
        num_classes: C, the channels of the model's output; 1 for a single sigmoid channel.
        ignore_index: label that is not counted. Labels outside [0, C) are not counted either.
        multi_label: whether each channel is a decision of its own, so that a pixel may be of several classes.
        from_logits: whether `y_pred` holds raw logits (default) or probabilities.
        name, dtype: as in Keras. States have a dtype of their own, whatever the policy.
    """

    def __init__(self, num_classes, ignore_index, multi_label, from_logits, name, dtype):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = checks.positive_int(type(self).__name__, "num_classes", num_classes)
        self.ignore_index = ignore_index
        self.multi_label = bool(multi_label)
        self.from_logits = bool(from_logits)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count a batch.

        Args:
            y_true: integer labels (B, ...) or (B, ..., 1), or one value a class (B, ..., C): one-hot, soft (the
                most probable class counts) or, with `multi_label`, several ones a pixel.
            y_pred: (B, ..., C) logits or probabilities, any number of spatial dimensions.
            sample_weight: None; pixels are counted whole.

        Raises:
            ValueError: shapes that do not fit, weights, and, outside compiled functions, values of `y_true` that
                are neither labels nor shares of classes.
        """
        owner = type(self).__name__
        if sample_weight is not None:
            raise ValueError(
                f"{owner} counts whole pixels. Pass it to compile as `metrics`, not `weighted_metrics`, and mark "
                "pixels that shall not count with ignore_index."
            )
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if y_pred.shape[-1] != self.num_classes:
            raise ValueError(
                f"{owner}: num_classes={self.num_classes}, but y_pred of shape {tuple(y_pred.shape)} has "
                f"{y_pred.shape[-1]} channels."
            )
        kind = target_kind(owner, y_true, y_pred)
        self._require_readable(y_true, kind)
        read = self._read_channels if self.multi_label else self._read_labels
        self.count(*read(y_true, kind, len(y_pred.shape) - 1), y_pred)

    def count(self, truth, valid, y_pred):
        """Add a batch to the state.

        Args:
            truth: (B, ...) int32 labels; (B, ..., C) bool with `multi_label`.
            valid: (B, ...) bool, False where the pixel does not count.
            y_pred: (B, ..., C) floating.
        """
        raise NotImplementedError

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "ignore_index": self.ignore_index,
            "from_logits": self.from_logits,
        }

    def _read_labels(self, y_true, kind, rank):
        if kind == "dense":
            dense, valid = split_dense(y_true, self.ignore_index)
            classes = top_class(dense) if self.num_classes > 1 else dense[..., 0] > 0.5
            y_true = ops.where(valid, ops.cast(classes, "int32"), -1)
        return split_labels(y_true, rank, max(self.num_classes, 2), self.ignore_index)

    def _read_channels(self, y_true, kind, rank):
        if kind == "dense":
            dense, valid = split_dense(y_true, self.ignore_index, exclusive=False)
            return dense > 0.5, valid
        labels, valid = split_labels(y_true, rank, max(self.num_classes, 2), self.ignore_index)
        classes = ops.arange(self.num_classes, dtype="int32") if self.num_classes > 1 else 1
        return labels[..., None] == classes, valid

    def _require_readable(self, y_true, kind):
        """Look at the values where that is possible: a compiled function has none yet."""
        several = kind == "dense" and self.num_classes > 1 and not self.multi_label
        if not several and (kind == "dense" or "float" not in str(y_true.dtype)):
            return
        values = _values(y_true)
        if values is None:
            return
        if kind == "labels":
            wrong, expected = values != np.round(values), "whole numbers, or one value a class (B, ..., C)"
        else:
            by_class = self.ignore_index is None or 0 <= self.ignore_index < self.num_classes
            shares = values if by_class else values[np.all(values != self.ignore_index, axis=-1)]
            wrong = (np.abs(shares).sum(axis=-1) > 1.001) | np.any(shares < 0, axis=-1)
            expected = "one-hot or shares that add up to 1; multi_label=True takes several classes a pixel"
        if np.any(wrong):
            raise ValueError(
                f"{type(self).__name__}: y_true of shape {tuple(y_true.shape)} and dtype {ops.dtype(y_true)} has "
                f"{int(np.sum(wrong))} pixels with other values than expected: {expected}."
            )


def _values(x):
    """Return x as float64 NumPy values, or None in a function that is being compiled."""
    try:
        return np.asarray(ops.convert_to_numpy(x), "float64")
    except (NotImplementedError, TypeError):  # TensorFlow's and JAX' words for that
        return None
