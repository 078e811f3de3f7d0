"""Predictions for single images: class ids and logits."""

import keras
import numpy as np

from tfseg.data import Resize
from tfseg.ops import blend_weights, top_ids, window_corners


def predict(
    model,
    image,
    resize: Resize | None = None,
    window: int | tuple[int, int] | None = None,
    overlap: float = 0.25,
):
    """Predict the class of every pixel of an image, at its original size.

    Args:
        model: a model of `tfseg.models`.
        image: (H, W, C) or (H, W), any dtype, with the values the model was trained on (0..255).
        resize, window, overlap: see `predict_logits`.

    Returns:
        (H, W) uint8 class ids. For a model with one channel: 1 where the probability is above 0.5.

    Raises:
        ValueError: see `predict_logits`.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.unet(2, filters=(4, 8))
        >>> image = tfseg.data.read_image("photos/leaf0.jpg")
        >>> tfseg.inference.predict(model, image).shape
        (48, 64)
    """
    return top_ids(predict_logits(model, image, resize, window, overlap))


def predict_logits(
    model,
    image,
    resize: Resize | None = None,
    window: int | tuple[int, int] | None = None,
    overlap: float = 0.25,
):
    """Predict the logits of every pixel of an image, at its original size.

    Args:
        model: a model of `tfseg.models`.
        image: (H, W, C) or (H, W), any dtype, with the values the model was trained on (0..255).
        resize: a `tfseg.data.Resize` to apply to the image; the logits are resized back. None
            keeps the size.
        window: side, or (height, width), of windows that slide over the image to save memory, in
            pixels; None predicts the whole image at once. Logits of overlapping windows are
            averaged with weights that fall from the window's center. A model with
            normalization="image" normalizes each window by itself.
        overlap: minimum fraction of a window that the next window covers again, in [0, 1).

    Returns:
        (H, W, num_classes) float32.

    Raises:
        ValueError: the image's shape does not fit the model, or `window` or `overlap` is invalid.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.unet(2, filters=(4, 8))
        >>> image = tfseg.data.read_image("photos/leaf0.jpg")
        >>> tfseg.inference.predict_logits(model, image, window=32).shape
        (48, 64, 2)
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    channels = model.input_shape[-1]
    if image.ndim != 3 or image.shape[-1] != channels:
        raise ValueError(
            f"predict: got an image of shape {image.shape}, expected (H, W, {channels}). Read the "
            f"file with `tfseg.data.read_image(file, channels={channels})`."
        )
    if resize is not None:
        resized = resize({"image": image})["image"]
        logits = predict_logits(model, resized, None, window, overlap)
        return resize.back(logits, *image.shape[:2])
    if window is None:
        return _predict_whole(model, image)
    size = (window, window) if np.ndim(window) == 0 else tuple(window)
    return _predict_windows(model, image, size, overlap)


def _predict_whole(model, image):
    return keras.ops.convert_to_numpy(model.predict_on_batch(image[None]))[0]


def _predict_windows(model, image, size, overlap):
    """Return the weighted mean of the windows' logits.

    Example: a pixel with weight 0.4 in one window and 0.8 in the next gets
    (0.4 * first + 0.8 * second) / (0.4 + 0.8).
    """
    corners = window_corners(image.shape[:2], size, overlap)
    if len(corners) == 1:
        return _predict_whole(model, image)
    height, width = np.minimum(size, image.shape[:2]).tolist()
    weight = blend_weights(height)[:, None, None] * blend_weights(width)[None, :, None]
    weighted_sum = None
    weight_sum = np.zeros((*image.shape[:2], 1), np.float32)
    for y, x in corners:
        window = np.s_[y : y + height, x : x + width]
        logits = _predict_whole(model, image[window])
        if weighted_sum is None:
            weighted_sum = np.zeros((*image.shape[:2], logits.shape[-1]), np.float32)
        weighted_sum[window] += weight * logits
        weight_sum[window] += weight
    return weighted_sum / weight_sum
