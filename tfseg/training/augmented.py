"""Augmentation inside the train step, where the accelerator is."""

from dataclasses import asdict

import keras
from keras import ops

from tfseg.data import Augment


@keras.saving.register_keras_serializable(package="tfseg")
class AugmentedModel(keras.Model):
    """A functional model whose train step first augments images and masks; made by `augmented`."""

    augment = None
    seed = 0

    def train_step(self, *arguments):
        """Augment the batch, then train on it as Keras does."""
        *state, data = arguments  # the state comes under JAX only
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        x, y = self._changed(x, y, weight, self._step(state))
        return super().train_step(*state, (x, y, weight))

    def _step(self, state):
        # Not `iterations`, which stands still while gradients are accumulated.
        steps = getattr(self.optimizer, "inner_optimizer", self.optimizer).variables[0]
        if not state:
            return steps
        return state[0][2][[variable is steps for variable in self.optimizer.variables].index(True)]

    def _changed(self, x, y, weight, step):
        if self.augment is None:
            return x, y
        if weight is not None and len(weight.shape) > 1:
            raise ValueError(
                f"augmented: sample_weight of shape {tuple(weight.shape)} would have to be moved with the pixels. "
                "Give one weight an image, or mark pixels that shall not count with 255 in the mask."
            )
        outputs = len(y) if isinstance(y, tuple | list) else None  # a mask an output
        labels = y if isinstance(y, dict) else {"mask": y if outputs is None else y[0]}
        # The numbers that the samples have in `pipeline` at this step.
        batch = ops.shape(x)[0]
        numbers = ops.cast(step, "int32") * batch + ops.arange(batch, dtype="int32")
        keys = ops.stack([ops.full_like(numbers, self.seed), numbers], axis=1)
        changed = self.augment({"image": x, **labels}, keys)
        x = changed.pop("image")
        if isinstance(y, dict):
            return x, changed
        return x, changed["mask"] if outputs is None else (changed["mask"],) * outputs

    def get_config(self):
        """Return the layers and the augmentation, for `.keras` files."""
        augment = self.augment and asdict(self.augment)
        return {**super().get_config(), "augment": augment, "seed": self.seed}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Rebuild from `get_config`."""
        config = dict(config)
        augment, seed = config.pop("augment", None), config.pop("seed", 0)
        model = super().from_config(config, custom_objects)
        model.augment, model.seed = augment and Augment(**augment), seed
        return model


def augmented(model, augment, seed=0):
    """Return a model of the same layers and weights that augments its training batches on the device.

    For images that lie in memory at one size, and an accelerator that waits for the processor: the batches come from
    `pipeline(reader, shuffle=True)`, and the augmentation is a part of the compiled train step. At the same seed and
    order a batch becomes what `pipeline(reader, augment=augment)` makes of it, but for float rounding.

    Predictions, evaluation and export are the model's own. The step is counted by the optimizer, so that a training
    that was restored goes on with the changes it would have made.

    Args:
        model: a functional `keras.Model` of images of any size, not compiled yet.
        augment: an `Augment`.
        seed: of the changes.

    Returns:
        AugmentedModel, to be compiled. `sample_weight` may hold one weight an image.
    """
    # `outputs` is a flat list, also where the model gives a dict
    outputs = keras.tree.pack_sequence_as(model.compute_output_spec(model.input), model.outputs)
    wrapped = AugmentedModel(model.input, outputs, name=model.name)
    wrapped.augment, wrapped.seed = augment, seed
    return wrapped
