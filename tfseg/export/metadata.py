"""Metadata and checksums of an exported model, stored with it and verified on request."""

import hashlib
import importlib.metadata
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import tensorflow as tf

import tfseg
from tfseg.checks import ignore_index_for
from tfseg.data import label_names
from tfseg.export.detection_client import verify_detections
from tfseg.export.detection_outputs import has_detections, object_names_of
from tfseg.export.encoded_client import class_ids_from_files
from tfseg.models import instance_settings, is_instance_model, normalization_of
from tfseg.models.layer_graph import all_layers
from tfseg.viz import palette

METADATA_FILE = "assets.extra/tfseg.json"  # TensorFlow reserves this folder for other programs
PARITY_FILE = "assets.extra/parity.json"


def class_names_of(owner: str, model, class_names) -> list[str]:
    """Return one name per class id of a model, "0", "1" ... if `class_names` is None.

    Raises:
        ValueError: the number of names does not fit the model.
    """
    if has_detections(model):
        return object_names_of(owner, model, class_names)
    count = max(2, model.output_shape[-1])
    names = [str(i) for i in range(count)] if class_names is None else label_names(class_names)
    if len(names) != count:
        raise ValueError(
            f"{owner}: got {len(names)} class names {names} for a model with {count} classes. "
            "Pass one name per class."
        )
    return names


def require_json(owner: str, metadata: dict) -> None:
    """Raise a ValueError unless the metadata can be written as JSON."""
    try:
        json.dumps(metadata)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{owner}: metadata={metadata} cannot be written as JSON: {error}. "
            "Pass plain numbers, strings, lists and dicts."
        ) from error


def write_metadata(version: Path, model, details: dict) -> None:
    """Write the metadata of a SavedModel, with the SHA-256 of each of its files.

    Args:
        version: folder of the SavedModel.
        model: the trained model.
        details: dict of additional metadata.
    """
    path = version / METADATA_FILE
    path.parent.mkdir(exist_ok=True)
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras")}
    metadata = {
        "model": model.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "image_shape": list(model.input_shape[1:]),
        **_normalization(model),
        **_offsets(model),
        **_label_facts(model),
        **details,
        "versions": versions | {"tfseg": tfseg.__version__},
        "weights_sha256": _weights_sha256(model),
        "files_sha256": files_sha256(version),
    }
    path.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def read_metadata(version) -> dict:
    """Return the metadata of an exported version.

    Raises:
        FileNotFoundError: the folder is not a version that `tfseg.export.saved_model` wrote.
    """
    path = Path(version) / METADATA_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"'{version}' is not an export of tfseg: it has no {METADATA_FILE}. "
            "Name the folder of a version, e.g. saved_models/leaves/1."
        )
    return json.loads(path.read_text("utf-8"))


def inspect(version) -> dict:
    """Return the metadata of an exported version after verifying its files and signatures.

    Args:
        version: folder of a version, e.g. `saved_models/leaves/1`.

    Returns:
        dict of the metadata. It contains "parity" if formats were compared at export time.

    Raises:
        FileNotFoundError: the folder is not a version that `tfseg.export.saved_model` wrote.
        RuntimeError: a file is missing, changed or unknown, or the signatures disagree.

    Example:
        >>> import keras, tfseg
        >>> image = keras.Input((None, None, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
        >>> version = tfseg.export.saved_model(model, "saved_models/leaves")
        >>> tfseg.export.inspect(version)["image_shape"]
        [None, None, 3]
    """
    version = Path(version)
    metadata = read_metadata(version)
    problems = _file_problems(version, metadata["files_sha256"])
    if problems:
        raise RuntimeError(
            f"'{version}' was modified after the export: {' '.join(problems)} "
            "Export the model again."
        )
    verify = verify_detections if "object_names" in metadata else _verify_class_ids
    verify(version, metadata)
    parity = version / PARITY_FILE
    if parity.is_file():
        metadata["parity"] = json.loads(parity.read_text("utf-8"))
    return metadata


def files_sha256(version: Path) -> dict:
    """Return {relative path: SHA-256} of all files of a version, except its metadata."""
    paths = (path for path in version.rglob("*") if path.is_file())
    names = sorted(path.relative_to(version).as_posix() for path in paths)
    return {name: _file_sha256(version / name) for name in names if name != METADATA_FILE}


def _file_problems(version, expected):
    found = files_sha256(version)
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    common = sorted(expected.keys() & found.keys())
    return (
        [f"{name} is missing." for name in missing]
        + [f"{name} was not written by the export." for name in extra]
        + [f"{name} has changed." for name in common if found[name] != expected[name]]
    )


def _verify_class_ids(version, metadata):
    """Raise a RuntimeError unless all signatures give the same class ids for a black image."""
    signatures = tf.saved_model.load(str(version)).signatures
    height, width, channels = metadata["image_shape"]
    image = tf.zeros((1, height or 33, width or 33, channels), tf.uint8)
    expected = signatures["serving_default"](image=tf.cast(image, tf.float32))["class_ids"]
    answers = []
    if "uint8" in signatures:
        answers.append(signatures["uint8"](image=image)["class_ids"])
    pixels = image.shape[1] * image.shape[2]
    if "encoded" in signatures and pixels <= metadata["max_pixels"]:
        # black files of 16 bits suit every range
        files = image.numpy().astype(np.uint16)
        answers.append(class_ids_from_files(signatures["encoded"], files))
    # class ids per pixel, or per image for a classifier
    shape_is_valid = expected.shape in (image.shape[:3], image.shape[:1])
    if not shape_is_valid or not all(np.array_equal(ids, expected) for ids in answers):
        raise RuntimeError(
            f"'{version}' loads, but its signatures do not agree. Export the model again."
        )


def _label_facts(model):
    """Return the colors of the classes, and the value of unlabeled pixels if there are masks."""
    if has_detections(model) or is_instance_model(model):
        count = (model if has_detections(model) else instance_settings(model)).num_classes
        return {"palette": palette(count + 1)[1:].tolist()}  # without background
    classes = max(2, model.output_shape[-1])
    return {"palette": palette(classes).tolist(), "ignore_index": ignore_index_for(classes)}


def _normalization(model):
    """Return the normalization inside the model: mean and std per channel, "image", or nothing.

    The models of an ensemble may each have their own: nothing.
    """
    normalization = normalization_of(model)
    layers = [layer.get_config() for layer in all_layers(model) if layer.name == "normalize"]
    if normalization is None or any(config != layers[0] for config in layers):
        return {}
    if isinstance(normalization, tuple):
        mean, std = ([float(f"{x:.6g}") for x in values] for values in normalization)
        normalization = {"mean": mean, "std": std}
    return {"normalization": normalization}


def _offsets(model):
    """Return the sum of the logit offsets that `with_offsets` added, if any."""
    added = [layer.offset for layer in model.layers if layer.name.startswith("offsets")]
    return {"offsets": np.sum(added, axis=0).tolist()} if added else {}


def _weights_sha256(model):
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _file_sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
