"""What the losses read off a softmax: one pass over the logits, and a gradient that keeps little else."""

from keras import ops, tree


def softmax_sums(logits, labels, weight):
    """Cross entropy a pixel, and weighted sums over pixels of each class' probabilities.

    Written with its own gradient: left to themselves, Keras' softmax and cross entropy each store a tensor of the
    logits' size and make several more on the way back. Neither direction makes a one-hot tensor.

    Args:
        logits: (B, N, C) floating.
        labels: (B, N) int32 in [0, C).
        weight: (B, N) of the logits' dtype, for the sums. No gradient flows into it.

    Returns:
        (B, N) -log p of the label; (B, C) sums of weight times p over the pixels of the class, and over all pixels;
        all in the logits' dtype.
    """
    images, pixels, classes = *ops.shape(labels), logits.shape[-1]
    column = lambda x: ops.reshape(x, (images, pixels, 1))  # noqa: E731
    labels, weight = ops.reshape(labels, (-1,)), column(weight)
    row = ops.arange(images * pixels, dtype="int32")
    # the label's place in (B, C) and in (B, N, C)
    cell = row // pixels * classes + labels
    entry = row * classes + labels

    @ops.custom_gradient
    def run(x):
        top = ops.max(x, axis=-1, keepdims=True)
        exponentials = ops.exp(x - top)
        total = ops.sum(exponentials, axis=-1, keepdims=True)
        nll = ops.log(total) + (top - column(ops.take(ops.reshape(x, (-1,)), entry)))
        hit = weight * ops.exp(-nll)
        overlap = class_sums(hit[..., 0], ops.reshape(labels, (images, pixels)), classes)
        share = weight / total
        predicted = ops.matmul(ops.swapaxes(share, 1, 2), exponentials)

        def gradient(*arguments, upstream=None):
            to_nll, to_overlap, to_predicted = tree.flatten(arguments if upstream is None else upstream)[-3:]
            # The slope is p (weight (a - a.p) + g), and g less at the label, with a that of the predicted sums and g
            # that of -log p, through which the overlap's goes too.
            at_label = lambda x: column(ops.take(ops.reshape(x, (-1,)), cell))  # noqa: E731
            g = to_nll - hit * at_label(to_overlap)
            mean = ops.matmul(exponentials, ops.swapaxes(to_predicted, 1, 2)) / total
            rest = g / total - share * mean
            # an outer product and a sum as one matrix product: several times faster than by broadcasting
            columns = ops.concatenate([share, rest], axis=-1)
            slope = exponentials * ops.matmul(
                columns, ops.concatenate([to_predicted, ops.ones_like(to_predicted)], axis=1)
            )
            # written in place: a select or a one-hot tensor would be one more of the logits' size
            here = ops.exp(-nll) * total * (share * at_label(to_predicted) + rest) - g
            place = ops.stack([row, labels], axis=1)
            slope = ops.scatter_update(ops.reshape(slope, (-1, classes)), place, ops.reshape(here, (-1,)))
            return ops.reshape(slope, ops.shape(x))

        return (nll, overlap, predicted), gradient

    nll, overlap, predicted = run(logits)
    return nll[..., 0], overlap, predicted[:, 0]


def class_sums(values, labels, classes):
    """(B, C) sums of (B, N) values over the pixels of each int32 label (B, N).

    By blocks of pixels: a float32 that is added to one by one stands still at 2**24.
    """
    images, pixels = ops.shape(values)
    blocks = pixels // 2**16 + 1
    row = ops.arange(images * pixels, dtype="int32")
    block = row // pixels * blocks + row % pixels // 2**16
    segment = block * classes + ops.reshape(labels, (-1,))
    sums = ops.segment_sum(ops.reshape(values, (-1,)), segment, num_segments=images * blocks * classes)
    return ops.sum(ops.reshape(sums, (images, blocks, classes)), axis=1)
