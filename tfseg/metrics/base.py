"""Base class of the pixel metrics: how they read a batch."""

import keras
from keras import ops

from tfseg import checks
from tfseg.ops import read_target, split_dense, split_labels, top_class

# Without its x64 option, JAX uses 32-bit integers and floats, whatever the requested dtype.
WIDE = keras.backend.backend() == "tensorflow"
FLOAT = "float64" if WIDE else "float32"


class PixelMetric(keras.metrics.Metric):
    """Base of the metrics that count pixels. A subclass defines `count(labels, valid, y_pred)`.

    Args:
        num_classes: C, the number of channels of the model's output; 1 for a single sigmoid
            channel.
        ignore_index: label that is not counted. Labels outside [0, C) are not counted either.
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
        self.num_classes = checks.positive_int(type(self).__name__, "num_classes", num_classes)
        self.ignore_index = ignore_index
        self.multi_label = bool(multi_label)
        self.from_logits = bool(from_logits)

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
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if y_pred.shape[-1] != self.num_classes:
            raise ValueError(
                f"{owner}: num_classes={self.num_classes}, but y_pred of shape "
                f"{tuple(y_pred.shape)} has {y_pred.shape[-1]} channels."
            )
        y_true, kind = read_target(owner, y_true, y_pred, self.ignore_index, self.multi_label)
        read = self._read_channels if self.multi_label else self._read_labels
        labels, valid = read(y_true, kind, len(y_pred.shape) - 1)
        self.count(labels, valid, y_pred)

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
        """Return (B, ...) int32 labels and which pixels are valid."""
        if kind == "dense":
            dense, valid, _ = split_dense(y_true, self.ignore_index)
            y_true = ops.where(valid, ops.cast(top_class(dense, 0.5), "int32"), -1)
        return split_labels(y_true, rank, max(self.num_classes, 2), self.ignore_index)[:2]

    def _read_channels(self, y_true, kind, rank):
        """Return (B, ..., C) bool, whether a pixel belongs to each class, and which are valid."""
        if kind == "dense":
            dense, valid, _ = split_dense(y_true, self.ignore_index, exclusive=False)
            return dense > 0.5, valid
        labels, valid, _ = split_labels(y_true, rank, max(self.num_classes, 2), self.ignore_index)
        classes = ops.arange(self.num_classes, dtype="int32") if self.num_classes > 1 else 1
        return labels[..., None] == classes, valid
