"""Predictions for single images: class ids and logits."""

import numpy as np

from tfseg.data import Resize
from tfseg.inference.image_values import fill_not_finite, warn_of_not_finite, warn_of_range
from tfseg.inference.sliding_windows import is_standardized, predict_whole, predict_windows
from tfseg.ops import top_ids


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
        (H, W) class ids: uint8, or int32 with more than 255 classes. For a model with one channel:
        1 where the probability is above 0.5.

    Raises:
        ValueError: see `predict_logits`.

    Warns:
        UserWarning: see `predict_logits`.

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
            averaged with weights that fall from the window's center. Windows begin on multiples of
            the model's stride. A model with normalization="image" normalizes by the whole image.
        overlap: minimum fraction of a window that the next window covers again, in [0, 1).

    Returns:
        (H, W, num_classes) float32.

    Raises:
        ValueError: the image's shape does not fit the model, or `window` or `overlap` is invalid.

    Warns:
        UserWarning: the image has values that are not finite, which are treated as the mean of
            their channel, or its values are not in the range of the model's normalization.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.unet(2, filters=(4, 8))
        >>> image = tfseg.data.read_image("photos/leaf0.jpg")
        >>> tfseg.inference.predict_logits(model, image, window=32).shape
        (48, 64, 2)
    """
    return logits_of(model, image, resize, window, overlap)


def logits_of(
    model,
    image,
    resize: Resize | None = None,
    window: int | tuple[int, int] | None = None,
    overlap: float = 0.25,
    owner: str = "predict",
    trained: tuple[float, float] | None = None,
):
    """Do what `predict_logits` does, for a function that predicts many images.

    Args:
        model, image, resize, window, overlap: see `predict_logits`.
        owner: the beginning of warnings and errors, such as the name of the image.
        trained: (lowest, highest) value of the images that the model was trained on, to warn of
            images in another range; None for what the model's normalization tells.
    """
    image = checked_image(model, image, owner)
    warn_of_range(image, model, owner, trained)
    if is_standardized(model) and resize is None:
        warn_of_not_finite(image, owner)  # the model itself leaves them out of its statistics
    else:
        image = fill_not_finite(image, owner)
    if resize is None:
        return _predict(model, image, window, overlap)
    logits = _predict(model, resize({"image": image})["image"], window, overlap)
    return resize.back(logits, *image.shape[:2])


def checked_image(model, image, owner):
    """Return the image as (H, W, C)."""
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    channels = model.input_shape[-1]
    if image.ndim != 3 or image.shape[-1] != channels:
        raise ValueError(
            f"{owner}: got an image of shape {image.shape}, expected (H, W, {channels}). Read the "
            f"file with `tfseg.data.read_image(file, channels={channels})`."
        )
    return image


def _predict(model, image, window, overlap):
    if window is None:
        return predict_whole(model, image)
    size = (window, window) if np.ndim(window) == 0 else tuple(window)
    return predict_windows(model, image, size, overlap)
