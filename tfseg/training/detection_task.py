"""Training on boxes, or boxes and masks of objects: the tasks "detect" and "instances"."""

import warnings
from dataclasses import replace

import numpy as np

from tfseg.doctor.anchor_proposal import COVERED_IOU, propose_anchors
from tfseg.doctor.object_findings import anchor_arguments
from tfseg.models import DETECTORS, is_detector
from tfseg.models.detection.anchors import anchor_coverage
from tfseg.models.detection.assemble import ANCHOR_RATIOS, ANCHOR_SIZES, STRIDES
from tfseg.models.encoders import require_weights
from tfseg.training.detection_scores import DetectionScores
from tfseg.training.non_finite import explain_object_batches
from tfseg.training.object_facts import object_facts, objects_of, require_fields, require_objects
from tfseg.training.presets import compile_for
from tfseg.training.task import Task, normalization_options

DEFAULT_ENCODER = "efficientnet_lite0"
MAX_OBJECTS = 100  # per training image, unless the config says more
MIN_COVERAGE = 0.5  # fraction of the objects that anchors should cover
MIXED = 4  # images whose objects a crop may contain with `mosaic` or `cutmix`


class DetectionTask(Task):
    """A detector, trained on the objects of images; see `Task`."""

    def _checked_config(self, config):
        if self._model is not None:
            self._require_usable(config.task)
            self._require_unplanned(config)
            return replace(config, head=None)
        if config.head is None:
            raise ValueError("train: config.head is None, so pass a detector as `model`.")
        require_weights(config.encoder or DEFAULT_ENCODER, config.weights)
        return config

    def _require_usable(self, task):
        super()._require_usable()
        model = self._model
        if not is_detector(model):
            raise ValueError(
                f"train: task={task!r} needs a detector, such as those of tfseg.models.DETECTORS, "
                f"but the model {model.name!r} is a {type(model).__name__}."
            )
        if model.has_masks != (task == "instances"):
            outputs = "masks" if model.has_masks else "no masks"
            raise ValueError(
                f"train: task={task!r}, but the detector {model.name!r} predicts {outputs}. Pass a "
                'config with task="instances" for detectors with masks, "detect" for others.'
            )

    def class_names(self, reader):
        return list(reader.object_names)

    def check_classes(self, reader):
        needed = {"boxes", "classes"}
        if self.config.task == "instances":
            needed.add("instances")
        require_fields(self.config.task, reader, needed)
        names = reader.object_names
        if self._model is not None and self._model.num_classes != len(names):
            raise ValueError(
                f"train: the detector {self._model.name!r} has {self._model.num_classes} classes, "
                f"but the reader has {len(names)}: {', '.join(names)}. Build it with "
                f"num_classes={len(names)}."
            )

    def find_facts(self, data):
        require_objects(data, self._takes_0_255())
        most = self.config.max_objects or _most_objects(data.summary, self.config.augment)
        return object_facts(
            data,
            window=None,
            anchor_coverage=self._check_anchors(data.train, data.summary),
            max_objects=most,
        )

    def build_model(self, facts):
        config = self.config
        options = {"input_shape": (None, None, facts.channels), **config.detector_options()}
        options |= normalization_options(config, facts, has_encoder=True)
        return DETECTORS[config.head](len(facts.object_names), **options)

    def validation_batches(self, facts, val):
        return None  # `DetectionScores` predicts the validation images; losses say little of boxes

    def compile(self, facts, model, length):
        compile_for(model, **self.config.optimizer_options(), steps=length.steps)

    def callbacks(self, facts, val):
        return [DetectionScores(val)]

    def explain(self, batches, reader, model):
        return explain_object_batches(batches, reader, model.num_classes)

    def _anchors(self):
        """Return sizes per level, ratios, and the (height, width) of the canvas or None."""
        if self._model is not None:
            return self._model.anchor_sizes, self._model.anchor_ratios, self._model.size
        config = self.config
        sizes = config.anchor_sizes or ANCHOR_SIZES
        return sizes, config.anchor_ratios or ANCHOR_RATIOS, config.size

    def _check_anchors(self, train, summary):
        """Return the fraction of the training objects that anchors overlap; warn if it is low."""
        anchor_sizes, ratios, canvas = self._anchors()
        boxes, sizes = _in_canvas(summary, train.sizes, canvas)
        best = anchor_coverage(boxes, sizes, STRIDES, anchor_sizes, ratios)
        fraction = float((best >= COVERED_IOU).mean())
        if fraction < MIN_COVERAGE:
            proposed = propose_anchors(boxes, sizes)
            warnings.warn(
                f"train: the anchors overlap only {fraction:.0%} of the training objects with an "
                f"IoU of {COVERED_IOU} or more; the others can hardly be learned. Pass "
                f"{anchor_arguments(proposed)} (--anchor-sizes, --anchor-ratios), which cover "
                f"{proposed.coverage:.0%}.",
                stacklevel=4,
            )
        return fraction


def _in_canvas(summary, sizes, canvas):
    """Return boxes (N, 4) and image sizes (N, 2) of all objects, as the network gets them."""
    boxes, _, images = objects_of(summary)
    sizes = np.asarray(sizes)[images]
    if canvas is None:
        return boxes, sizes
    scale = np.min(np.asarray(canvas) / sizes, axis=1, keepdims=True)
    return boxes * scale, np.broadcast_to(canvas, sizes.shape)


def _most_objects(summary, augment):
    """Return the largest number of objects per image, crowds included, up to `MAX_OBJECTS`."""
    most = max(len(classes) for classes in summary.classes)
    mixed = MIXED if augment["mosaic"] or augment["cutmix"] else 1
    return int(min(max(1, most) * mixed, MAX_OBJECTS))
