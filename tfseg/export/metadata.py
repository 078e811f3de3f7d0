"""What an engineer should know of an exported model, kept beside it, and proven again on request."""

import hashlib
import importlib.metadata
import json
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tfseg
from tfseg.checks import IGNORE_INDEX
from tfseg.export.encoded_client import ids_of_files
from tfseg.models.blocks import Standardize
from tfseg.viz import palette

FILE = "assets.extra/tfseg.json"  # TensorFlow keeps this folder for what is not its own
PARITY = "assets.extra/parity.json"


def require_json(owner, metadata):
    """Raise a ValueError unless what is to be told can be written as JSON."""
    try:
        json.dumps(metadata)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{owner}: metadata={metadata} cannot be written as JSON: {error}. Pass plain numbers, strings, lists and dicts."
        ) from error


def write_metadata(version, model, details):
    """Write the metadata of a SavedModel, with a sha256 of each of its files.

    Args:
        version: folder of the SavedModel.
        model: the trained model.
        details: dict of what else is to be told.
    """
    channels = model.output_shape[-1]
    path = version / FILE
    path.parent.mkdir(exist_ok=True)
    about = {
        "model": model.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "image_shape": list(model.input_shape[1:]),
        **_normalization(model),
        **_offsets(model),
        "palette": palette(max(2, channels)).tolist(),
        "ignore_index": IGNORE_INDEX,
        **details,
        "versions": {name: importlib.metadata.version(name) for name in ("tensorflow", "keras")}
        | {"tfseg": tfseg.__version__},
        "weights_sha256": _weights_sha256(model),
        "files_sha256": {name: _sha256(version / name) for name in _files(version)},
    }
    path.write_text(json.dumps(about, indent=2) + "\n")


def read_metadata(version):
    """Return the metadata of an exported version as a dict.

    Raises:
        FileNotFoundError: the folder is no version that `tfseg.export.saved_model` has written.
    """
    path = Path(version) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"'{version}' is no export of tfseg: it has no {FILE}. Name a version's folder, e.g. saved_models/leaves/1."
        )
    return json.loads(path.read_text())


def inspect(version):
    """Return the metadata of an exported version, proven again: every file is as it was written, and it answers.

    Args:
        version: folder, e.g. `saved_models/leaves/1`.

    Returns:
        dict of the metadata; "parity" is there if the export was compared with its other forms.

    Raises:
        FileNotFoundError: the folder is no version that `tfseg.export.saved_model` has written.
        RuntimeError: a file is missing, changed or too many, or a signature does not answer.
    """
    version, about = Path(version), read_metadata(version)
    problems = _changes(version, about["files_sha256"])
    if problems:
        raise RuntimeError(
            f"'{version}' is not as it was exported: {' '.join(problems)} Export the model again."
        )
    _ask(version, about)
    parity = version / PARITY
    return about | ({"parity": json.loads(parity.read_text())} if parity.is_file() else {})


def _changes(version, stored):
    there = set(_files(version))
    missing = [f"{name} is missing." for name in sorted(stored.keys() - there)]
    extra = [f"{name} was not written by the export." for name in sorted(there - stored.keys())]
    both = sorted(stored.keys() & there)
    return (
        missing
        + extra
        + [f"{name} has changed." for name in both if _sha256(version / name) != stored[name]]
    )


def _ask(version, about):
    """Raise a RuntimeError unless the signatures agree about a black image."""
    signatures = tf.saved_model.load(str(version)).signatures
    image = tf.zeros(
        (1, *(side or 33 for side in about["image_shape"][:2]), about["image_shape"][2]), tf.uint8
    )
    expected = signatures["serving_default"](image=tf.cast(image, tf.float32))["class_ids"]
    answers = [signatures["uint8"](image=image)["class_ids"]]
    if "encoded" in signatures:
        answers.append(ids_of_files(signatures["encoded"], image.numpy()))
    of_pixels_or_images = expected.shape in (image.shape[:3], image.shape[:1])
    if not of_pixels_or_images or not all(np.array_equal(ids, expected) for ids in answers):
        raise RuntimeError(
            f"'{version}' loads, but its signatures do not agree. Export the model again."
        )


def _normalization(model):
    """Return what the model itself subtracts and divides by: mean and deviation a channel, "image", or nothing."""
    layer = next((layer for layer in model.layers if layer.name == "normalize"), None)
    if isinstance(layer, Standardize):
        return {"normalization": "image"}
    if not isinstance(layer, keras.layers.Rescaling):
        return {}
    scale, offset = np.broadcast_arrays(
        np.asarray(layer.scale, float), np.asarray(layer.offset, float)
    )
    return {
        "normalization": {
            "mean": [float(f"{x:.6g}") for x in np.ravel(-offset / scale)],
            "std": [float(f"{x:.6g}") for x in np.ravel(1 / scale)],
        }
    }


def _offsets(model):
    """Return what `with_offsets` adds to the logits, if it was used."""
    added = [layer.offset for layer in model.layers if layer.name.startswith("offsets")]
    return {"offsets": np.sum(added, axis=0).tolist()} if added else {}


def _weights_sha256(model):
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _files(version):
    paths = (path for path in version.rglob("*") if path.is_file())
    return sorted(name for path in paths if (name := path.relative_to(version).as_posix()) != FILE)


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
