"""Losses add and scale: `CrossEntropy() + 0.5 * Dice()` is a loss that saves and loads."""

import itertools

import keras
from keras import ops

from tfseg.losses.target import Target


class Composable(keras.losses.Loss):
    """A Keras loss that knows `+` and `*`.

    Attributes:
        reading: arguments by which the loss' `of` wants its `Target` read; None for a loss that is only called.
        reads: what it takes from the target, "nll" or "sums".
    """

    reading = None
    reads = None

    def __add__(self, other):
        """Return the sum of two losses."""
        return CompositeLoss(*_joined(_parts(self), _parts(other)))

    def __radd__(self, other):
        """Return the sum with a loss at the left; 0 is what `sum` begins with."""
        return self if other == 0 else CompositeLoss(*_joined(_parts(other), _parts(self)))

    def __mul__(self, factor):
        """Return this loss, `factor` times."""
        losses, weights = _parts(self)
        return CompositeLoss(losses, [float(factor) * weight for weight in weights])

    __rmul__ = __mul__


@keras.saving.register_keras_serializable(package="tfseg")
class CompositeLoss(Composable):
    """A weighted sum of losses.

    Losses that read the target alike read it once, and share what they need of the softmax.

    Args:
        losses: list of `keras.losses.Loss`.
        weights: list of floats, one a loss.
        name: name of the sum.
    """

    def __init__(self, losses, weights, name="composite_loss"):
        super().__init__(name=name)
        if len(losses) != len(weights) or not losses:
            raise ValueError(
                f"CompositeLoss: {len(losses)} losses and {len(weights)} weights came; give one weight a loss."
            )
        self.losses = list(losses)
        self.weights = [float(weight) for weight in weights]

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return the weighted sum; arguments as for the single losses."""
        return sum(self.parts(y_true, y_pred, sample_weight).values())

    def parts(self, y_true, y_pred, sample_weight=None):
        """Return {name: weighted value} of every summand, to see which one drives the training."""
        values, targets, reads = {}, {}, self._reads_by_key()
        for loss, weight in zip(self.losses, self.weights, strict=True):
            name = _free_name(loss.name, values)
            key = _key(loss)
            if key is None:
                value = loss(y_true, y_pred, sample_weight)
            else:
                if key not in targets:
                    joint = len(reads[key]) > 1
                    targets[key] = Target(
                        y_true, y_pred, sample_weight, **loss.reading, owner=loss.name, joint=joint
                    )
                value = loss.of(targets[key])
            values[name] = weight * value
        self._check_shapes(values)
        return values

    def _reads_by_key(self):
        """{how a target is read: what is taken from it}."""
        reads = {}
        for loss in self.losses:
            reads.setdefault(_key(loss), set()).add(getattr(loss, "reads", None))
        return reads

    def _check_shapes(self, values):
        shapes = {name: tuple(value.shape) for name, value in values.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(
                f"{self.name}: its parts have shapes {shapes}, which do not add. Leave their reduction at "
                "'sum_over_batch_size', or add losses of one kind."
            )

    def get_config(self):
        """Return the losses and weights, for `.keras` files."""
        losses = [keras.saving.serialize_keras_object(loss) for loss in self.losses]
        return {"losses": losses, "weights": self.weights, "name": self.name}

    @classmethod
    def from_config(cls, config):
        """Rebuild from `get_config`."""
        losses = [keras.saving.deserialize_keras_object(loss) for loss in config["losses"]]
        return cls(losses, config["weights"], config["name"])


@keras.saving.register_keras_serializable(package="tfseg")
class AtOutputSize(Composable):
    """A loss of an output of lower resolution: the target is read at the middle of each of the output's pixels.

    Args:
        loss: the `keras.losses.Loss` to apply.
        name: name of the loss.
    """

    def __init__(self, loss, name="at_output_size"):
        super().__init__(name=name)
        self.loss = loss

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return the loss; y_true (B, H, W) or (B, H, W, C), y_pred (B, h, w, C), or volumes alike."""
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight)
        for axis in range(1, len(y_pred.shape) - 1):
            size = ops.shape(y_pred)[axis]
            y_true = _shrink(y_true, axis, size)
            if sample_weight is not None and len(sample_weight.shape) > 1:
                sample_weight = _shrink(sample_weight, axis, size)
        return self.loss(y_true, y_pred, sample_weight)

    def get_config(self):
        """Return the loss, for `.keras` files."""
        return {"loss": keras.saving.serialize_keras_object(self.loss), "name": self.name}

    @classmethod
    def from_config(cls, config):
        """Rebuild from `get_config`."""
        return cls(keras.saving.deserialize_keras_object(config["loss"]), config["name"])


def deep_supervision(loss, weights=(1.0, 0.5, 0.25)):
    """Return losses for a model with several outputs of falling resolution, for `model.compile(loss=...)`.

    Train with the mask once an output: `batches.map(lambda image, mask: (image, (mask,) * 3))`.

    Args:
        loss: a loss of this room, or a sum of them.
        weights: one an output, in the model's order. They are scaled to a sum of 1.

    Returns:
        list of losses, one an output.

    Raises:
        ValueError: there are no weights, or one is negative, or all are 0.
    """
    if not all(weight >= 0 for weight in weights) or not sum(weights) > 0:
        raise ValueError(
            f"deep_supervision: weights={weights} must be one number an output, none negative, not all 0."
        )
    return [weight / sum(weights) * AtOutputSize(loss) for weight in weights]


def _key(loss):
    reading = getattr(loss, "reading", None)
    return None if reading is None else tuple(reading.items())


def _free_name(name, taken):
    names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    return next(free for free in names if free not in taken)


def _shrink(x, axis, size):
    """Take `size` entries along an axis, at the middles of equal parts."""
    length = ops.shape(x)[axis]
    if isinstance(size, int) and size == length:
        return x
    middles = (2 * ops.arange(size, dtype="int32") + 1) * length // (2 * size)
    return ops.take(x, middles, axis=axis)


def _parts(loss):
    if isinstance(loss, CompositeLoss):
        return loss.losses, loss.weights
    if isinstance(loss, keras.losses.Loss):
        return [loss], [1.0]
    raise ValueError(
        f"A loss can be added to a loss, not to {loss!r} of type {type(loss).__name__}."
    )


def _joined(first, second):
    return first[0] + second[0], first[1] + second[1]
