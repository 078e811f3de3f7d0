"""The thresholds with which the outputs of instance models become objects."""

import keras
from keras import layers

from tfseg import checks
from tfseg.models.detection import is_detector
from tfseg.models.detection.assemble import with_detections
from tfseg.models.instance_settings import (
    NMS_OVERLAP,
    OBJECT_THRESHOLDS,
    OUTPUTS,
    THRESHOLDS_LAYER,
    instance_settings,
)
from tfseg.models.layer_graph import input_tensors

DETECTOR_THRESHOLD = 0.5  # of scores, for a label map, unless the model has another


@keras.saving.register_keras_serializable(package="tfseg")
class ObjectThresholds(layers.Identity):
    """Returns its input, and keeps the thresholds for `.keras` files.

    Args:
        object_threshold: probability that an object needs.
        nms_overlap: overlap above which the object of a lower score is dropped; None for the center
            head.
    """

    def __init__(self, object_threshold: float, nms_overlap: float | None = None, **kwargs):
        super().__init__(**kwargs)
        self.object_threshold = object_threshold
        self.nms_overlap = nms_overlap

    def get_config(self):
        """Return the arguments for `.keras` files."""
        thresholds = {"object_threshold": self.object_threshold, "nms_overlap": self.nms_overlap}
        return {**super().get_config(), **thresholds}


def with_object_thresholds(
    model: keras.Model,
    object_threshold: float | None = None,
    nms_overlap: float | None = None,
) -> keras.Model:
    """Return a model that shares the layers of an instance model and keeps other objects.

    `tfseg.inference.predict_instances`, `tfseg.inference.evaluate_instances` and
    `tfseg.export.saved_model` use the thresholds of the model unless they are given others. The
    detections of a detector stay the same, but `saved_model` exports only those that are objects.

    Args:
        model: a model of `instances`, or a detector with masks. It is not changed.
        object_threshold: probability that an object needs, or for detectors its score, in [0, 1);
            None to keep that of the model.
        nms_overlap: for head="star", overlap (intersection / area of the smaller one) above which
            the object of a lower score is dropped, in [0, 1); None to keep that of the model.

    Returns:
        keras.Model, not compiled.

    Raises:
        ValueError: an argument is out of its range or not for this model.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.instances(network="tiny_unet", filters=4, rays=8)
        >>> tfseg.models.instance_settings(model).object_threshold
        0.5
        >>> strict = tfseg.models.with_object_thresholds(model, 0.7)
        >>> tfseg.models.instance_settings(strict).object_threshold
        0.7
    """
    owner = "with_object_thresholds"
    check_thresholds(owner, model, object_threshold, nms_overlap)
    if is_detector(model) and model.has_masks:
        return with_detections(model, owner, object_threshold=object_threshold)
    object_threshold, nms_overlap = chosen_thresholds(model, object_threshold, nms_overlap)
    name = OUTPUTS[instance_settings(model).head][0]
    logits = model.output[name]
    if any(layer.name == THRESHOLDS_LAYER for layer in model.layers):
        logits = input_tensors(model.get_layer(THRESHOLDS_LAYER))[0]
    kept = ObjectThresholds(object_threshold, nms_overlap, dtype="float32", name=THRESHOLDS_LAYER)
    return keras.Model(model.input, {**model.output, name: kept(logits)}, name=model.name)


def check_thresholds(owner: str, model, object_threshold, nms_overlap) -> None:
    """Raise a ValueError if a threshold is out of its range or not for the model.

    Args:
        owner: name for the error message.
        model: a model of `instances`, or a detector.
        object_threshold, nms_overlap: numbers, or None.
    """
    if object_threshold is not None:
        checks.fraction(owner, "object_threshold", object_threshold)
    if nms_overlap is None:
        return
    checks.fraction(owner, "nms_overlap", nms_overlap)
    if is_detector(model) or instance_settings(model).head != "star":
        raise ValueError(
            f"{owner}: nms_overlap={nms_overlap} is for models with head='star', and the model "
            f"{model.name!r} has another one. Remove the argument. The IoU threshold of a detector "
            "is changed by `tfseg.models.with_thresholds`."
        )


def chosen_thresholds(model, object_threshold=None, nms_overlap=None):
    """Return the object threshold and the NMS overlap: those given, or else the model's.

    Args:
        model: a model of `instances`, or a detector.
        object_threshold, nms_overlap: numbers, or None.
    """
    if is_detector(model):
        kept = model.get_layer("detections").object_threshold
        own = DETECTOR_THRESHOLD if kept is None else kept, None
    else:
        settings = instance_settings(model)
        own = settings.object_threshold, settings.nms_overlap
    return (
        float(own[0] if object_threshold is None else object_threshold),
        own[1] if nms_overlap is None else float(nms_overlap),
    )


def default_thresholds(model):
    """Return the object threshold and the NMS overlap of a model that was not tuned."""
    if is_detector(model):
        return DETECTOR_THRESHOLD, None
    head = instance_settings(model).head
    return OBJECT_THRESHOLDS[head], NMS_OVERLAP if head == "star" else None
