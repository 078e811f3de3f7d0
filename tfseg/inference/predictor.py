"""Class ids for images."""

import keras
import numpy as np

from tfseg.ops import blend_weights, top_ids, window_corners


def predict(model, image, resize=None, window=None, overlap=0.25):
    """Return the class of every pixel of one image, at its own size.

    Args:
        model: a model of `tfseg.models`: images -> logits.
        image: (H, W, C) or (H, W), the values the model was trained on (0..255), any dtype.
        resize, window, overlap: see `predict_logits`.

    Returns:
        (H, W) uint8 class ids; for a single sigmoid channel 1 where its probability is above one half.

    Raises:
        ValueError: the image's shape or number of channels is not what the model takes.
    """
    return top_ids(predict_logits(model, image, resize, window, overlap))


def predict_logits(model, image, resize=None, window=None, overlap=0.25):
    """Return the logits of one image, at its own size.

    Args:
        model: a model of `tfseg.models`.
        image: (H, W, C) or (H, W).
        resize: a `tfseg.data.Resize` that the image goes through, and its logits back; None for none.
        window: side, or (height, width), of windows that slide over the image one at a time, so that a large one
            needs little memory; None for the whole at once. Where they overlap, logits are averaged, the middle of
            a window counting most. A model of normalization="image" sees each window by its own mean and deviation.
        overlap: share of a window that the next one covers again at least.

    Returns:
        (H, W, C) float32.

    Raises:
        ValueError: the image's shape or number of channels is not what the model takes, or a window makes no sense.
    """
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    channels = model.input_shape[-1]
    if image.ndim != 3 or image.shape[-1] != channels:
        raise ValueError(
            f"predict: an image of shape {image.shape} came; this model takes one (H, W, {channels}). "
            f"`tfseg.data.read_image(file, channels={channels})` reads files so."
        )
    if resize is not None:
        logits = predict_logits(model, resize({"image": image})["image"], None, window, overlap)
        return resize.back(logits, *image.shape[:2])
    if window is None:
        return _whole(model, image)
    return _slide(
        model, image, (window, window) if np.ndim(window) == 0 else tuple(window), overlap
    )


def _whole(model, image):
    return keras.ops.convert_to_numpy(model.predict_on_batch(image[None]))[0]


def _slide(model, image, window, overlap):
    places = window_corners(image.shape[:2], window, overlap)
    if len(places) == 1:
        return _whole(model, image)
    height, width = (
        min(side, length) for side, length in zip(window, image.shape[:2], strict=True)
    )
    weight = blend_weights(height)[:, None, None] * blend_weights(width)[None, :, None]
    total, weights = 0.0, np.zeros((*image.shape[:2], 1), np.float32)
    for y, x in places:
        part = np.s_[y : y + height, x : x + width]
        logits = _whole(model, image[part])
        if np.ndim(total) == 0:
            total = np.zeros((*image.shape[:2], logits.shape[-1]), np.float32)
        total[part] += weight * logits
        weights[part] += weight
    return total / weights
