"""Classifiers of whole images, and the way of their weights into a segmentation model."""

import keras
from keras import layers

from tfseg import checks
from tfseg.models.blocks import normalize
from tfseg.models.decoders import conv_bn, image_input
from tfseg.models.encoders import encode


def cnn_classifier(
    num_classes,
    input_shape=(None, None, 3),
    filters=(64, 128, 256, 512),
    hidden=256,
    dropout=0.5,
    normalization=None,
):
    """A plain convolutional classifier: (B, H, W, C) in 0..255 -> (B, num_classes) float32 logits.

    Each stage is a 3 x 3 convolution with batch normalization and ReLU and a 2 x 2 pooling; two dense layers follow.
    Between them the mean over the image takes the place of flattening, so that any H x W will do.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        input_shape: (H, W, C); H and W may be None.
        filters: width of each stage.
        hidden: width of the first dense layer.
        dropout: rate between the dense layers.
        normalization: (mean, deviation) of the images, each one number or one a channel, or "image" for those of
            each; None for 0..255.

    Returns:
        keras.Model named "cnn_classifier".

    Raises:
        ValueError: an argument is out of its range.
    """
    filters = checks.positive_ints("cnn_classifier", "filters", filters)
    checks.positive_int("cnn_classifier", "hidden", hidden)
    checks.fraction("cnn_classifier", "dropout", dropout)
    image = image_input("cnn_classifier", num_classes, input_shape)
    x = normalize(image, normalization)
    for stage, width in enumerate(filters):
        x = conv_bn(x, width, 3, f"stage{stage}")
        # "same": a map of 1 x 1 stays one, and the smallest of images has its logits
        x = layers.MaxPooling2D(padding="same", name=f"pool{stage}")(x)
    x = _mean(x)
    x = layers.Dense(hidden, activation="relu", kernel_initializer="he_normal", name="head_hidden")(
        x
    )
    return _close(x, image, num_classes, dropout, "cnn_classifier")


def classifier(
    num_classes,
    encoder="efficientnet_lite0",
    input_shape=(None, None, 3),
    weights=None,
    dropout=0.2,
    normalization=None,
):
    """An encoder's deepest features, their mean over the image, and one dense layer.

    (B, H, W, C) in 0..255 -> (B, num_classes) float32 logits.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        encoder: a name of `list_encoders()`.
        input_shape: (H, W, C); H and W may be None.
        weights: of the encoder: None, "imagenet" or the path of a `.weights.h5`.
        dropout: rate before the dense layer.
        normalization: (mean, deviation) of the images, or "image" for those of each; None for what the encoder was
            trained with.

    Returns:
        keras.Model named "classifier". `transfer` takes its encoder into a segmentation model.

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.
    """
    checks.fraction("classifier", "dropout", dropout)
    image = image_input("classifier", num_classes, input_shape)
    features, _ = encode(image, encoder, weights, normalization=normalization, owner="classifier")
    return _close(_mean(features[-1]), image, num_classes, dropout, "classifier")


def _mean(x):
    return layers.GlobalAveragePooling2D(dtype="float32", name="mean")(x)


def _close(x, image, num_classes, dropout, name):
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def transfer(classifier_model, segmentation_model):
    """Copy a classifier's encoder into a segmentation model with the same encoder, all of it or nothing.

    Weights are told apart by their layers' names.

    Args:
        classifier_model: of `classifier`.
        segmentation_model: of `tfseg.models`, with the same `encoder`; changed in place.

    Returns:
        list of the names of the layers copied.

    Raises:
        ValueError: an encoder layer of the segmentation model is missing in the classifier or has other shapes; then
            nothing is copied.
    """
    there = _encoder_layers(classifier_model)
    wanted = _encoder_layers(segmentation_model)
    faults = [fault for name, layer in wanted.items() if (fault := _fault(name, layer, there))]
    if faults or not wanted:
        fitting = len(wanted) - len(faults)
        shown = "; ".join(faults[:3]) + ("; ..." if len(faults) > 3 else "")
        raise ValueError(
            f"transfer: of {len(wanted)} encoder layers of {segmentation_model.name!r} only {fitting} have their match "
            f"in {classifier_model.name!r} ({shown or 'it has no encoder'}); nothing was copied. Build both with the "
            "same `encoder` and channels."
        )
    for name, layer in wanted.items():
        layer.set_weights(there[name].get_weights())
    return list(wanted)


def _encoder_layers(model):
    # `encode` names all its layers so
    return {
        layer.name: layer
        for layer in model.layers
        if layer.weights and layer.name.startswith("encoder")
    }


def _fault(name, layer, there):
    if name not in there:
        return f"{name!r} is missing"
    shapes, have = ([tuple(w.shape) for w in one.weights] for one in (layer, there[name]))
    return None if shapes == have else f"{name!r} needs {shapes}, there are {have}"
