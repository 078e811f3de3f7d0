"""What a model of `tfseg.models.instances` predicts, as read from its layers."""

from dataclasses import dataclass

import keras

OUTPUTS = {
    "star": ("object_logits", "distances"),
    "center": ("center_logits", "offsets"),
}
# As StarDist and Panoptic-DeepLab, until `tune_instances` finds better ones for a dataset
OBJECT_THRESHOLDS = {"star": 0.5, "center": 0.1}
NMS_OVERLAP = 0.4
THRESHOLDS_LAYER = "thresholds"  # of models that have others


@dataclass(frozen=True)
class InstanceSettings:
    """What a model of `tfseg.models.instances` predicts.

    Attributes:
        head: "star" or "center".
        num_classes: number of object categories, without background.
        grid: distance of the samples in pixels; 1 for the center head.
        rays: number of distances per sample; None for the center head.
        thing_ids: channels in "class_logits" of the categories, in their order; None for the star
            head, where channel k is category k.
        object_threshold: probability that an object needs; see `with_object_thresholds`.
        nms_overlap: overlap above which the object of a lower score is dropped; None for the center
            head.
    """

    head: str
    num_classes: int
    grid: int = 1
    rays: int | None = None
    thing_ids: tuple[int, ...] | None = None
    object_threshold: float = OBJECT_THRESHOLDS["star"]
    nms_overlap: float | None = NMS_OVERLAP


def is_instance_model(model) -> bool:
    """Return whether a model separates objects without boxes: whether `instances` made it.

    Example:
        >>> import tfseg
        >>> tfseg.models.is_instance_model(tfseg.models.tiny_unet(2))
        False
    """
    return _head_of(model) is not None


def instance_settings(model: keras.Model) -> InstanceSettings:
    """Return what a model of `instances` predicts, also after `.keras` files.

    Args:
        model: made by `instances`, or a model of the same layers.

    Raises:
        ValueError: it is another model.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.instances(network="tiny_unet", filters=4, rays=8)
        >>> settings = tfseg.models.instance_settings(model)
        >>> settings.head, settings.grid, settings.rays, settings.object_threshold
        ('star', 2, 8, 0.5)
    """
    head = _head_of(model)
    if head is None:
        raise ValueError(
            f"instance_settings: the model {getattr(model, 'name', model)!r} has no head for "
            "instances. Make one with tfseg.models.instances."
        )
    thresholds = _thresholds(model, head)
    if head == "center":
        thing_ids = model.get_layer("class_logits").thing_ids
        return InstanceSettings(head, len(thing_ids), thing_ids=thing_ids, **thresholds)
    has_classes = "class_logits" in _layer_names(model)
    return InstanceSettings(
        head,
        model.get_layer("classes").filters if has_classes else 1,
        model.get_layer("object_logits").stride,
        model.get_layer("rays").filters,
        **thresholds,
    )


def _thresholds(model, head):
    """Return the thresholds that the model keeps, or the defaults of its head."""
    if THRESHOLDS_LAYER in _layer_names(model):
        kept = model.get_layer(THRESHOLDS_LAYER)
        return {"object_threshold": kept.object_threshold, "nms_overlap": kept.nms_overlap}
    nms_overlap = NMS_OVERLAP if head == "star" else None
    return {"object_threshold": OBJECT_THRESHOLDS[head], "nms_overlap": nms_overlap}


def _head_of(model):
    names = _layer_names(model)
    for head, outputs in OUTPUTS.items():
        if names.issuperset(outputs):
            return head
    return None


def _layer_names(model):
    return {layer.name for layer in getattr(model, "layers", ())}
