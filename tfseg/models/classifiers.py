"""Image classifiers, and the transfer of their encoder to a segmentation model."""

from pathlib import Path

import keras
from keras import layers

from tfseg import checks
from tfseg.models.blocks import normalize
from tfseg.models.decoders import conv_bn, image_input
from tfseg.models.encoders import encode


def cnn_classifier(
    num_classes: int,
    input_shape: tuple = (None, None, 3),
    filters: tuple = (64, 128, 256, 512),
    hidden: int = 256,
    dropout: float = 0.5,
    normalization: tuple | str | None = None,
) -> keras.Model:
    """A plain convolutional classifier: images in 0..255 -> (B, num_classes) float32 logits.

    Each stage has a 3 x 3 convolution with batch normalization and ReLU, and 2 x 2 pooling. Global
    average pooling and two dense layers follow, so images of any H x W work.

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        input_shape: (H, W, C) of the images; H and W may be None.
        filters: channels of each stage.
        hidden: units of the first dense layer.
        dropout: dropout rate between the dense layers.
        normalization: (mean, std) of the images, each one number or one per channel, or "image" to
            standardize each image; None to map 0..255 to -1..1.

    Returns:
        keras.Model named "cnn_classifier".

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import tfseg
        >>> tfseg.models.cnn_classifier(10, filters=(8, 16)).output_shape
        (None, 10)
    """
    filters = checks.positive_ints("cnn_classifier", "filters", filters)
    checks.positive_int("cnn_classifier", "hidden", hidden)
    checks.fraction("cnn_classifier", "dropout", dropout)
    image = image_input("cnn_classifier", num_classes, input_shape)
    x = normalize(image, normalization)
    for stage, width in enumerate(filters):
        x = conv_bn(x, width, 3, f"stage{stage}")
        # padding "same" keeps a 1 x 1 map, so even the smallest images work
        x = layers.MaxPooling2D(padding="same", name=f"pool{stage}")(x)
    x = _mean(x)
    x = layers.Dense(hidden, activation="relu", kernel_initializer="he_normal", name="head_hidden")(
        x
    )
    return _classification_head(x, image, num_classes, dropout, "cnn_classifier")


def classifier(
    num_classes: int,
    encoder: str = "efficientnet_lite0",
    input_shape: tuple = (None, None, 3),
    weights: str | Path | None = None,
    dropout: float = 0.2,
    normalization: tuple | str | None = None,
) -> keras.Model:
    """A classifier on an encoder: images in 0..255 -> (B, num_classes) float32 logits.

    Global average pooling of the encoder's deepest features, then one dense layer.

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        encoder: a name from `list_encoders()`.
        input_shape: (H, W, C) of the images; H and W may be None.
        weights: encoder weights: None (random), "imagenet" or the path of a `.weights.h5` file.
        dropout: dropout rate before the dense layer.
        normalization: (mean, std) of the images, or "image" to standardize each image; None for the
            statistics the encoder was trained with.

    Returns:
        keras.Model named "classifier". `transfer` copies its encoder to a segmentation model.

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> tfseg.models.classifier(10, encoder="mobilenet_v3_small").output_shape
        (None, 10)
    """
    checks.fraction("classifier", "dropout", dropout)
    image = image_input("classifier", num_classes, input_shape)
    features = encode(image, encoder, weights, normalization=normalization, owner="classifier")
    return _classification_head(_mean(features[-1]), image, num_classes, dropout, "classifier")


def _mean(x):
    return layers.GlobalAveragePooling2D(dtype="float32", name="mean")(x)


def _classification_head(x, image, num_classes, dropout, name):
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def transfer(classifier_model: keras.Model, segmentation_model: keras.Model) -> list[str]:
    """Copy the encoder weights of a classifier to a segmentation model: all layers or none.

    Layers are matched by name.

    Args:
        classifier_model: a model from `classifier`.
        segmentation_model: a model of `tfseg.models` with the same `encoder`; changed in place.

    Returns:
        names of the copied layers.

    Raises:
        ValueError: an encoder layer of the segmentation model is missing in the classifier or has
            other shapes. Then nothing is copied.

    Example:
        >>> import tfseg
        >>> classifier = tfseg.models.classifier(10, encoder="mobilenet_v3_small")
        >>> segmenter = tfseg.models.lraspp(2, encoder="mobilenet_v3_small")
        >>> tfseg.models.transfer(classifier, segmenter)[0]
        'encoder1_conv'
    """
    source = _encoder_layers(classifier_model)
    target = _encoder_layers(segmentation_model)
    problems = []
    for name, layer in target.items():
        problem = _mismatch(name, layer, source)
        if problem:
            problems.append(problem)
    if problems or not target:
        matching = len(target) - len(problems)
        raise ValueError(
            f"transfer: only {matching} of {len(target)} encoder layers of "
            f"{segmentation_model.name!r} match a layer of {classifier_model.name!r} "
            f"({_summary(problems)}); nothing was copied. Build both models with the same "
            "`encoder` and number of image channels."
        )
    for name, layer in target.items():
        layer.set_weights(source[name].get_weights())
    return list(target)


def _encoder_layers(model):
    # `encode` starts the names of all its layers with "encoder"
    return {
        layer.name: layer
        for layer in model.layers
        if layer.weights and layer.name.startswith("encoder")
    }


def _mismatch(name, layer, source):
    """Return why a layer cannot be copied, or None."""
    if name not in source:
        return f"{name!r} is missing"
    expected = [tuple(weight.shape) for weight in layer.weights]
    found = [tuple(weight.shape) for weight in source[name].weights]
    if found == expected:
        return None
    return f"{name!r} has shapes {found}, expected {expected}"


def _summary(problems):
    if not problems:
        return "it has no encoder"
    shown = problems[:3]
    if len(problems) > 3:
        shown.append("...")
    return "; ".join(shown)
