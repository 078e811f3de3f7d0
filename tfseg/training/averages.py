"""Averaged weights (Keras' `use_ema`) in the model for the time of a validation or of saving."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Put the averaged weights into a model; the block ends with its own weights, also by an error.

    Without averages, or before the first training step, nothing changes.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not (optimizer.use_ema and optimizer.built):
        yield
        return
    # Copies, rather than Keras' exchange of weights and averages: an interrupted exchange mixes
    # them up, and each one rounds.
    variables = list(optimizer._trainable_variables)
    weights = [keras.ops.convert_to_numpy(variable) for variable in variables]
    try:
        for variable, average in zip(
            variables, optimizer._model_variables_moving_average, strict=True
        ):
            variable.assign(keras.ops.convert_to_numpy(average))
        yield
    finally:
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)


def validate_averages(model: keras.Model) -> None:
    """Make the validations of `fit` measure the averaged weights.

    Keras calls no callback if a validation is interrupted, so `model.evaluate` itself puts the
    weights back.
    """
    evaluate = type(model).evaluate

    def evaluate_averages(*arguments, **options):
        # `fit` calls with this option; a caller's own `evaluate` measures the model as it is.
        if not options.get("_use_cached_eval_dataset"):
            return evaluate(model, *arguments, **options)
        with averaged_weights(model):
            return evaluate(model, *arguments, **options)

    # Keras must not track it as a part of the model
    object.__setattr__(model, "evaluate", evaluate_averages)


def validate_weights(model: keras.Model) -> None:
    """Undo `validate_averages`."""
    vars(model).pop("evaluate", None)
