"""What the metrics of pixels share: how they read a batch, and what they refuse."""

import keras
from keras import ops

from tfseg import checks
from tfseg.ops import read_target, split_dense, split_labels, top_class

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
        y_true, kind = read_target(owner, y_true, y_pred, self.ignore_index, self.multi_label)
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
