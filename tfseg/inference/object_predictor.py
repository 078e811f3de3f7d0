"""Detections for single images."""

import numpy as np

from tfseg.inference.image_values import fill_not_finite, warn_of_not_finite, warn_of_range
from tfseg.inference.predictor import checked_image
from tfseg.inference.sliding_windows import is_standardized
from tfseg.models import is_detector, with_thresholds
from tfseg.ops import paste_mask

MASK_THRESHOLD = 0.5  # pixels of a higher probability belong to the object


def detect(
    model,
    image,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    max_detections: int | None = None,
) -> dict:
    """Detect the objects of an image.

    Thresholds that differ from those of the model cost a second per call. To predict many images
    with them, pass the result of `tfseg.models.with_thresholds` instead.

    Args:
        model: a detector, such as `tfseg.models.faster_rcnn`.
        image: (H, W, C) or (H, W), any dtype, with the values the model was trained on (0..255).
        score_threshold, nms_iou, max_detections: see `tfseg.models.faster_rcnn`; None for those of
            the model.

    Returns:
        dict of NumPy arrays with one row per object, in descending order of scores: "boxes" (M, 4)
        float32, x_min, y_min, x_max, y_max in pixels; "scores" (M,) float32; "classes" (M,) int32
        from 0; for models with masks also "masks" (M, H, W) bool.

    Raises:
        ValueError: the model is not a detector, the image's shape does not fit it, or a threshold
            is out of range.

    Warns:
        UserWarning: the image has values that are not finite, which are treated as the mean of
            their channel, or its values are not in the range of the model's normalization.

    Example:
        >>> import tfseg
        >>> model = tfseg.training.Run("runs/cells").model()  # doctest: +SKIP
        >>> image = tfseg.data.read_image("photos/leaf0.jpg")
        >>> found = tfseg.inference.detect(model, image, score_threshold=0.5)  # doctest: +SKIP
        >>> found["boxes"].shape, found["classes"].shape  # doctest: +SKIP
        ((7, 4), (7,))
    """
    _require_detector(model, "detect")
    if (score_threshold, nms_iou, max_detections) != (None, None, None):
        model = with_thresholds(model, score_threshold, nms_iou, max_detections)
    detections = detections_of(model, image)
    if "masks" in detections:
        detections["masks"] = pasted(detections, np.shape(image)[:2])
    return detections


def detections_of(model, image, owner: str = "detect", trained: tuple | None = None) -> dict:
    """Do what `detect` does, without pasting the masks into the image.

    Args:
        model, image: see `detect`.
        owner: the beginning of warnings and errors, such as the name of the image.
        trained: (lowest, highest) value of the images that the model was trained on, to warn of
            images in another range; None for what the model's normalization tells.

    Returns:
        dict of "boxes", "scores" and "classes", and for models with masks "masks" (M, 28, 28)
        float32, probabilities inside the boxes.
    """
    _require_detector(model, owner)
    image = checked_image(model, image, owner)
    warn_of_range(image, model, owner, trained)
    if is_standardized(model):
        warn_of_not_finite(image, owner)  # the model itself leaves them out of its statistics
    else:
        image = fill_not_finite(image, owner)
    # always of one dtype: Keras compiles anew for each
    batch = model.predict_on_batch(image[None].astype(np.float32))
    rows = {name: np.asarray(value)[0] for name, value in batch.items()}
    found = rows["classes"] >= 0
    return {name: value[found] for name, value in rows.items()}


def _require_detector(model, owner):
    if not is_detector(model):
        raise ValueError(
            f"{owner}: the model {model.name!r} is not a detector. Use `tfseg.inference.predict` "
            "for segmentation models."
        )


def without_xla(model):
    """Return a detector with the same weights that XLA does not compile anew for each size."""
    if not model.jit_compile:
        return model
    copy = with_thresholds(model)  # with the same thresholds
    copy.jit_compile = False
    return copy


def pasted(detections: dict, size) -> np.ndarray:
    """Return the masks of detections as (M, H, W) bool.

    Args:
        detections: dict of "boxes" (M, 4) and "masks" (M, 28, 28) probabilities.
        size: (height, width) of the image.
    """
    masks = np.zeros((len(detections["boxes"]), *size), bool)
    for whole, mask, box in zip(masks, detections["masks"], detections["boxes"], strict=True):
        crop, top, left = paste_mask(mask, box, *size)
        height, width = crop.shape
        whole[top : top + height, left : left + width] = crop > MASK_THRESHOLD
    return masks
