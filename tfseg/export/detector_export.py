"""SavedModel of a detector, in the folder layout of TF Serving."""

from pathlib import Path

import tensorflow as tf

from tfseg import checks
from tfseg.export.detection_client import answers, compared_batches
from tfseg.export.detection_outputs import object_names_of, with_count
from tfseg.export.detection_parity import MIN_MATCHES, require_matches
from tfseg.export.detection_signatures import (
    detection_file_signature,
    detection_signature,
    object_detection_api_signature,
)
from tfseg.export.flattening import in_float32
from tfseg.export.folding import as_constants, fold_batch_norm
from tfseg.export.formats import check_formats, write_formats
from tfseg.export.metadata import require_json, write_metadata
from tfseg.export.saving import save_quietly
from tfseg.export.trained_range import (
    checked_range,
    range_to_serve,
    serves_files,
    serves_uint8,
)
from tfseg.export.verify import checked_file_size
from tfseg.export.versions import next_version
from tfseg.export.warmup import image_requests, warmup_image, write_warmup
from tfseg.models import is_detector, with_thresholds

THRESHOLDS = ("score_threshold", "nms_iou", "max_detections")


def export_detector(
    model, folder, metadata, thresholds, max_pixels, formats, images, size, value_range
) -> Path:
    """Export a detector for TF Serving under the next free version number.

    The arguments are those of `saved_model`, which describes the signatures and calls this
    function, with the thresholds as a dict.
    """
    model = _served(model, thresholds)
    details = _checked_details(model, metadata, max_pixels, value_range)
    size = check_formats(model, formats, images, size)
    if formats:
        size = checked_file_size("saved_model", model, size)

    def write(version):
        _write(model, version, details)
        _compare(model, version, details, images)
        write_warmup(version, _warmup_requests(model, details))
        if len(images):
            names, trained = details["object_names"], details["value_range"]
            write_formats(version, model, formats, images, names, size, trained)
        write_metadata(version, model, details)

    return next_version(folder, write)


def _served(model, thresholds):
    """Return the detector with the thresholds of its export.

    If a model was tuned, its export answers with the detections that are objects.
    """
    own = model.get_layer("detections")
    if thresholds["score_threshold"] is None and own.object_threshold is not None:
        lowest = max(own.score_threshold, own.object_threshold)
        thresholds = {**thresholds, "score_threshold": lowest}
    return with_thresholds(model, **thresholds)


def require_plain_options(model, outputs, window, dtype) -> None:
    """Raise a ValueError if an option of `saved_model` does not apply to models of objects."""
    kind = "a detector" if is_detector(model) else "an instance model"
    if len(outputs) or window is not None:
        raise ValueError(
            f"saved_model: got outputs={tuple(outputs)} and window={window} for {kind}, whose "
            "outputs are fixed and which takes whole images. Remove them."
        )
    if dtype != "float32":
        raise ValueError(
            f"saved_model: got dtype={dtype!r} for {kind}. Rounding would move its objects: use "
            "'float32'."
        )


def require_no_thresholds(model, thresholds, owners: str) -> None:
    """Raise a ValueError if thresholds are given that belong to other models.

    Args:
        model: keras.Model.
        thresholds: {argument: value or None}.
        owners: the models that have them, for the message.
    """
    given = [name for name, value in thresholds.items() if value is not None]
    if given:
        raise ValueError(
            f"saved_model: got {', '.join(given)} for the model {model.name!r}, but only {owners} "
            "have them. Remove them, or pass such a model."
        )


def _checked_details(model, metadata, max_pixels, value_range):
    """Return the checked arguments as they are written into the metadata."""
    metadata = metadata or {}
    config = model.get_layer("detections").get_config()
    details = {
        **metadata,
        "object_names": object_names_of("saved_model", model, metadata.get("object_names")),
        "head": "mask_rcnn" if model.has_masks else "faster_rcnn",
        "thresholds": {name: config[name] for name in THRESHOLDS},
        "outputs": [*model.output, "num_detections"],
        "dtype": "float32",
        "max_pixels": checks.positive_int("saved_model", "max_pixels", max_pixels),
        "value_range": checked_range("saved_model", value_range),
    }
    require_json("saved_model", details)
    return details


def _write(model, path, details):
    """Write the SavedModel itself."""
    shape = model.input_shape[1:]
    constant = as_constants(fold_batch_norm(model), (None, *shape))

    def detect(image):
        return with_count(constant(image))

    value_range = range_to_serve(model, details["value_range"])
    signatures = {"serving_default": detection_signature(detect, shape, tf.float32)}
    if serves_uint8(value_range):
        signatures["uint8"] = detection_signature(detect, shape, tf.uint8)
    if _serves_object_detection_api(model, value_range):
        signatures["detection"] = object_detection_api_signature(detect, shape)
    if serves_files(model, value_range):
        limit = details["max_pixels"]
        signatures["encoded"] = detection_file_signature(detect, shape, limit, value_range)
    save_quietly(path, signatures)


def _serves_object_detection_api(model, value_range):
    return serves_uint8(value_range) and model.input_shape[-1] == 3


def _compare(model, path, details, images):
    """Raise a RuntimeError unless every signature of the SavedModel agrees with the model."""
    value_range = range_to_serve(model, details["value_range"])
    batches = compared_batches(model, images, value_range)
    _compare_candidates(model, batches[0])
    served = tf.saved_model.load(str(path)).signatures
    reference = in_float32(model)
    for batch in batches:
        expected = reference(batch, training=False)
        for name, outputs in answers(served, batch, details["max_pixels"]).items():
            require_matches(expected, outputs, f"{path} ({name})", MIN_MATCHES)


def _compare_candidates(model, images):
    """Raise a RuntimeError unless the inference copy has all detections that a model has on noise.

    At the score threshold of a trained model there may be none to compare.
    """
    candidates = with_thresholds(model, score_threshold=0.0)
    # run eagerly: to compile each would take longer than the export
    expected = in_float32(candidates)(images, training=False)
    found = fold_batch_norm(candidates)(images, training=False)
    require_matches(expected, found, "its inference copy", MIN_MATCHES)


def _warmup_requests(model, details):
    """Return a request for every signature."""
    value_range = range_to_serve(model, details["value_range"])
    requests = image_requests(model, value_range)
    if _serves_object_detection_api(model, value_range):
        requests.append(("detection", {"input_tensor": warmup_image(model, value_range)}))
    return requests
