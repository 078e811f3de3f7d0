"""Base class of the pixel metrics: how they read a batch."""

import keras
from keras import ops

from tfseg import checks
from tfseg.ops import nan_where, read_target, split_dense, split_labels, top_class

# Without its x64 option, JAX uses 32-bit integers and floats, whatever the requested dtype.
WIDE = keras.backend.backend() == "tensorflow"
FLOAT = "float64" if WIDE else "float32"


class PixelMetric(keras.metrics.Metric):
    """Base of the metrics that count pixels. A subclass defines `count(labels, valid, y_pred)`.

    Args:
        num_classes: C, the number of channels of the model's output; 1 for a single sigmoid
            channel.
        ignore_index: label that is not counted. With more than 255 classes, 255 is a class, and
            65535 is used instead. Pixels with any other label outside [0, C) are invalid: they are
            counted in `invalid`, and after the first one all results are NaN.
        multi_label: whether each channel is a sigmoid of its own, so that a pixel can belong to
            several classes.
        from_logits: whether `y_pred` contains logits (default) or probabilities.
        name, dtype: as in Keras. States have their own dtypes.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None,
        multi_label: bool,
        from_logits: bool,
        name: str,
        dtype: str | None,
    ):
        super().__init__(name=name, dtype=dtype)
        owner = type(self).__name__
        self.num_classes = checks.positive_int(owner, "num_classes", num_classes)
        self.ignore_index = checks.ignore_index(owner, ignore_index)
        self.multi_label = checks.boolean(owner, "multi_label", multi_label)
        self.from_logits = checks.boolean(owner, "from_logits", from_logits)
        # The label that is ignored with this number of classes.
        self.ignored_label = self.ignore_index
        if self.ignore_index == checks.IGNORE_INDEX:
            self.ignored_label = checks.ignore_index_for(self.num_classes)
        self.invalid = self.add_weight(shape=(), initializer="zeros", dtype="int64", name="invalid")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count a batch.

        Args:
            y_true: integer labels (B, ...) or (B, ..., 1), or per-class values (B, ..., C):
                one-hot, soft (the most probable class counts) or, with `multi_label`, several ones
                per pixel.
            y_pred: (B, ..., C) logits or probabilities, any number of spatial dimensions.
            sample_weight: must be None.

        Raises:
            ValueError: the shapes do not match, there are sample weights or, outside compiled
                functions, values of `y_true` are neither labels nor class probabilities.
        """
        owner = type(self).__name__
        if sample_weight is not None:
            raise ValueError(
                f"{owner} does not support sample weights. Pass it to compile as `metrics`, not "
                "`weighted_metrics`, and exclude pixels by ignore_index."
            )
        # Copied, since a tf.Variable stays one in convert_to_tensor, and has no indexing by arrays.
        y_true, y_pred = ops.copy(y_true), ops.copy(y_pred)
        if y_pred.shape[-1] != self.num_classes:
            raise ValueError(
                f"{owner}: num_classes={self.num_classes}, but y_pred of shape "
                f"{tuple(y_pred.shape)} has {y_pred.shape[-1]} channels."
            )
        y_true, kind = read_target(owner, y_true, y_pred, self.ignored_label, self.multi_label)
        read = self._read_channels if self.multi_label else self._read_labels
        labels, valid, invalid = read(y_true, kind, len(y_pred.shape) - 1)
        self.invalid.assign_add(ops.sum(ops.cast(invalid, "int64")))
        self.count(labels, valid, y_pred)

    def nan_if_invalid(self):
        """Return NaN if a pixel was invalid, otherwise 0; added to every result."""
        return nan_where(self.invalid > 0, FLOAT)

    def count(self, labels, valid, y_pred):
        """Add a batch to the state.

        Args:
            labels: (B, ...) int32; (B, ..., C) bool with `multi_label`.
            valid: (B, ...) bool, False for pixels that are not counted.
            y_pred: (B, ..., C) floating.
        """
        raise NotImplementedError

    def get_config(self) -> dict:
        """Return the arguments, for `.keras` files."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "ignore_index": self.ignore_index,
            "from_logits": self.from_logits,
        }

    def _read_labels(self, y_true, kind, rank):
        """Return (B, ...) int32 labels, which pixels are valid, and which are invalid."""
        if kind == "labels":
            return self._split_labels(y_true, rank)
        dense, valid, invalid = split_dense(y_true, self.ignored_label, self.num_classes > 1)
        labels = ops.cast(top_class(dense, 0.5), "int32")
        if self.ignored_label is not None:  # the most probable of several classes below 0.5
            valid = ops.logical_and(valid, labels != self.ignored_label)
        return labels, valid, invalid

    def _read_channels(self, y_true, kind, rank):
        """Return (B, ..., C) bool, whether a pixel is in each class; and as `_read_labels`."""
        if kind == "dense":
            dense, valid, invalid = split_dense(y_true, self.ignored_label, exclusive=False)
            return dense > 0.5, valid, invalid
        labels, valid, invalid = self._split_labels(y_true, rank)
        classes = ops.arange(self.num_classes, dtype="int32") if self.num_classes > 1 else 1
        return labels[..., None] == classes, valid, invalid

    def _split_labels(self, y_true, rank):
        return split_labels(y_true, rank, max(self.num_classes, 2), self.ignored_label)
