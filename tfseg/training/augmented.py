"""Augmentation inside the train step, on the accelerator."""

from dataclasses import asdict

import keras
from keras import ops

from tfseg.data import Augment
from tfseg.models import is_detector, is_instance_model
from tfseg.models.detection import Detector
from tfseg.training.presets import require_outputs


@keras.saving.register_keras_serializable(package="tfseg")
class AugmentedModel(keras.Model):
    """A functional model that augments images and labels in its train step; see `augmented`."""

    augment = None
    seed = 0

    def train_step(self, *arguments):
        """Augment the batch, then train on it as Keras does."""
        *state, data = arguments  # JAX passes the state of the training first
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        x, y = self._augment_batch(x, y, weight, self._step(state))
        return super().train_step(*state, (x, y, weight))

    def _step(self, state):
        # Not `iterations`, which does not advance while gradients are accumulated.
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        step = optimizer.variables[0]
        if not state:
            return step
        optimizer_state = state[0][2]
        position = [variable is step for variable in self.optimizer.variables].index(True)
        return optimizer_state[position]

    def _augment_batch(self, x, y, weight, step):
        if self.augment is None:
            return x, y
        if weight is not None and len(weight.shape) > 1:
            raise ValueError(
                f"augmented: sample_weight of shape {tuple(weight.shape)} would have to move with "
                "the pixels. Use one weight per image, or set the mask to 255 where pixels must "
                "not count."
            )
        # The numbers that `pipeline` gives to the samples of this step: at step 3 of batch size 4
        # they are 12, 13, 14, 15.
        count = ops.shape(x)[0]
        numbers = ops.cast(step, "int32") * count + ops.arange(count, dtype="int32")
        keys = ops.stack([ops.full_like(numbers, self.seed), numbers], axis=1)
        if isinstance(y, dict):
            changed = self.augment({"image": x, **y}, keys)
            return changed.pop("image"), changed
        has_outputs = isinstance(y, tuple | list)  # one mask per output of the model
        mask = y[0] if has_outputs else y
        changed = self.augment({"image": x, "mask": mask}, keys)
        mask = changed["mask"]
        return changed["image"], ((mask,) * len(y) if has_outputs else mask)

    def get_config(self):
        """Return the layers and the augmentation, for `.keras` files."""
        augment = self.augment and asdict(self.augment)
        return {**super().get_config(), "augment": augment, "seed": self.seed}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Create a model from the result of `get_config`."""
        config = dict(config)
        augment, seed = config.pop("augment", None), config.pop("seed", 0)
        model = super().from_config(config, custom_objects)
        model.augment, model.seed = augment and Augment(**augment), seed
        return model


@keras.saving.register_keras_serializable(package="tfseg")
class AugmentedDetector(AugmentedModel, Detector):
    """A detector that augments images and objects in its train step; see `augmented`."""


def augmented(model: keras.Model, augment: Augment, seed: int = 0) -> AugmentedModel:
    """Return a model with the same layers and weights that augments its training batches.

    The augmentation becomes a part of the compiled train step. It pays off if an accelerator waits
    for the CPU, and the images are in memory and of one size. Take the batches from
    `pipeline(reader, shuffle=True)`. With the same seed they become what
    `pipeline(reader, augment=augment)` yields, up to float rounding.

    Prediction, evaluation and export are unchanged. The optimizer counts the steps, so a restored
    training continues with the augmentations that an uninterrupted one would have used.

    Args:
        model: a functional or Sequential `keras.Model` for images of any size, not compiled yet.
        augment: an `Augment`. With color operations it needs a `value_range`, unless the images
            are uint8.
        seed: random seed of the augmentation.

    Returns:
        AugmentedModel, not compiled. `sample_weight` can have one weight per image. Of a detector
        an AugmentedDetector, without `sample_weight`.

    Raises:
        ValueError: the outputs of the model are unknown: a subclass of `keras.Model`. Or it is a
            model of `tfseg.models.instances`, whose targets are made after the augmentation.
        ValueError: in the first step of `fit`, if colors are changed and their range is unknown.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.tiny_unet(num_classes=2)
        >>> augment = tfseg.data.Augment(32, flip="horizontal")
        >>> model = tfseg.training.augmented(model, augment, seed=5)
        >>> tfseg.training.compile_for(model, steps=10)
    """
    require_outputs("augmented", model)
    _require_labels(model)
    # `model.outputs` is a flat list, even if the model returns a dict.
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    outputs = keras.tree.pack_sequence_as(model.compute_output_spec(inputs), model.outputs)
    wrapper = AugmentedDetector if is_detector(model) else AugmentedModel
    wrapped = wrapper(inputs, outputs, name=model.name)
    wrapped.augment, wrapped.seed = augment, seed
    return wrapped


def _require_labels(model):
    """Refuse a model that does not learn from the labels that are augmented."""
    if is_instance_model(model):
        raise ValueError(
            f"augmented: the targets of the model {model.name!r} are made after the augmentation, "
            "on the CPU. Augment in the pipeline: tfseg.data.pipeline(reader, batch_size, augment)"
            ".map(tfseg.training.instance_targets(model))."
        )
