"""Cross entropy and region sums of a softmax, with hand-written gradients.

With automatic differentiation, Keras' softmax and cross entropy each store a tensor of the logits'
size and create several more in the backward pass. The functions below store one, and with many
classes they create no one-hot labels for the sums.

The gradient, for one pixel with probabilities p, weight w and label y: let t be the gradient that
arrives at the predicted sums, plus, at y, the one that arrives at the overlap. Then
d loss / d logits = w p (t - p . t), plus g (p - onehot(y)) for the gradient g that arrives at
-log p. Example: p = (0.75, 0.25), w = 1, y = 0, 1 arrives at the overlap of class 0 and nothing
else. Then t = (1, 0), p . t = 0.75, and the gradient is (0.75 * 0.25, 0.25 * -0.75).
"""

import math

from keras import ops, tree

# Up to this many classes, a product with one-hot labels is faster than a scatter (19 classes: 1.0
# instead of 1.6 ms for 131072 pixels on 2 cores). With more, the one-hot labels cost memory.
FEW_CLASSES = 32

# From this many entries on, int32 cannot index a flat array: 8 images of 1024 x 1024 pixels and 300
# classes have 2.5e9.
FLAT_LIMIT = 2**31


def softmax_nll(logits, labels):
    """Return the cross entropy of each pixel.

    Args:
        logits: (B, N, C) floating.
        labels: (B, N) int32 in [0, C).

    Returns:
        (B, N) -log p of the label, in the logits' dtype.
    """

    @ops.custom_gradient
    def run(x):
        log_p = ops.log_softmax(x)

        def gradient(*arguments, upstream=None):
            (nll_gradient,) = _upstream(arguments, upstream, 1)
            return (ops.exp(log_p) - _one_hot(labels, x)) * nll_gradient[..., None]

        return -_at_label(log_p, labels), gradient

    return run(logits)


def softmax_sums(logits, labels, weight):
    """Return weighted sums over pixels of each class' probability.

    Args:
        logits: (B, N, C) floating.
        labels: (B, N) int32 in [0, C).
        weight: (B, N) of the logits' dtype. It gets no gradient.

    Returns:
        overlap and predicted, (B, C) in the logits' dtype: the sums of weight times p over the
        pixels of the class, and over all pixels.
    """

    @ops.custom_gradient
    def run(x):
        p = ops.softmax(x)
        overlap = weight * _at_label(p, labels)

        def gradient(*arguments, upstream=None):
            overlap_gradient, predicted_gradient = _upstream(arguments, upstream, 2)
            return _logit_gradient(p, labels, weight, overlap_gradient, predicted_gradient, 0.0)

        return (class_sums(overlap, labels, x.shape[-1]), _weighted_sums(p, weight)), gradient

    return run(logits)


def softmax_nll_and_sums(logits, labels, weight):
    """Return the results of `softmax_nll` and `softmax_sums`, from one softmax."""

    @ops.custom_gradient
    def run(x):
        log_p = ops.log_softmax(x)
        nll, p = -_at_label(log_p, labels), ops.exp(log_p)
        overlap = weight * ops.exp(-nll)

        def gradient(*arguments, upstream=None):
            nll_gradient, *sum_gradients = _upstream(arguments, upstream, 3)
            result = _logit_gradient(p, labels, weight, *sum_gradients, nll_gradient)
            return _subtract_at_label(result, labels, nll_gradient)

        sums = class_sums(overlap, labels, x.shape[-1]), _weighted_sums(p, weight)
        return (nll, *sums), gradient

    return run(logits)


def class_sums(values, labels, classes: int):
    """Return (B, C) sums of (B, N) values over the pixels of each int32 label (B, N)."""
    images, pixels = ops.shape(values)
    if classes <= FEW_CLASSES and isinstance(pixels, int) and pixels < 2**22:
        return _weighted_sums(ops.one_hot(labels, classes, dtype=values.dtype), values)
    # Summed in blocks of pixels: a float32 that grows by 1 at a time stops at 2**24. Example: with
    # 3 classes and 2 blocks, label 1 in block 1 of image 1 is segment (1 * 2 + 1) * 3 + 1 = 10.
    blocks = pixels // 2**16 + 1
    image = ops.arange(images, dtype="int32")[:, None]
    block = ops.arange(pixels, dtype="int32") // 2**16
    segment = (image * blocks + block) * classes + labels
    sums = ops.segment_sum(
        ops.reshape(values, (-1,)),
        ops.reshape(segment, (-1,)),
        num_segments=images * blocks * classes,
    )
    return ops.sum(ops.reshape(sums, (images, blocks, classes)), axis=1)


def _logit_gradient(p, labels, weight, overlap_gradient, predicted_gradient, nll_gradient):
    """Return the gradient of the logits, without the part of -log p at the label.

    That is p (weight (t - p . t) + g), see the module's docstring.

    Args:
        p: (B, N, C) probabilities.
        labels, weight: (B, N).
        overlap_gradient, predicted_gradient: (B, C), the gradients of the sums.
        nll_gradient: (B, N) g, or 0.

    Returns:
        (B, N, C).
    """
    images, classes = ops.shape(overlap_gradient)
    # The C possible rows of t, one per label, so that t is looked up instead of added at labels.
    rows = predicted_gradient[:, None] + overlap_gradient[:, None] * ops.eye(classes, dtype=p.dtype)
    image = ops.arange(images, dtype="int32")[:, None]
    t = ops.take(ops.reshape(rows, (-1, classes)), image * classes + labels, axis=0)
    mean = ops.matmul(p, predicted_gradient[:, :, None])[..., 0]
    mean = mean + _at_label(p, labels) * _look_up(overlap_gradient, labels)
    # One tensor of the logits' size, which TensorFlow updates in place.
    return (t * weight[..., None] + (nll_gradient - weight * mean)[..., None]) * p


def _subtract_at_label(x, labels, values):
    """Return (B, N, C) `x` with (B, N) `values` subtracted at each pixel's label."""
    if x.shape[-1] <= FEW_CLASSES:
        return x - _one_hot(labels, x) * values[..., None]
    # Written in place: one-hot labels would be a third tensor of the logits' size.
    row = ops.arange(ops.size(labels), dtype="int32")
    index = ops.stack([row, ops.reshape(labels, (-1,))], axis=1)
    updates = ops.reshape(_at_label(x, labels) - values, (-1,))
    flat = ops.reshape(x, (-1, x.shape[-1]))
    return ops.reshape(ops.scatter_update(flat, index, updates), ops.shape(x))


def _weighted_sums(values, weight):
    """Return (B, C) sums of (B, N, C) values times (B, N) weights."""
    return ops.matmul(weight[:, None], values)[:, 0]


def _at_label(x, labels):
    """Return (B, N) the entry of (B, N, C) at each label; faster than `take_along_axis`.

    Example: with 3 classes, label 2 of pixel 4 is entry 4 * 3 + 2 = 14 of the flat array.
    """
    is_known = None not in x.shape  # always under JAX, which may have no 64-bit integers
    if is_known and math.prod(x.shape) >= FLAT_LIMIT:
        return ops.take_along_axis(x, labels[..., None], axis=-1)[..., 0]
    dtype = "int32" if is_known else "int64"
    labels = ops.cast(ops.reshape(labels, (-1,)), dtype)
    index = ops.arange(ops.shape(labels)[0], dtype=dtype) * x.shape[-1] + labels
    return ops.reshape(ops.take(ops.reshape(x, (-1,)), index), ops.shape(x)[:-1])


def _look_up(table, labels):
    """Return (B, N) the entry of each image's row of (B, C) at each label."""
    images, classes = ops.shape(table)
    index = ops.arange(images, dtype="int32")[:, None] * classes + labels
    return ops.take(ops.reshape(table, (-1,)), index)


def _one_hot(labels, like):
    return ops.one_hot(labels, like.shape[-1], dtype=like.dtype)


def _upstream(arguments, upstream, outputs):
    # JAX passes the residuals before the gradients; TensorFlow passes the gradients by name.
    return tree.flatten(arguments if upstream is None else upstream)[-outputs:]
