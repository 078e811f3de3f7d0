"""Losses add and scale: `CrossEntropy() + 0.5 * Dice()` is a loss that saves and loads."""

import keras


class Composable(keras.losses.Loss):
    """A Keras loss that knows `+` and `*`."""

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
        values = {}
        for loss, weight in zip(self.losses, self.weights, strict=True):
            name = loss.name if loss.name not in values else f"{loss.name}_{len(values)}"
            values[name] = weight * loss(y_true, y_pred, sample_weight)
        return values

    def get_config(self):
        """Return the losses and weights, for `.keras` files."""
        losses = [keras.saving.serialize_keras_object(loss) for loss in self.losses]
        return {"losses": losses, "weights": self.weights, "name": self.name}

    @classmethod
    def from_config(cls, config):
        """Rebuild from `get_config`."""
        losses = [keras.saving.deserialize_keras_object(loss) for loss in config["losses"]]
        return cls(losses, config["weights"], config["name"])


def _parts(loss):
    if isinstance(loss, CompositeLoss):
        return loss.losses, loss.weights
    if isinstance(loss, keras.losses.Loss):
        return [loss], [1.0]
    raise ValueError(f"A loss can be added to a loss, not to {loss!r} of type {type(loss).__name__}.")


def _joined(first, second):
    return first[0] + second[0], first[1] + second[1]
