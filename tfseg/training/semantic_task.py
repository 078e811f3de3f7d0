"""Training on masks: what `train` does for the task "semantic"."""

from dataclasses import replace

from tfseg.checks import label_names
from tfseg.data import batch_for, pipeline, window_for
from tfseg.models import DEFAULT_ENCODERS, build, is_detector
from tfseg.models.encoders import require_weights
from tfseg.training.config_checks import require_weight_per_class
from tfseg.training.non_finite import explain_batches
from tfseg.training.open_data import warn_of_ranges
from tfseg.training.presets import compile_for
from tfseg.training.record import DataFacts
from tfseg.training.task import (
    Task,
    common_facts,
    normalization_options,
    range_of_images,
)


class SemanticTask(Task):
    """A network with one output of class logits, trained on masks; see `Task`."""

    def _checked_config(self, config):
        if self._model is not None:
            self._require_usable()
            self._require_unplanned(config)
            return replace(config, model=None)
        if config.model is None:
            raise ValueError("train: config.model is None, so pass a network as `model`.")
        encoder = config.encoder or DEFAULT_ENCODERS.get(config.model)
        if encoder is not None:
            require_weights(encoder, config.weights)
        return config

    def _require_usable(self):
        super()._require_usable()
        if is_detector(self._model):
            raise ValueError(
                f"train: the model {self._model.name!r} is a detector. Pass a config with "
                'task="detect" or task="instances".'
            )
        if len(self._model.outputs) != 1:
            raise ValueError(
                f"train: the model {self._model.name!r} has {len(self._model.outputs)} outputs; "
                "expected one. Use `compile_for` and `fit` with one mask per output."
            )

    def class_names(self, reader):
        return list(reader.class_names)

    def check_classes(self, reader):
        require_weight_per_class(self.config, reader.class_names)
        if self._model is None:
            return
        names = label_names(reader.class_names)
        channels, classes = self._model.outputs[0].shape[-1], len(names)
        if max(channels, 2) < classes:
            raise ValueError(
                f"train: the model {self._model.name!r} has {channels} output channels, but the "
                f"masks have {classes} classes: {', '.join(names)}. Build the model with "
                f"num_classes={classes}."
            )

    def find_facts(self, data):
        warn_of_ranges(data, self._takes_0_255())
        return DataFacts(
            class_names=list(data.train.class_names),
            mask_values=data.train.mask_values,
            window=self.config.window or window_for([*data.train.sizes, *data.val.sizes]),
            **common_facts(data),
        )

    def build_model(self, facts):
        config = self.config
        options = {"input_shape": (None, None, facts.channels), **config.model_options()}
        options |= normalization_options(config, facts, "weights" in options)
        return build(config.model, len(facts.class_names), **options)

    def validation_batches(self, facts, val):
        # the larger images as disjoint tiles: each pixel counts once
        if facts.window is not None:
            val = val.disjoint_tiles(facts.window)
        batch_size = batch_for(val.sizes, self.config.val_batch_size or self.config.batch_size)
        cache, values = self._cache("val"), range_of_images(facts)
        return pipeline(val, batch_size, cache=cache, value_range=values)

    def compile(self, facts, model, length):
        config = self.config
        loss = config.build_loss(facts.median_weights)
        compile_for(model, **config.optimizer_options(), steps=length.steps, loss=loss)

    def explain(self, batches, reader, model):
        return explain_batches(batches, reader, model)
