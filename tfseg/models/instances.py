"""Models that separate objects without boxes: star-convex polygons, or centers and offsets."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from tfseg import checks, models
from tfseg.models.blocks import CropToImage
from tfseg.models.build import check_options
from tfseg.models.decoders import conv_bn, upsample
from tfseg.models.network_features import network_features

HEADS = ("star", "center")
GRIDS = (1, 2, 4)
# Channels of the convolution before the outputs.
HEAD_WIDTH = {"star": 64, "center": 32}
# Distances and offsets are this many times what the last convolution returns: the first distances
# are 5.5 pixels, and Adam, which changes weights by the learning rate, gets farther in a step.
PIXELS_PER_UNIT = 8.0
# Few pixels are the middle of an object: initial probabilities of 0.1 (arXiv:1708.02002).
RARE = -math.log((1 - 0.1) / 0.1)


def instances(
    num_classes: int = 1,
    head: str = "star",
    network: str = "unet",
    grid: int = 2,
    rays: int = 32,
    thing_ids: Sequence[int] | None = None,
    head_width: int | None = None,
    **options,
) -> keras.Model:
    """Build a model that separates touching objects without boxes, on the decoder of any network.

    Images (B, H, W, C) in 0..255 -> dict of float32 outputs. With `head="star"` (StarDist,
    arXiv:1806.03535), for objects that are nearly convex, such as nuclei, of samples every `grid`
    pixels, h = ceil(H / grid) and w = ceil(W / grid):

    - "object_logits" (B, h, w, 1): logits of the object probability, which is high at the middle of
      an object.
    - "distances" (B, h, w, rays): distances from pixel (i grid, j grid) to the border of its object
      in pixels of the image, at least 0. Ray k has the angle 2 pi k / rays, from the x axis towards
      the y axis, which points down.
    - "class_logits" (B, h, w, num_classes), only if there are several classes: logits of a softmax.

    With `head="center"` (Panoptic-DeepLab, arXiv:1911.10194), for objects of any shape, and for
    things together with stuff:

    - "class_logits" (B, H, W, C): logits of a softmax. Channel 0 is background and channel k + 1
      category k; with `thing_ids`, the channels are the ids of the masks.
    - "center_logits" (B, H, W, 1): logits of the heat of centers, 1 at the center of an object.
    - "offsets" (B, H, W, 2): (dy, dx) from a pixel to the center of its object, in pixels.

    Train it on targets of `tfseg.data.star_targets` or `tfseg.data.center_targets` with the losses
    of `tfseg.losses.INSTANCE_LOSSES`.

    Args:
        num_classes: number of object categories, without background. With `thing_ids`: number of
            ids in the masks, things and stuff.
        head: "star" or "center".
        network: one of `list_models()`, whose decoder the head is added to.
        grid: distance of the samples of the star head in pixels: 1, 2 or 4. Objects that contain no
            sample are lost; 2 saves most of the time of full resolution.
        rays: number of distances of the star head, at least 3.
        thing_ids: ids in the masks of the object categories, `reader.object_label_ids`, for a
            center head with stuff; None for things only.
        head_width: channels of the convolutions before the outputs; None for 64 (star) or 32
            (center).
        **options: arguments of the network, such as `encoder`, `weights`, `input_shape` and
            `normalization`.

    Returns:
        keras.Model named after the network and the head, such as "unet_star".

    Raises:
        ValueError: an argument is out of its range, or unknown to the network.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.instances(head="star", filters=(4, 8, 16), rays=16)
        >>> model.output["distances"].shape
        (None, None, None, 16)
    """
    width = _check(num_classes, head, network, grid, rays, thing_ids, head_width, options)
    image, features, stride = network_features(network, grid if head == "star" else 1, options)
    if head == "star":
        outputs = _star_head(features, image, stride, grid, num_classes, rays, width)
    else:
        if thing_ids is None:
            thing_ids = range(1, num_classes + 1)
            num_classes += 1
        outputs = _center_head(features, image, stride, num_classes, thing_ids, width)
    return keras.Model(image, outputs, name=f"{network}_{head}")


def _check(num_classes, head, network, grid, rays, thing_ids, head_width, options):
    """Raise a ValueError for arguments out of range; return the width of the head."""
    checks.positive_int("instances", "num_classes", num_classes)
    checks.one_of("instances", "head", head, HEADS)
    checks.one_of("instances", "network", network, models.MODELS)
    checks.one_of("instances", "grid", grid, GRIDS)
    if checks.positive_int("instances", "rays", rays) < 3:
        raise ValueError(f"instances: rays={rays} must be at least 3, the corners of a triangle.")
    check_options(network, options)
    if options.get("deep_supervision"):
        raise ValueError(
            "instances: deep_supervision is for segmentation masks. Leave it out: the head has "
            "outputs of its own."
        )
    if thing_ids is not None:
        _check_thing_ids(thing_ids, head, num_classes)
    if head_width is None:
        return HEAD_WIDTH[head]
    return checks.positive_int("instances", "head_width", head_width)


def _check_thing_ids(thing_ids, head, num_classes):
    ids = [int(number) for number in thing_ids]
    in_range = all(0 <= number < num_classes for number in ids)
    if head != "center" or not ids or len(set(ids)) < len(ids) or not in_range:
        raise ValueError(
            f"instances: thing_ids={ids} must be different ids in [0, {num_classes}), the number "
            "of ids in the masks, for head='center'. Take reader.object_label_ids and "
            "num_classes=len(reader.label_names)."
        )


def _star_head(x, image, stride, grid, num_classes, rays, width):
    """Return the outputs of the star head for features at `stride`."""
    if stride < grid:
        x = layers.AveragePooling2D(grid // stride, padding="same", name="head_pool")(x)
        stride = grid
    x = conv_bn(x, width, 3, "head")

    def output(channels, conv, name, bias=0.0):
        return _output(x, image, channels, stride // grid, grid, conv, name, bias)

    distances = output(rays, "rays", "ray_units")
    distances = layers.Activation("softplus", dtype="float32", name="rays_softplus")(distances)
    outputs = {
        "object_logits": output(1, "object", "object_logits", RARE),
        "distances": _in_pixels(distances, "distances"),
    }
    if num_classes > 1:
        outputs["class_logits"] = output(num_classes, "classes", "class_logits")
    return outputs


def _center_head(x, image, stride, num_classes, thing_ids, width):
    """Return the outputs of the center head for features at `stride`."""
    semantic = conv_bn(x, width, 3, "semantic")
    semantic = layers.Conv2D(num_classes, 1, name="classes")(semantic)
    semantic = upsample(semantic, stride, "classes_upsample", dtype="float32")
    x = conv_bn(x, width, 3, "head")
    offsets = _output(x, image, 2, stride, 1, "offset", "offset_units")
    return {
        "class_logits": ThingLogits(thing_ids, name="class_logits")(semantic, image),
        "center_logits": _output(x, image, 1, stride, 1, "center", "center_logits", RARE),
        "offsets": _in_pixels(offsets, "offsets"),
    }


def _output(x, image, channels, factor, grid, conv, name, bias=0.0):
    """Return a 1 x 1 convolution of `x`, upsampled by `factor` and cropped to the image's grid."""
    bias = keras.initializers.Constant(bias)
    x = layers.Conv2D(channels, 1, bias_initializer=bias, name=conv)(x)
    x = upsample(x, factor, f"{conv}_upsample", dtype="float32")
    return CropToImage(grid, name=name)(x, image)


def _in_pixels(x, name):
    return layers.Rescaling(PIXELS_PER_UNIT, dtype="float32", name=name)(x)


@keras.saving.register_keras_serializable(package="tfseg")
class ThingLogits(CropToImage):
    """`CropToImage` of class logits that knows which of the classes are things.

    Args:
        thing_ids: channels of the object categories, in their order.
        stride: see `CropToImage`.
    """

    def __init__(self, thing_ids: Sequence[int], stride: int = 1, **kwargs):
        super().__init__(stride, **kwargs)
        self.thing_ids = tuple(int(number) for number in thing_ids)

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {**super().get_config(), "thing_ids": self.thing_ids}
