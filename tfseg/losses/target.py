"""A target and its prediction in one form, shared by any number of losses."""

from functools import cached_property

from keras import ops

from tfseg.ops import (
    class_sums,
    nan_where,
    read_target,
    softmax_nll,
    softmax_nll_and_sums,
    softmax_sums,
    split_dense,
    split_labels,
)


class Target:
    """Labels, logits and pixel weights of a batch, and quantities computed from them.

    Args:
        y_true: integer labels (B, ...) or (B, ..., 1), or one-hot or soft targets (B, ..., C).
        y_pred: (B, ..., C) logits or probabilities, any floating dtype.
        sample_weight: weights of images (B,) or pixels (B, ...) or (B, ..., 1), or None.
        from_logits, ignore_index, multi_label: see `SegmentationLoss`.
        owner: name for error messages.
        joint: whether both `nll` and `sums` will be used; they then share one softmax.

    Attributes:
        logits: (B, ..., C) float32; float64 if `y_pred` is.
        valid: (B, ...) of the logits' dtype, 1 for pixels that count, else 0.
        invalid: (B, ...) bool, whether a pixel is neither valid nor ignored.
        weight: (B, ...) pixel weights, 0 for pixels that do not count.
        labels: (B, ...) int32, 0 where not valid; None if `y_true` has per-class values.
        sigmoid: whether each channel is a sigmoid of its own.
        classes: C.

    Raises:
        ValueError: the shapes do not match or, outside compiled functions, labels are fractional or
            per-class values are not probabilities.

    Example:
        >>> from tfseg.losses import Target
        >>> target = Target([[[0, 1, 255]]], [[[[2.0, 0.0], [1.0, 0.0], [5.0, 0.0]]]])
        >>> [f"{value:.3f}" for value in target.nll[0, 0]]
        ['0.127', '1.313', '0.000']
    """

    def __init__(
        self,
        y_true,
        y_pred,
        sample_weight=None,
        from_logits: bool = True,
        ignore_index: int | None = 255,
        multi_label: bool = False,
        owner: str = "loss",
        joint: bool = False,
    ):
        # Copied, since a tf.Variable stays one in convert_to_tensor, and has no indexing by arrays.
        y_true, y_pred = ops.copy(y_true), ops.copy(y_pred)
        y_true, kind = read_target(owner, y_true, y_pred, ignore_index, multi_label)
        self.classes = y_pred.shape[-1]
        self.sigmoid = multi_label or self.classes == 1
        self._joint = joint
        # Convert first: a float16 sum overflows at 65504 pixels.
        dtype = "float64" if ops.dtype(y_pred) == "float64" else "float32"
        self.logits = _as_logits(ops.cast(y_pred, dtype), from_logits, self.sigmoid)
        self.labels = self._dense = None
        if kind == "labels":
            classes = max(self.classes, 2)
            rank = len(y_pred.shape) - 1
            split = split_labels(y_true, rank, classes, ignore_index)
            self.labels, valid, self.invalid = split
        else:
            dense, valid, self.invalid = split_dense(y_true, ignore_index, not self.sigmoid)
            self._dense = ops.cast(dense, dtype)
        self.valid = ops.cast(valid, dtype)
        self.weight = pixel_weights(owner, sample_weight, self.valid)

    @cached_property
    def poison(self):
        """(B,) 0, or NaN for an image with an invalid pixel; it has no gradient."""
        return nan_where(ops.any(_flat(self.invalid), axis=1), self.logits.dtype)

    @cached_property
    def dense(self):
        """(B, ..., C) target values. Created from labels, so use it only if needed."""
        if self._dense is not None:
            return self._dense
        if self.classes == 1:
            return ops.cast(self.labels, self.logits.dtype)[..., None]
        one_hot = ops.one_hot(self.labels, self.classes, dtype=self.logits.dtype)
        return one_hot * self.valid[..., None]

    @cached_property
    def probabilities(self):
        """(B, ..., C)."""
        return ops.sigmoid(self.logits) if self.sigmoid else ops.softmax(self.logits, axis=-1)

    @cached_property
    def _nll_and_sums(self):
        return softmax_nll_and_sums(*self._flat)

    @cached_property
    def _label_nll(self):
        nll = self._nll_and_sums[0] if self._joint else softmax_nll(*self._flat[:2])
        return ops.reshape(nll, ops.shape(self.labels))

    @cached_property
    def _softmax_sums(self):
        return self._nll_and_sums[1:] if self._joint else softmax_sums(*self._flat)

    @cached_property
    def _flat(self):
        return _flat(self.logits, self.classes), _flat(self.labels), _flat(self.weight)

    @property
    def nll(self):
        """(B, ...) -log p of the target under the softmax; 0 where ignored."""
        if self.labels is not None:
            return ops.where(self.valid > 0, self._label_nll, 0.0)
        nll = -ops.sum(self.dense * ops.log_softmax(self.logits), axis=-1)
        return ops.where(self.valid > 0, nll, 0.0)

    def at_label(self, values):
        """Return (B, ...), the entry of (B, ..., C) `values` at each pixel's label."""
        return ops.take_along_axis(values, self.labels[..., None], axis=-1)[..., 0]

    def one_vs_rest_logits(self):
        """Return (B, ..., C), log p - log(1 - p) of each class' softmax probability p.

        Exact also for p close to 1. Example: for logits 0, -30, -30 the first p is 1 in float32
        and log(1 - p) would be infinite. So for the top class 1 - p is the sum of the other
        probabilities: log(2 exp(-30)) = log 2 - 30.
        """
        x = self.logits - ops.max(self.logits, axis=-1, keepdims=True)
        is_top = ops.arange(self.classes, dtype="int32") == ops.argmax(x, axis=-1)[..., None]
        log_p = ops.log_softmax(x)
        others = ops.logsumexp(ops.where(is_top, -1e30, x), axis=-1, keepdims=True)
        top_rest = others - ops.logsumexp(x, axis=-1, keepdims=True)
        rest = ops.where(is_top, top_rest, ops.log1p(-ops.where(is_top, 0.0, ops.exp(log_p))))
        return log_p - rest

    def sums(self, squared: bool = False):
        """Return weighted sums over each image's pixels of p t, p and t, each (B, C).

        With `squared`, those of p t, p**2 and t**2.
        """
        if self.labels is None or self.classes == 1:
            p, t = self.probabilities, self.dense
            terms = (p * t, p * p, t * t) if squared else (p * t, p, t)
            return tuple(self.weighted_sums(term) for term in terms)
        true = self._label_sums(self.weight)
        if not (self.sigmoid or squared):
            return *self._softmax_sums, true
        p = self.probabilities
        overlap = self._label_sums(self.at_label(p) * self.weight)
        return overlap, self.weighted_sums(p * p if squared else p), true

    def weighted_sums(self, values):
        """Return (B, C), the sums of (B, ..., C) values times the pixel weights, per image."""
        # A matrix product avoids a tensor of weights times values.
        return ops.matmul(_flat(self.weight)[:, None], _flat(values, self.classes))[:, 0]

    def image_sums(self, values):
        """Return (B,), the sums of (B, ...) values per image."""
        return ops.sum(_flat(values), axis=1)

    def _label_sums(self, values):
        """Return (B, C), the sums of (B, ...) values over the pixels of each label."""
        return class_sums(_flat(values), _flat(self.labels), self.classes)


def _flat(x, *channels):
    """Return (B, ..., *channels) as (B, N, *channels)."""
    return ops.reshape(x, (ops.shape(x)[0], -1, *channels))


def _as_logits(y_pred, from_logits, sigmoid):
    if from_logits:
        return y_pred
    tiny = 1e-7
    if sigmoid:
        y_pred = ops.clip(y_pred, tiny, 1 - tiny)
        return ops.log(y_pred) - ops.log1p(-y_pred)
    return ops.log(ops.maximum(y_pred, tiny))


def pixel_weights(owner: str, sample_weight, valid):
    """Return `sample_weight` per pixel, with 0 for pixels that do not count.

    Args:
        owner: name for error messages.
        sample_weight: weights of images (B,) or pixels (B, ...) or (B, ..., 1), or None.
        valid: (B, ...) floating, 1 for pixels that count, else 0.
    """
    if sample_weight is None:
        return valid
    weight = ops.cast(ops.copy(sample_weight), valid.dtype)
    require_known_rank(owner, "sample_weight", weight)
    shape, rank = tuple(weight.shape), len(valid.shape)
    if len(weight.shape) == rank + 1 and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, -1)
    if len(weight.shape) == 1:
        weight = ops.reshape(weight, (-1,) + (1,) * (rank - 1))
    if not _broadcasts(weight.shape, valid.shape):
        raise ValueError(
            f"{owner}: sample_weight has shape {shape}, expected one weight per image "
            f"{tuple(valid.shape[:1])} or per pixel {tuple(valid.shape)}. For weights of classes, "
            "pass class_weights to the loss; class_weight of fit does not support masks (B, H, W)."
        )
    return weight * valid


def require_known_rank(owner: str, name: str, x):
    """Raise a ValueError if TensorFlow does not know the number of dimensions of `x`."""
    if getattr(x.shape, "rank", 0) is None:
        raise ValueError(
            f"{owner}: the rank of {name} is unknown. Call its set_shape in the dataset."
        )


def _broadcasts(shape, larger):
    """Whether a static shape broadcasts to another one; None matches any size."""
    return len(shape) == len(larger) and all(
        side in (None, 1) or other in (None, side)
        for side, other in zip(shape, larger, strict=True)
    )
