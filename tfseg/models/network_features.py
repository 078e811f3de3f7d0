"""The features of a segmentation network before its segmentation head."""

from tfseg import models
from tfseg.models.decoders import Upsample
from tfseg.models.layer_graph import consumers, input_tensors


def network_features(network: str, stride: int, options: dict):
    """Return the features that a network of `MODELS` classifies, for other heads.

    Only the layers that lead to these features become part of a model that uses them. A U-Net has
    features at every level of its decoder, so that features at stride 2 skip the last level.

    Args:
        network: name in `MODELS`.
        stride: largest stride of interest.
        options: arguments of the network's function, except `num_classes`.

    Returns:
        image: the input layer's tensor (B, H, W, C).
        features: (B, h, w, D), of the padded image.
        stride: that of the features. At most the stride asked for if the network is a U-Net;
            that before the segmentation head for others.
    """
    if network == "unet":
        options = {**options, "deep_supervision": True}
    # The segmentation head is not part of the graph of the features.
    model = models.MODELS[network](1, **options)
    found, features = _stride_of(model.get_layer("classes")), model.get_layer("classes")
    for level in (2, 4) if network == "unet" else ():
        name = f"classes{level}"
        if level <= stride and any(layer.name == name for layer in model.layers):
            found, features = level, model.get_layer(name)
    return model.inputs[0], input_tensors(features)[0], found


def _stride_of(layer):
    """Return the factor by which the output of `classes` is upsampled."""
    factors = [step.factor for step in consumers(layer) if isinstance(step, Upsample)]
    return factors[0] if factors else 1
