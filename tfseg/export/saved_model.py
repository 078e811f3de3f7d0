"""SavedModel in the folder layout of TF Serving: `<name>/<version>/`."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import keras
import tensorflow as tf

from tfseg import checks
from tfseg.export.detector_export import (
    export_detector,
    require_no_thresholds,
    require_plain_options,
)
from tfseg.export.encoded_client import class_ids_from_files
from tfseg.export.flattening import in_float32
from tfseg.export.folding import as_constants, fold_batch_norm
from tfseg.export.formats import check_formats, write_formats
from tfseg.export.instance_export import export_instances
from tfseg.export.metadata import class_names_of, require_json, write_metadata
from tfseg.export.postprocess import postprocess, require_logits
from tfseg.export.saving import save_quietly
from tfseg.export.signatures import EXTRA_OUTPUTS, array_signature, file_signature
from tfseg.export.trained_range import (
    checked_range,
    range_to_serve,
    serves_files,
    serves_uint8,
)
from tfseg.export.verify import noise_images, require_close
from tfseg.export.versions import next_version
from tfseg.export.warmup import image_requests, write_warmup
from tfseg.export.windowed import windowed
from tfseg.models import is_detector, is_instance_model, output_stride, split_standardize

DTYPES = ("float32", "bfloat16")
OVERLAP = 0.25  # of windows
# (minimum agreement, maximum difference of probabilities); ties may break either way
TOLERANCE = {"float32": (0.999, 1e-3), "bfloat16": (0.98, 0.1)}


def saved_model(
    model: keras.Model,
    folder: str | os.PathLike,
    outputs: Sequence[str] = (),
    metadata: dict | None = None,
    window: int | None = None,
    max_pixels: int = 2**24,
    dtype: str = "float32",
    formats: Sequence[str] = (),
    images=(),
    size: tuple[int, int] | None = None,
    value_range: tuple[float, float] | None = None,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    max_detections: int | None = None,
    object_threshold: float | None = None,
    nms_overlap: float | None = None,
) -> Path:
    """Export a model for TF Serving under the next free version number.

    The SavedModel is for inference: batch normalization is folded into the convolutions and the
    weights are constants. Keep the `.keras` file to train on. Signatures:

    `serving_default`: `image` (B, H, W, C) float32 in the range the model was trained on (0..255),
        any B, H and W -> `class_ids` (B, H, W) uint8, or uint16 with more than 256 classes. An
        empty batch returns empty outputs.
    `uint8`: the same for uint8 images, a fourth of the bytes to send.
    `encoded`, for models of 1 or 3 channels: `image_bytes` (B,), JPEG or PNG files of mixed sizes
        -> `mask_png_bytes` (B,), the class ids as PNG files of the images' sizes; `class_pixels`
        (B, classes) int64; `ok` (B,) bool; `reason` (B,) string. A file that is damaged, too large
        or of another type has `ok` False and a reason, an empty mask and no pixels, and does not
        affect the others. The EXIF orientation is not applied: the mask matches the stored pixels.

    A model that was trained on other values than 0..255 has no `uint8`, and takes only PNG files of
    16 bits in `encoded`, or has no `encoded` if its values are not whole numbers from 0 on: both
    ends of `value_range` must be whole numbers, the upper one above 10. A model with
    normalization="image" takes any range, and has all signatures.

    For an image classifier, `class_ids` are (B,), also from `encoded`, and probabilities (B, C).

    For a detector, where M is `max_detections`, and with no step left to the client:

    `serving_default`, `uint8`: `boxes` (B, M, 4) float32, x_min, y_min, x_max, y_max in pixels;
        `scores` (B, M) float32 in descending order; `classes` (B, M) int32 from 0, -1 for padding;
        `num_detections` (B,) int32; `masks` (B, M, S, S) float32, probabilities inside the boxes.
    `encoded`: the same with boxes in pixels of each image, `ok` and `reason`; in place of `masks`
        `masks_rle_bytes` (B, M), COCO's run lengths as JSON, and `masks_png_bytes` (B,), PNG files
        of 16 bits in which k is the k-th detection.
    `detection`, for color images: `input_tensor` (B, H, W, 3) uint8 -> `detection_boxes`,
        `detection_scores`, `detection_classes`, `num_detections` and `detection_masks` as in
        exports of TensorFlow's object detection API: float32, boxes as y_min, x_min, y_max, x_max
        in fractions of height and width, classes from 1.

    For a model of `tfseg.models.instances`, where M is the largest number of objects of an image in
    the batch:

    `serving_default`, `uint8`: `instances` (B, H, W) int32, 0 for background and k + 1 for object
        k; `scores`, `classes`, `boxes` (around the pixels) and `num_detections` as above; for
        head="center" also `mask` (B, H, W) int32, the class ids of all pixels: with `instances` a
        panoptic segmentation.
    `encoded`: in place of the maps `masks_rle_bytes` and `masks_png_bytes` as above, without the
        objects beyond 65,535 in the PNG; for head="center" also `mask_png_bytes`; `ok`, `reason`.

    The folder also contains warm-up requests for TF Serving and metadata, see `inspect`. The
    version appears only after it was loaded and compared with the model, so a server never sees a
    part of it.

    Args:
        model: a model of `tfseg.models`.
        folder: `saved_models/<name>`. It is created if it does not exist.
        outputs: additional outputs: "probabilities" (B, H, W, C) float32; "uncertainty" (B, H, W)
            float32 in 0..1, the normalized entropy over the classes; "rle" (B, classes) string,
            from `encoded` only: COCO's run lengths of each class as JSON.
        metadata: dict that JSON can represent, such as {"class_names": [...], "metrics": {...}}.
        window: side in pixels of windows that slide over larger images and overlap by a quarter.
            Features are then kept for one window only, which saves memory. A model with
            normalization="image" is given the statistics of the whole image. None for no windows.
        max_pixels: maximum height x width of an encoded image, checked before it is decoded.
        dtype: "float32" or "bfloat16", of the convolutions. bfloat16 is faster on processors that
            support it.
        formats: keys of `FORMATS`, to write next to the SavedModel in `assets.extra`.
        images: list of typical images (H, W, C) on which all formats are compared with the model.
            Required with `formats`. The results go to `assets.extra/parity.json`, see `Parity`.
            With "litert_int8" pass about 110: up to 100 calibrate it, and up to 10 others are
            compared.
        size: (H, W) of the images for LiteRT, ONNX and OpenVINO files, which then take one image at
            a time and in which all shapes are known; see `litert`. None for any size. The images
            are resized to it for the comparison.
        value_range: (low, high), the smallest and largest value in the images that the model was
            trained on. It is kept in the metadata, decides on the signatures for integers, and is
            the range of the noise on which `formats` are verified. None for 0..255 or unknown.
        score_threshold, nms_iou, max_detections: of a detector, see
            `tfseg.models.with_thresholds`; None keeps those of the model, and as score threshold
            the object threshold of a detector that was tuned.
        object_threshold, nms_overlap: of an instance model, see
            `tfseg.models.with_object_thresholds`; None keeps those of the model.

    Returns:
        pathlib.Path of the new version, `<folder>/<version>`.

    Raises:
        ValueError: the model's output is not logits, or an argument is unknown or does not fit it.
        RuntimeError: an exported format gives other outputs than the model. Nothing is kept.

    Example:
        >>> import keras, tfseg
        >>> image = keras.Input((None, None, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
        >>> tfseg.export.saved_model(model, "saved_models/leaves").as_posix()
        'saved_models/leaves/1'
    """
    thresholds = {
        "score_threshold": score_threshold,
        "nms_iou": nms_iou,
        "max_detections": max_detections,
    }
    object_thresholds = {"object_threshold": object_threshold, "nms_overlap": nms_overlap}
    common = (max_pixels, formats, images, size, value_range)
    if is_detector(model) or is_instance_model(model):
        require_plain_options(model, outputs, window, dtype)
    if not is_detector(model):
        require_no_thresholds(model, thresholds, "detectors")
    if not is_instance_model(model):
        require_no_thresholds(model, object_thresholds, "models of `tfseg.models.instances`")
    if is_detector(model):
        return export_detector(model, folder, metadata, thresholds, *common)
    if is_instance_model(model):
        return export_instances(model, folder, metadata, object_thresholds, *common)
    details = _checked_details(model, outputs, metadata, window, max_pixels, dtype, value_range)
    size = check_formats(model, formats, images, size)

    def write(version):
        _write(model, version, details)
        _compare(model, version, details)
        requests = image_requests(model, range_to_serve(model, details["value_range"]))
        write_warmup(version, requests)
        if len(images):
            # other formats have no windows, which `_compare` has checked
            crops = [image[:window, :window] for image in images]
            names, trained = details["class_names"], details["value_range"]
            write_formats(version, model, formats, crops, names, size, trained)
        write_metadata(version, model, details)

    return next_version(folder, write)


def serve_command(version) -> tuple[str, ...]:
    """Return the words of a shell command that serves an exported model with TF Serving.

    Args:
        version: folder of a version; all versions in its parent folder are served.
    """
    folder = Path(version).resolve().parent
    volume = f"{folder}:/models/{folder.name}"
    name = f"MODEL_NAME={folder.name}"
    return ("docker", "run", "-p", "8501:8501", "-v", volume, "-e", name, "tensorflow/serving")


def _checked_details(model, outputs, metadata, window, max_pixels, dtype, value_range=None):
    """Return the checked arguments as they are written into the metadata."""
    for output in outputs:
        checks.one_of("saved_model", "outputs", output, EXTRA_OUTPUTS)
    checks.one_of("saved_model", "dtype", dtype, DTYPES)
    require_logits("saved_model", model)
    if len(model.output_shape) == 2 and (window is not None or "rle" in outputs):
        raise ValueError(
            "saved_model: `window` and 'rle' need a segmentation model, but this one classifies "
            "whole images. Remove them."
        )
    if window is not None:
        window = _checked_window(model, window)
    metadata = metadata or {}
    details = {
        **metadata,
        "class_names": class_names_of("saved_model", model, metadata.get("class_names")),
        "outputs": ["class_ids", *outputs],
        "dtype": dtype,
        "window": window,
        "max_pixels": checks.positive_int("saved_model", "max_pixels", max_pixels),
        "value_range": checked_range("saved_model", value_range),
    }
    require_json("saved_model", details)
    return details


def _checked_window(model, window):
    """Return the side of the windows; raise a ValueError if the model cannot be run in windows."""
    split_standardize(model)  # raises for a model inside a model
    if model.input_shape[1:3] != (None, None):
        raise ValueError(
            f"saved_model: got window={window} for a model with the fixed size "
            f"{model.input_shape[1:3]}. Build it with input_shape=(None, None, channels), or "
            "remove `window`."
        )
    return checks.positive_int("saved_model", "window", window)


def _write(model, path, details):
    """Write the SavedModel itself."""
    shape = model.input_shape[1:]
    folded_model = fold_batch_norm(model, details["dtype"])
    logits_of = _logits_function(folded_model, details, partial(as_constants, shape=(None, *shape)))
    extra = details["outputs"][1:]
    value_range = range_to_serve(model, details["value_range"])
    signatures = {"serving_default": array_signature(logits_of, shape, extra, tf.float32)}
    if serves_uint8(value_range):
        signatures["uint8"] = array_signature(logits_of, shape, extra, tf.uint8)
    if serves_files(model, value_range):
        limit = details["max_pixels"]
        signatures["encoded"] = file_signature(logits_of, shape, extra, limit, value_range)
    save_quietly(path, signatures)


def _logits_function(model, details, function_of: Callable):
    """Return a function (B, H, W, C) float32 -> logits, in windows if the details say so.

    Args:
        model: keras.Model.
        details: result of `_checked_details`.
        function_of: what makes a function of a model, such as `as_constants`.
    """
    window = details["window"]
    if window is None:
        return function_of(model)
    options = (window, OVERLAP, model.output_shape[-1], output_stride(model))
    parts = split_standardize(model)
    if parts is None:
        return windowed(function_of(model), *options)
    # the statistics are those of the whole image, as in `tfseg.inference.predict_logits`
    rest_of = windowed(function_of(parts.rest), *options)
    return lambda image: rest_of(parts.standardize(image))


def _compare(model, path, details):
    """Raise a RuntimeError unless every signature of the SavedModel agrees with the model."""
    value_range = range_to_serve(model, details["value_range"])
    # wide enough for two windows
    images = noise_images(model, details["window"] or 0, value_range)
    floats = tf.constant(images, tf.float32)
    logits_of = _logits_function(in_float32(model), details, _inference_call)
    expected = postprocess(logits_of(floats))
    served = tf.saved_model.load(str(path)).signatures
    found = {"serving_default": served["serving_default"](image=floats)}
    if "uint8" in served:
        found["uint8"] = served["uint8"](image=images)
    if "encoded" in served and images[0, ..., 0].size <= details["max_pixels"]:
        found["encoded"] = {"class_ids": class_ids_from_files(served["encoded"], images)}
    min_agreement, max_difference = TOLERANCE[details["dtype"]]
    for name, outputs in found.items():
        require_close(expected, outputs, f"{path} ({name})", min_agreement, max_difference)


def _inference_call(model):
    return partial(model, training=False)
