"""Averaged weights (Keras' `use_ema`) in the model for the time of a validation or of saving."""

import keras


class AveragedWeights:
    """Puts the averaged weights into a model and gives it its own weights back.

    It keeps copies, unlike Keras' `SwapEMAWeights`, which exchanges weights and averages: an
    interrupted exchange would mix them up, and each one rounds. As a context manager, the block
    ends with the model's own weights, also by an error.
    """

    def __init__(self, model: keras.Model):
        self._optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        self._own = None

    def __enter__(self):
        # without averages, or before the first training step, nothing changes
        if self._own is not None or not (self._optimizer.use_ema and self._optimizer.built):
            return
        variables = self._optimizer._trainable_variables
        self._own = [keras.ops.convert_to_numpy(variable) for variable in variables]
        averages = self._optimizer._model_variables_moving_average
        for variable, average in zip(variables, averages, strict=True):
            variable.assign(keras.ops.convert_to_numpy(average))

    def __exit__(self, *_):
        if self._own is None:
            return
        for variable, value in zip(self._optimizer._trainable_variables, self._own, strict=True):
            variable.assign(value)
        self._own = None


def guard_validations(model: keras.Model, averages: AveragedWeights) -> None:
    """Give the model its own weights back after a validation of `fit` that is interrupted.

    Keras calls no callback then, so `model.evaluate` itself does it.
    """
    evaluate = type(model).evaluate

    def guarded(*arguments, **options):
        try:
            return evaluate(model, *arguments, **options)
        finally:
            averages.__exit__()

    # Keras must not track it as a part of the model
    object.__setattr__(model, "evaluate", guarded)


def unguard_validations(model: keras.Model) -> None:
    """Undo `guard_validations`."""
    vars(model).pop("evaluate", None)
