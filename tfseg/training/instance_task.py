"""Training on instances without boxes: the heads "star" and "center" of the task "instances"."""

from dataclasses import replace

from tfseg.checks import IGNORE_INDEX
from tfseg.data import center_targets, star_targets, window_for
from tfseg.models import DEFAULT_ENCODERS, instance_settings, instances, is_instance_model
from tfseg.models.encoders import require_weights
from tfseg.models.reader_fit import predicted_stuff, require_fitting_model, stuff_ids
from tfseg.training.config_checks import require_weight_per_class
from tfseg.training.instance_scores import InstanceScores
from tfseg.training.non_finite import explain_object_batches
from tfseg.training.object_facts import object_facts, require_fields, require_objects
from tfseg.training.presets import compile_for
from tfseg.training.task import Task, normalization_options

TARGET_THREADS = 2


class InstanceTask(Task):
    """A network with a head for instances, trained on numbered objects; see `Task`."""

    def _checked_config(self, config):
        if self._model is not None:
            self._require_usable(config.head)
            self._require_unplanned(config)
            return replace(config, model=None, encoder=None, grid=None)
        if config.model is None:
            raise ValueError("train: config.model is None, so pass a network as `model`.")
        encoder = config.encoder or DEFAULT_ENCODERS.get(config.model)
        if encoder is not None:
            require_weights(encoder, config.weights)
        return config

    def _require_usable(self, head):
        super()._require_usable()
        model = self._model
        if not is_instance_model(model):
            raise ValueError(
                f"train: head={head!r} needs a model of tfseg.models.instances, but the model "
                f"{model.name!r} is a {type(model).__name__}."
            )
        found = instance_settings(model).head
        if found != head:
            raise ValueError(
                f"train: the model {model.name!r} has the head {found!r}, but config.head is "
                f"{head!r}. Pass a config with head={found!r}."
            )

    def class_names(self, reader):
        return list(reader.object_names)

    def check_classes(self, reader):
        require_fields(self.config.task, reader, {"instances", "classes", "boxes"})
        require_weight_per_class(self.config, reader.label_names)
        if self._model is not None:
            require_fitting_model("train", self._model, reader)

    def find_facts(self, data):
        require_objects(data, self._takes_0_255())
        return object_facts(
            data,
            window=self.config.window or window_for([*data.train.sizes, *data.val.sizes]),
            label_names=list(data.train.label_names),
            thing_ids=self._thing_ids(data.train),
        )

    def _thing_ids(self, train):
        """Return the ids in masks of the categories if the model predicts stuff too, else None."""
        if self._model is not None:
            stuff = predicted_stuff(self._model, train)
        else:
            stuff = stuff_ids(train) if self.config.head == "center" else []
        return [int(i) for i in train.object_label_ids] if stuff else None

    def build_model(self, facts):
        config = self.config
        options = {"input_shape": (None, None, facts.channels), **config.model_options()}
        options |= normalization_options(config, facts, "weights" in options)
        if config.grid is not None:
            options["grid"] = config.grid
        count = len(facts.object_names)
        if facts.thing_ids is not None:
            options["thing_ids"], count = facts.thing_ids, len(facts.label_names)
        return instances(count, config.head, config.model, **options)

    def with_targets(self, batches, model, train):
        return batches.map(instance_targets(model, train.ignore_index), TARGET_THREADS)

    def validation_batches(self, facts, val):
        return None  # `InstanceScores` predicts the validation images

    def compile(self, facts, model, length):
        weights = self.config.class_weights
        if weights == "median":
            weights = facts.median_weights
        options = self.config.optimizer_options()
        compile_for(model, **options, steps=length.steps, class_weights=weights)

    def callbacks(self, facts, val):
        # the larger images as disjoint tiles, each processed whole
        return [InstanceScores(val if facts.window is None else val.disjoint_tiles(facts.window))]

    def explain(self, batches, reader, model):
        return explain_object_batches(batches, reader, instance_settings(model).num_classes)


def instance_targets(model, ignore_index: int = IGNORE_INDEX):
    """Return the function that makes the targets of an instance model, for `Dataset.map`.

    Args:
        model: a model of `tfseg.models.instances`.
        ignore_index: id in masks of pixels without a label, `reader.ignore_index`.

    Returns:
        Function of a batch of `tfseg.data.pipeline`, images and a dict of labels, to the images and
        a dict of the targets of all outputs.

    Raises:
        ValueError: the model is not one of `tfseg.models.instances`.

    Example:
        >>> import tfseg
        >>> train, val = tfseg.datasets.dsb2018("data/dsb2018_fluo")  # doctest: +SKIP
        >>> augment = tfseg.data.Augment(256, flip="both", rotate=180)
        >>> batches = tfseg.data.pipeline(train, 8, augment)  # doctest: +SKIP
        >>> batches = batches.map(tfseg.training.instance_targets(model))  # doctest: +SKIP
    """
    if not is_instance_model(model):
        raise ValueError(
            f"instance_targets: the model {model.name!r} predicts no instances. Pass a model of "
            "tfseg.models.instances."
        )
    settings = instance_settings(model)
    if settings.head == "star":
        return star_targets(settings.rays, settings.grid, settings.num_classes, ignore_index)
    channels, count = model.output["class_logits"].shape[-1], settings.num_classes
    if channels == count + 1 and settings.thing_ids == tuple(range(1, channels)):
        return center_targets(count, ignore_index=ignore_index)  # things only
    return center_targets(channels, settings.thing_ids, ignore_index=ignore_index)
