"""Whether a model is right as often as it is sure to be."""

import math

import keras
import numpy as np
from keras import ops

from tfseg import checks
from tfseg.metrics.base import FLOAT, WIDE, PixelMetric
from tfseg.ops import ratio, top_class

# 1.0 as fixed point: no float32 in [0.5, 1] is finer. Under JAX room is left to add 2000 classes in 32 bits.
ONE = 2**24 if WIDE else 2**20
# 2**(-i / 65536) as fixed point. An exponential out of this table is the same number wherever a pixel lies in its
# batch. TensorFlow's own is not: its last digit depends on whether a vector register is filled.
STEP_BITS = 16
STEPS = 2**STEP_BITS
POWERS = np.round(ONE * np.exp2(-np.arange(STEPS) / STEPS)).astype("int32")


@keras.saving.register_keras_serializable(package="tfseg")
class CalibrationError(PixelMetric):
    """Expected calibration error (arXiv:1706.04599) of the top class' confidence, over the whole dataset.

    Pixels are sorted by confidence into bins of equal width, (0, 1/bins] to (1 - 1/bins, 1]. The error is the mean
    over pixels of the distance, in their bin, between the mean confidence and the share of right pixels: 0 when of
    all pixels predicted with a confidence of 0.8, eight in ten are right. NaN while nothing is counted.

    The state is integers: a bin's pixels, its right pixels, and its confidences as fixed point of 24 bits (each
    within 1e-5 of the softmax), so batch size, order and replicas cannot change a digit. Under JAX without x64
    counts end at 2**31 - 1, and confidences add up in float32.

    Args:
        num_classes: C, the channels of the model's output. For one sigmoid channel pass 1: its confidence is that
            of the predicted side, so always above one half.
        bins: the number of bins over [0, 1].
        from_logits: whether the model gives logits (default) or probabilities.
        ignore_index: label that is not counted. Labels outside [0, C) are not counted either.
        name, dtype: as in Keras.

    Raises:
        ValueError: an argument is out of its range; a batch does not fit (see `update_state`).
    """

    def __init__(
        self,
        num_classes,
        bins=15,
        from_logits=True,
        ignore_index=255,
        name="calibration_error",
        dtype=None,
    ):
        super().__init__(num_classes, ignore_index, False, from_logits, name, dtype)
        self.bins = checks.positive_int(type(self).__name__, "bins", bins)
        self.pixels = self.add_weight(
            shape=(self.bins,), initializer="zeros", dtype="int64", name="pixels"
        )
        self.hits = self.add_weight(
            shape=(self.bins,), initializer="zeros", dtype="int64", name="hits"
        )
        sums = "int64" if WIDE else "float32"
        self.confidences = self.add_weight(
            shape=(self.bins,), initializer="zeros", dtype=sums, name="confidences"
        )

    def count(self, truth, valid, y_pred):
        """Add a batch to the counts; see `PixelMetric`."""
        y_pred = ops.cast(y_pred, "float32")
        predictions, confidence = self._predict(y_pred)
        fixed = ops.round(ops.clip(confidence, 0, 1) * ONE)
        bins = ops.maximum(ops.ceil(fixed * (self.bins / ONE)) - 1, 0)
        bins = ops.where(valid, ops.cast(bins, "int32"), self.bins)  # one bin more, thrown away

        def add(state, values):
            values, segments = (
                ops.reshape(ops.cast(values, state.dtype), (-1,)),
                ops.reshape(bins, (-1,)),
            )
            state.assign_add(ops.segment_sum(values, segments, num_segments=self.bins + 1)[:-1])

        add(self.pixels, ops.ones_like(bins))
        add(self.hits, ops.equal(truth, predictions))
        add(self.confidences, fixed)

    def _predict(self, y_pred):
        """Return the predicted class of each pixel and the confidence in it, (B, ...) int32 and float32."""
        single = self.num_classes == 1
        if not self.from_logits:
            if single:
                y_pred = y_pred[..., 0]
                return ops.cast(y_pred > 0.5, "int32"), ops.maximum(y_pred, 1 - y_pred)
            return top_class(y_pred), ops.max(y_pred, axis=-1)
        if single:  # the softmax of (x, 0)
            total = ONE + _exponential(-ops.abs(y_pred[..., 0]))
            return ops.cast(y_pred[..., 0] > 0, "int32"), ONE / ops.cast(total, "float32")
        total = ops.sum(_exponential(y_pred - ops.max(y_pred, axis=-1, keepdims=True)), axis=-1)
        # the top class adds ONE, but where its logit is infinite or not a number
        return top_class(y_pred), ONE / ops.cast(ops.maximum(total, ONE), "float32")

    def result(self):
        """Return the expected calibration error, a scalar."""
        pixels = ops.cast(self.pixels, FLOAT)
        gaps = ops.abs(ops.cast(self.confidences, FLOAT) / ONE - ops.cast(self.hits, FLOAT))
        return ratio(ops.sum(gaps), ops.sum(pixels))

    def reliability_curve(self):
        """Return what `tfseg.viz.reliability` draws, one number a bin.

        Returns:
            dict of NumPy (bins,): "confidence" and "accuracy", the mean confidence and the share of right pixels,
            float64, NaN where the bin is empty; "count", its pixels, int64.
        """
        count, hits, sums = (
            ops.convert_to_numpy(state) for state in (self.pixels, self.hits, self.confidences)
        )
        blank = np.where(count == 0, np.nan, count)
        return {
            "confidence": sums / blank / ONE,
            "accuracy": hits / blank,
            "count": count.astype("int64"),
        }

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {**super().get_config(), "bins": self.bins}


def _exponential(x):
    """Return exp(x) of x <= 0 as int32 fixed point; 0 for what is not a number."""
    steps = ops.round(x * (-STEPS / math.log(2)))
    most = 31.0 * STEPS
    steps = ops.cast(ops.where(steps < most, steps, most), "int32")  # NaN is not below
    mantissa = ops.take(POWERS, ops.bitwise_and(steps, STEPS - 1))
    return ops.right_shift(mantissa, ops.right_shift(steps, STEP_BITS))
