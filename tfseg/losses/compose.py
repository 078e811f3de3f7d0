"""Sums of losses: `CrossEntropy() + 0.5 * Dice()` is a loss that saves and loads."""

from collections.abc import Sequence

import keras
from keras import ops

from tfseg import checks
from tfseg.losses.target import Target, require_known_rank


class Composable(keras.losses.Loss):
    """A Keras loss with `+` and `*`.

    Attributes:
        target_options: arguments of the `Target` that the loss' `from_target` expects; None for a
            loss that is only called.
        needs: what it uses of the target, "nll" or "sums".
    """

    target_options = None
    needs = None

    def __add__(self, other):
        """Return the sum of two losses."""
        return _summed(self, other)

    def __radd__(self, other):
        """Return the sum of two losses; 0 is allowed, since `sum` starts with it."""
        return self if other == 0 else _summed(other, self)

    def __mul__(self, factor: float):
        """Return the loss times a factor."""
        losses, weights = _terms(self)
        return CompositeLoss(losses, [float(factor) * weight for weight in weights])

    __rmul__ = __mul__


FIXED_WEIGHTS = (
    "CompositeLoss: the weights cannot be changed, since a compiled model keeps those it was "
    "compiled with. Create a new loss and compile again before the next call of fit: "
    "model.compile(model.optimizer, new_loss) keeps the state of the optimizer."
)


class _FixedWeights(tuple):
    """A tuple whose error says why its entries cannot be set."""

    def __setitem__(self, index, value):
        raise TypeError(FIXED_WEIGHTS)


@keras.saving.register_keras_serializable(package="tfseg")
class CompositeLoss(Composable):
    """A weighted sum of losses; use `+` and `*` to create one.

    Losses with the same target options share one `Target` and one softmax. The weights cannot be
    changed: a compiled model keeps those it was compiled with.

    Args:
        losses: list of `keras.losses.Loss`.
        weights: one weight per loss.
        name: name of the sum.

    Raises:
        ValueError: there are no losses, or not as many weights as losses.

    Example:
        >>> import tfseg
        >>> loss = tfseg.losses.CrossEntropy() + 0.5 * tfseg.losses.Dice()
        >>> parts = loss.parts([[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]])
        >>> [f"{value:.3f}" for value in parts.values()]  # its keys are the losses' names
        ['0.720', '0.148']
    """

    def __init__(self, losses: list, weights: Sequence[float], name: str = "composite_loss"):
        super().__init__(name=name)
        if len(losses) != len(weights) or not losses:
            raise ValueError(
                f"CompositeLoss: got {len(losses)} losses and {len(weights)} weights; expected one "
                "weight per loss."
            )
        self.losses = list(losses)
        self._weights = _FixedWeights(checks.numbers("CompositeLoss", "weights", weights))

    @property
    def weights(self) -> tuple[float, ...]:
        """One weight per loss. Read-only."""
        return self._weights

    @weights.setter
    def weights(self, weights):
        raise AttributeError(FIXED_WEIGHTS)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return the weighted sum; the arguments are those of the single losses."""
        return sum(self.parts(y_true, y_pred, sample_weight).values())

    def parts(self, y_true, y_pred, sample_weight=None) -> dict:
        """Return {name: weighted value} of every loss, to see which one drives the training."""
        values, targets, needs = {}, {}, self._needs_by_target()
        for loss, weight in zip(self.losses, self.weights, strict=True):
            name = _unique_name(loss.name, values)
            key = _target_key(loss)
            if key is None:
                values[name] = weight * loss(y_true, y_pred, sample_weight)
                continue
            if key not in targets:
                joint = len(needs[key]) > 1
                targets[key] = Target(
                    y_true,
                    y_pred,
                    sample_weight,
                    **loss.target_options,
                    owner=loss.name,
                    joint=joint,
                )
            values[name] = weight * loss.from_target(targets[key])
        self._check_shapes(values)
        return values

    def _needs_by_target(self):
        """Return {target options: what the losses use of that target}."""
        needs = {}
        for loss in self.losses:
            needs.setdefault(_target_key(loss), set()).add(getattr(loss, "needs", None))
        return needs

    def _check_shapes(self, values):
        shapes = {name: tuple(value.shape) for name, value in values.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(
                f"{self.name}: the losses have different shapes {shapes} and cannot be added. Use "
                "reduction='sum_over_batch_size', or losses of one kind."
            )

    def get_config(self) -> dict:
        """Return the losses and weights, for `.keras` files."""
        losses = [keras.saving.serialize_keras_object(loss) for loss in self.losses]
        return {"losses": losses, "weights": list(self.weights), "name": self.name}

    @classmethod
    def from_config(cls, config: dict):
        """Create the sum from the result of `get_config`."""
        losses = [keras.saving.deserialize_keras_object(loss) for loss in config["losses"]]
        return cls(losses, config["weights"], config["name"])


@keras.saving.register_keras_serializable(package="tfseg")
class AtOutputSize(Composable):
    """Applies a loss to an output of lower resolution.

    The target is downsampled to the output's size, by the nearest pixel to each output pixel's
    center.

    Args:
        loss: the `keras.losses.Loss` to apply.
        name: name of the loss.
    """

    def __init__(self, loss: keras.losses.Loss, name: str = "at_output_size"):
        super().__init__(name=name)
        self.loss = loss

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Compute the loss.

        Args:
            y_true: (B, H, W) or (B, H, W, C); volumes have one more axis.
            y_pred: (B, h, w, C).
            sample_weight: (B,) or (B, H, W), or None.

        Returns:
            The value of the loss.
        """
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        require_known_rank(self.name, "y_true", y_true)
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight)
            require_known_rank(self.name, "sample_weight", sample_weight)
        for axis in range(1, len(y_pred.shape) - 1):
            size = ops.shape(y_pred)[axis]
            y_true = _downsample(y_true, axis, size)
            if sample_weight is not None and len(sample_weight.shape) > 1:
                sample_weight = _downsample(sample_weight, axis, size)
        return self.loss(y_true, y_pred, sample_weight)

    def get_config(self) -> dict:
        """Return the loss, for `.keras` files."""
        return {"loss": keras.saving.serialize_keras_object(self.loss), "name": self.name}

    @classmethod
    def from_config(cls, config: dict):
        """Create the loss from the result of `get_config`."""
        return cls(keras.saving.deserialize_keras_object(config["loss"]), config["name"])


def deep_supervision(loss: Composable, weights: Sequence[float] = (1.0, 0.5, 0.25)) -> list:
    """Return losses for a model with several outputs of decreasing resolution.

    Pass them to `model.compile(loss=...)`, and train with one mask per output:
    `batches.map(lambda image, mask: (image, (mask,) * 3))`.

    Args:
        loss: a loss of this package, or a sum of them.
        weights: one per output, in the model's order. They are scaled to a sum of 1.

    Returns:
        list of losses, one per output.

    Raises:
        ValueError: there are no weights, one is negative, or all are 0.

    Example:
        >>> import tfseg
        >>> losses = tfseg.losses.deep_supervision(tfseg.losses.Dice(), weights=(3, 1))
        >>> [loss.weights for loss in losses]
        [(0.75,), (0.25,)]
    """
    weights = checks.numbers("deep_supervision", "weights", weights)
    if not all(weight >= 0 for weight in weights) or not sum(weights) > 0:
        raise ValueError(
            f"deep_supervision: weights={weights} must be one number per output, none negative, "
            "not all 0."
        )
    return [weight / sum(weights) * AtOutputSize(loss) for weight in weights]


def _target_key(loss):
    """Return a hashable key of the loss' target options, or None."""
    options = getattr(loss, "target_options", None)
    return None if options is None else tuple(options.items())


def _unique_name(name, taken):
    """Return `name`, or the first of name_2, name_3, ... that is not taken."""
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique


def _downsample(x, axis, size):
    """Take `size` entries along an axis, at the centers of equal parts.

    Example: 2 of 5 entries are those at 5 * 1 // 4 = 1 and 5 * 3 // 4 = 3.
    """
    length = ops.shape(x)[axis]
    if isinstance(size, int) and size == length:
        return x
    centers = (2 * ops.arange(size, dtype="int32") + 1) * length // (2 * size)
    return ops.take(x, centers, axis=axis)


def _terms(loss):
    """Return the losses and weights of a loss or a sum of losses."""
    if isinstance(loss, CompositeLoss):
        return loss.losses, list(loss.weights)
    if isinstance(loss, keras.losses.Loss):
        return [loss], [1.0]
    raise ValueError(
        f"A loss can only be added to another loss, got {loss!r} of type {type(loss).__name__}."
    )


def _summed(first, second):
    first_losses, first_weights = _terms(first)
    second_losses, second_weights = _terms(second)
    return CompositeLoss(first_losses + second_losses, first_weights + second_weights)
