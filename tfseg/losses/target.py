"""A target and its prediction, read once by the contract, for any number of losses."""

from functools import cached_property

from keras import ops

from tfseg.ops import (
    class_sums,
    read_target,
    softmax_nll,
    softmax_nll_and_sums,
    softmax_sums,
    split_dense,
    split_labels,
)


class Target:
    """What a loss computes with.

    Args:
        owner: name for error messages.
        y_true: integer labels (B, ...) or (B, ..., 1), or one-hot or soft targets (B, ..., C).
        y_pred: (B, ..., C) logits or probabilities, any floating dtype.
        sample_weight: one weight an image (B,), one a pixel (B, ...) or (B, ..., 1), or None.
        from_logits, ignore_index, multi_label: see `SegmentationLoss`.
        joint: whether both `nll` and `sums` will be asked for: then they share one softmax.

    Attributes:
        logits: (B, ..., C) float32; float64 where `y_pred` is.
        valid: (B, ...) of the logits' dtype, 1 where the pixel counts, else 0.
        weight: (B, ...) the pixels' weights, 0 where they do not count.
        labels: (B, ...) int32, 0 where ignored; None when the target came with one value a class.
        sigmoid: whether each channel is a sigmoid of its own.
        classes: C.

    Raises:
        ValueError: shapes that do not fit each other and, outside compiled functions, values of `y_true` that are
            neither labels nor shares of classes.
    """

    def __init__(
        self,
        y_true,
        y_pred,
        sample_weight=None,
        from_logits=True,
        ignore_index=255,
        multi_label=False,
        owner="loss",
        joint=False,
    ):
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        y_true, kind = read_target(owner, y_true, y_pred, ignore_index, multi_label)
        self.classes = y_pred.shape[-1]
        self.sigmoid = multi_label or self.classes == 1
        self._joint = joint
        # float32 first: a float16 sum overflows at 65504 pixels
        dtype = "float64" if ops.dtype(y_pred) == "float64" else "float32"
        self.logits = _as_logits(ops.cast(y_pred, dtype), from_logits, self.sigmoid)
        self.labels = self._dense = None
        if kind == "labels":
            classes = max(self.classes, 2)
            self.labels, valid = split_labels(y_true, len(y_pred.shape) - 1, classes, ignore_index)
        else:
            self._dense, valid = split_dense(y_true, ignore_index, exclusive=not self.sigmoid)
            self._dense = ops.cast(self._dense, dtype)
        self.valid = ops.cast(valid, dtype)
        self.weight = _pixel_weights(owner, sample_weight, self.valid)

    @cached_property
    def dense(self):
        """(B, ..., C) one value a class. Made of the labels where these came: ask for it only when needed."""
        if self._dense is not None:
            return self._dense
        if self.classes == 1:
            return ops.cast(self.labels, self.logits.dtype)[..., None]
        return (
            ops.one_hot(self.labels, self.classes, dtype=self.logits.dtype) * self.valid[..., None]
        )

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
        return ops.where(
            self.valid > 0, -ops.sum(self.dense * ops.log_softmax(self.logits), axis=-1), 0.0
        )

    def at_label(self, values):
        """(B, ...) the entry of (B, ..., C) `values` at each pixel's label."""
        return ops.take_along_axis(values, self.labels[..., None], axis=-1)[..., 0]

    def against_rest(self):
        """(B, ..., C) logit of each class' softmax probability: log p - log(1 - p), exact also near 1."""
        x = self.logits - ops.max(self.logits, axis=-1, keepdims=True)
        at_top = ops.arange(self.classes, dtype="int32") == ops.argmax(x, axis=-1)[..., None]
        log_p = ops.log_softmax(x)
        others = ops.logsumexp(ops.where(at_top, -1e30, x), axis=-1, keepdims=True)
        of_top = others - ops.logsumexp(x, axis=-1, keepdims=True)
        rest = ops.where(at_top, of_top, ops.log1p(-ops.where(at_top, 0.0, ops.exp(log_p))))
        return log_p - rest

    def sums(self, squared=False):
        """Weighted sums over each image's pixels of p t, p and t (or p t, p**2 and t**2), each (B, C)."""
        if self.labels is None or self.classes == 1:
            p, t = self.probabilities, self.dense
            each = (p * t, p * p, t * t) if squared else (p * t, p, t)
            return tuple(self.weighted_sums(values) for values in each)
        truth = self._by_class(self.weight)
        if not (self.sigmoid or squared):
            return *self._softmax_sums, truth
        p = self.probabilities
        overlap = self._by_class(self.at_label(p) * self.weight)
        return overlap, self.weighted_sums(p * p if squared else p), truth

    def weighted_sums(self, values):
        """(B, C) weighted sums of (B, ..., C) values over each image."""
        # a matrix product: no tensor of weights times values is made
        return ops.matmul(_flat(self.weight)[:, None], _flat(values, self.classes))[:, 0]

    def by_image(self, values):
        """(B,) sums of (B, ...) values over each image."""
        return ops.sum(_flat(values), axis=1)

    def _by_class(self, values):
        """(B, C) sums of (B, ...) values over the pixels of each label."""
        return class_sums(_flat(values), _flat(self.labels), self.classes)


def _flat(x, *channels):
    """(B, ..., *channels) as (B, N, *channels)."""
    return ops.reshape(x, (ops.shape(x)[0], -1, *channels))


def _as_logits(y_pred, from_logits, sigmoid):
    if from_logits:
        return y_pred
    tiny = 1e-7
    if sigmoid:
        y_pred = ops.clip(y_pred, tiny, 1 - tiny)
        return ops.log(y_pred) - ops.log1p(-y_pred)
    return ops.log(ops.maximum(y_pred, tiny))


def _pixel_weights(owner, sample_weight, valid):
    """`sample_weight` by pixel, 0 where the pixel does not count."""
    if sample_weight is None:
        return valid
    weight = ops.cast(ops.convert_to_tensor(sample_weight), valid.dtype)
    came, rank = tuple(weight.shape), len(valid.shape)
    if len(weight.shape) == rank + 1 and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, -1)
    if len(weight.shape) == 1:
        weight = ops.reshape(weight, (-1,) + (1,) * (rank - 1))
    sizes = zip(weight.shape, valid.shape, strict=False)
    if len(weight.shape) != rank or any(
        w not in (None, 1) and v not in (None, w) for w, v in sizes
    ):
        raise ValueError(
            f"{owner}: sample_weight of shape {came} must be one weight an image "
            f"{tuple(valid.shape[:1])} or one a pixel {tuple(valid.shape)}."
        )
    return weight * valid
