"""Class ids for pictures."""

import keras
import numpy as np


def predict(model, image):
    """Return the class of every pixel of one picture, at its own size.

    Args:
        model: a model of `tfseg.models`: pictures -> logits.
        image: (H, W, C) or (H, W), the values the model was trained on (0..255), any dtype.

    Returns:
        (H, W) uint8 class ids; for a single sigmoid channel 1 where its probability is above one half.
    """
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    channels = model.input_shape[-1]
    if image.ndim != 3 or image.shape[-1] != channels:
        raise ValueError(
            f"predict: an image of shape {image.shape} came; this model takes one (H, W, {channels}). "
            f"`tfseg.data.read_image(file, channels={channels})` reads files so."
        )
    logits = keras.ops.convert_to_numpy(model.predict_on_batch(image[None]))[0]
    labels = logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(axis=-1)
    return labels.astype(np.uint8)
