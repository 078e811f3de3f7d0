"""Calibration: whether confidence matches accuracy."""

import math

import keras
import numpy as np
from keras import ops

from tfseg import checks
from tfseg.metrics.base import FLOAT, WIDE, PixelMetric
from tfseg.ops import ratio, top_class

# Confidences are fixed-point integers with this value for 1.0; no float32 in [0.5, 1] is finer.
# Under JAX, which has no 64 bits, sums of up to 2000 classes fit into 32.
ONE = 2**24 if WIDE else 2**20
# POWERS[i] is 2**(-i / STEPS) as fixed point. An exponential from this table does not depend on the
# position of a pixel in its batch. TensorFlow's own does, in the last digit, by vectorization.
STEP_BITS = 16
STEPS = 2**STEP_BITS
POWERS = np.round(ONE * np.exp2(-np.arange(STEPS) / STEPS)).astype("int32")


@keras.saving.register_keras_serializable(package="tfseg")
class CalibrationError(PixelMetric):
    """Expected calibration error (arXiv:1706.04599) of the top class, over the whole dataset.

    Pixels are sorted by confidence into bins of equal width, (0, 1/bins] to (1 - 1/bins, 1]. The
    error is the mean over pixels of |mean confidence - accuracy| of their bin. It is 0 if, for
    example, 80 % of the pixels predicted with confidence 0.8 are correct. NaN before any pixel is
    counted.

    The state is integers: pixels, correct pixels and fixed-point confidences of 24 bits (each
    within 1e-5 of the softmax, up to 300 classes) per bin. So batch size, order and number of
    replicas do not change a digit. Under JAX without x64, counts are limited to 2**31 - 1 and
    confidences are summed in float32.

    Args:
        num_classes: C, the number of channels of the model's output. For a single sigmoid channel
            pass 1: the confidence is that of the predicted side, so always above 0.5.
        bins: the number of bins over [0, 1].
        from_logits: whether the model returns logits (default) or probabilities.
        ignore_index: label that is not counted; see `ConfusionMetrics`.
        name, dtype: as in Keras.

    Raises:
        ValueError: an argument is out of range, or a batch does not match (see `update_state`).

    Example:
        >>> import tfseg
        >>> metric = tfseg.metrics.CalibrationError(2, from_logits=False)
        >>> metric.update_state([[[0, 1]]], [[[[0.9, 0.1], [0.9, 0.1]]]])
        >>> print(f"{metric.result():.3f}")  # confidence 0.9, accuracy 0.5
        0.400
    """

    _direction = "down"  # Keras' callbacks with mode="auto" ask for it

    def __init__(
        self,
        num_classes: int,
        bins: int = 15,
        from_logits: bool = True,
        ignore_index: int | None = 255,
        name: str = "calibration_error",
        dtype: str | None = None,
    ):
        super().__init__(num_classes, ignore_index, False, from_logits, name, dtype)
        self.bins = checks.positive_int(type(self).__name__, "bins", bins)
        self.pixels = self._add_sums("int64", "pixels")
        self.correct = self._add_sums("int64", "correct")
        self.confidences = self._add_sums("int64" if WIDE else "float32", "confidences")

    def _add_sums(self, dtype, name):
        return self.add_weight(shape=(self.bins,), initializer="zeros", dtype=dtype, name=name)

    def count(self, labels, valid, y_pred):
        """Add a batch to the counts; see `PixelMetric`."""
        y_pred = ops.cast(y_pred, "float32")
        predictions = top_class(y_pred, 0.0 if self.from_logits else 0.5)
        confidence = ops.round(ops.clip(self._confidence(y_pred), 0, 1) * ONE)
        # Example with 15 bins: confidence 0.2 is at the upper end of bin 2, ceil(3.0) - 1.
        bins = ops.maximum(ops.ceil(confidence * (self.bins / ONE)) - 1, 0)
        bins = ops.where(valid, ops.cast(bins, "int32"), self.bins)  # an extra bin, dropped below
        bins = ops.reshape(bins, (-1,))

        def add(state, values):
            values = ops.reshape(ops.cast(values, state.dtype), (-1,))
            state.assign_add(ops.segment_sum(values, bins, num_segments=self.bins + 1)[:-1])

        add(self.pixels, ops.ones_like(bins))
        add(self.correct, ops.equal(labels, predictions))
        add(self.confidences, confidence)

    def _confidence(self, y_pred):
        """Return (B, ...) float32, the probability of the predicted class."""
        single = self.num_classes == 1
        if not self.from_logits:
            if single:
                return ops.maximum(y_pred[..., 0], 1 - y_pred[..., 0])
            return ops.max(y_pred, axis=-1)
        if single:  # a softmax of (x, 0)
            return ONE / ops.cast(ONE + _exponential(-ops.abs(y_pred[..., 0])), "float32")
        terms = _exponential(y_pred - ops.max(y_pred, axis=-1, keepdims=True))
        if self.num_classes * ONE >= 2**31:  # the sum could overflow; TensorFlow: from 128 classes
            terms = ops.cast(terms, "int64" if WIDE else "float32")
        total = ops.sum(terms, axis=-1)
        # The top class contributes ONE, unless its logit is infinite or NaN.
        return ONE / ops.cast(ops.maximum(total, ONE), "float32")

    def result(self):
        """Return the expected calibration error, a scalar; NaN after an invalid label."""
        pixels = ops.cast(self.pixels, FLOAT)
        gaps = ops.abs(ops.cast(self.confidences, FLOAT) / ONE - ops.cast(self.correct, FLOAT))
        return ratio(ops.sum(gaps), ops.sum(pixels)) + self.nan_if_invalid()

    def reliability_curve(self) -> dict[str, np.ndarray]:
        """Return the values that `tfseg.viz.reliability` plots.

        Returns:
            dict of NumPy arrays (bins,): "confidence" and "accuracy", float64 means per bin, NaN
            for empty bins and after an invalid label; "count", int64 number of pixels.
        """
        count = ops.convert_to_numpy(self.pixels)
        correct = ops.convert_to_numpy(self.correct)
        confidences = ops.convert_to_numpy(self.confidences)
        is_defined = (count > 0) & (ops.convert_to_numpy(self.invalid) == 0)
        divisor = np.where(is_defined, count, np.nan)
        return {
            "confidence": confidences / divisor / ONE,
            "accuracy": correct / divisor,
            "count": count.astype("int64"),
        }

    def get_config(self) -> dict:
        """Return the arguments, for `.keras` files."""
        return {**super().get_config(), "bins": self.bins}


def _exponential(x):
    """Return exp(x) for x <= 0 as int32 fixed point; 0 for NaN.

    exp(x) = 2**(-n / STEPS) for n = -x * STEPS / log(2). The low bits of n select the entry of the
    table, the high bits are a number of halvings. Example: x = -1 gives n = 94548 =
    65536 + 29012, so exp(-1) is half of 2**(-29012 / 65536) = 0.7358.
    """
    steps = ops.round(x * (-STEPS / math.log(2)))
    most = 31.0 * STEPS
    steps = ops.cast(ops.where(steps < most, steps, most), "int32")  # NaN < most is False
    mantissa = ops.take(POWERS, ops.bitwise_and(steps, STEPS - 1))
    return ops.right_shift(mantissa, ops.right_shift(steps, STEP_BITS))
