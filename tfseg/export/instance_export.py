"""SavedModel of a model of `tfseg.models.instances`, in the folder layout of TF Serving."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfseg import checks
from tfseg.checks import BACKGROUND
from tfseg.export.detection_client import answers, compared_batches
from tfseg.export.detection_outputs import object_names_of
from tfseg.export.flattening import in_float32
from tfseg.export.folding import as_constants, fold_batch_norm
from tfseg.export.formats import write_formats
from tfseg.export.instance_parity import objects_on_host, require_same_objects
from tfseg.export.instance_signatures import (
    batch_of_objects,
    instance_file_signature,
    instance_signature,
    object_decoder,
)
from tfseg.export.metadata import require_json, write_metadata
from tfseg.export.saving import save_quietly
from tfseg.export.trained_range import checked_range, range_to_serve, serves_files, serves_uint8
from tfseg.export.verify import only_saved_model
from tfseg.export.versions import next_version
from tfseg.export.warmup import image_requests, write_warmup
from tfseg.models import instance_settings, with_object_thresholds
from tfseg.models.instance_settings import OUTPUTS

HIGHEST_THRESHOLD = 0.999  # thresholds are below 1
CANDIDATES = 20  # samples of noise that are objects or centers in the comparison


def export_instances(
    model, folder, metadata, thresholds, max_pixels, formats, images, size, value_range
) -> Path:
    """Export an instance model for TF Serving under the next free version number.

    The arguments are those of `saved_model`, which describes the signatures and calls this
    function, with the thresholds as a dict.
    """
    if formats or size is not None:
        given = f"formats={tuple(formats)}" if formats else f"size={size}"
        raise ValueError(f"saved_model: got {given}, but {only_saved_model(model)}")
    model = with_object_thresholds(model, **thresholds)
    details = _checked_details(model, metadata, max_pixels, value_range)

    def write(version):
        _write(model, version, details)
        _compare(model, version, details, images)
        write_warmup(version, image_requests(model, range_to_serve(model, details["value_range"])))
        if len(images):
            write_formats(version, model, (), images, details["object_names"])
        write_metadata(version, model, details)

    return next_version(folder, write)


def _checked_details(model, metadata, max_pixels, value_range):
    """Return the checked arguments as they are written into the metadata."""
    owner, metadata, settings = "saved_model", metadata or {}, instance_settings(model)
    thresholds = {"object_threshold": settings.object_threshold}
    outputs = ["instances", "scores", "classes", "boxes", "num_detections"]
    names = object_names_of(owner, settings, metadata.get("object_names"))
    details = {**metadata, "object_names": names, "head": settings.head}
    if settings.head == "star":
        thresholds["nms_overlap"] = settings.nms_overlap
    else:
        outputs.append("mask")
        details["class_names"] = _mask_names(model, names, metadata.get("class_names"))
    details |= {
        "thresholds": thresholds,
        "outputs": outputs,
        "dtype": "float32",
        "max_pixels": checks.positive_int(owner, "max_pixels", max_pixels),
        "value_range": checked_range(owner, value_range),
    }
    require_json(owner, details)
    return details


def _mask_names(model, object_names, given):
    """Return one name per class id of the output "mask" of a center head."""
    count = model.output["class_logits"].shape[-1]
    thing_ids = instance_settings(model).thing_ids
    has_stuff = thing_ids != tuple(range(1, count))
    if given is None:
        return list(map(str, range(count))) if has_stuff else [BACKGROUND, *object_names]
    names = list(given)
    if len(names) != count:
        raise ValueError(
            f"saved_model: got {len(names)} class names {names} for a model with {count} classes "
            "in its mask. Pass one name per class."
        )
    return names


def _write(model, path, details):
    """Write the SavedModel itself."""
    shape = model.input_shape[1:]
    outputs_of = as_constants(fold_batch_norm(model), (None, *shape))
    decode = object_decoder(model)
    value_range = range_to_serve(model, details["value_range"])
    signatures = {"serving_default": instance_signature(decode, outputs_of, shape, tf.float32)}
    if serves_uint8(value_range):
        signatures["uint8"] = instance_signature(decode, outputs_of, shape, tf.uint8)
    if serves_files(model, value_range):
        signatures["encoded"] = instance_file_signature(
            model, decode, outputs_of, shape, details["max_pixels"], value_range
        )
    save_quietly(path, signatures)


def _compare(model, path, details, images):
    """Raise a RuntimeError unless every signature of the SavedModel agrees with the model."""
    value_range = range_to_serve(model, details["value_range"])
    batches = compared_batches(model, images, value_range)
    _compare_candidates(model, batches[0])
    served = tf.saved_model.load(str(path)).signatures
    reference = in_float32(model)
    for batch in batches:
        # run eagerly: to compile each size would take longer
        outputs = reference(batch.astype(np.float32), training=False)
        expected = objects_on_host(model, outputs, batch.shape[1:3])
        for name, outputs in answers(served, batch, details["max_pixels"]).items():
            require_same_objects(expected, outputs, f"{path} ({name})")


def _compare_candidates(model, images):
    """Raise a RuntimeError unless the inference copy finds the same objects in noise.

    With the thresholds of a trained model there may be none to compare.
    """
    images = images.astype(np.float32)
    outputs = in_float32(model)(images, training=False)
    logits = np.asarray(outputs[OUTPUTS[instance_settings(model).head][0]], np.float64)
    candidates = with_object_thresholds(model, _threshold_of(1 / (1 + np.exp(-logits))))
    expected = objects_on_host(candidates, outputs, images.shape[1:3])

    decode = object_decoder(candidates)

    @tf.function(autograph=False)  # as in the SavedModel
    def objects(outputs):
        return batch_of_objects(decode, outputs, tf.constant(images.shape))

    found = objects(fold_batch_norm(candidates)(images, training=False))
    require_same_objects(expected, found, "its inference copy")


def _threshold_of(probabilities):
    """Return a threshold that up to `CANDIDATES` probabilities exceed, amid the widest gap."""
    highest = np.unique(probabilities)[::-1][: CANDIDATES + 1]
    if len(highest) == 1:
        return float(highest[0]) * 0.99
    rest = highest[len(highest) // 2 - 1 :]
    gap = np.argmax(rest[:-1] - rest[1:])
    return min(float((rest[gap] + rest[gap + 1]) / 2), HIGHEST_THRESHOLD)
