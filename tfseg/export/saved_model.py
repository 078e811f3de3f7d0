"""SavedModel as TF Serving wants it: `<name>/<version>/`."""

from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfseg import checks
from tfseg.data import label_names
from tfseg.export.encoded_client import ids_of_files, png
from tfseg.export.folding import as_constants, fold_batch_norm
from tfseg.export.formats import check_formats, write_formats
from tfseg.export.metadata import require_json, write_metadata
from tfseg.export.postprocess import postprocess, require_logits
from tfseg.export.signatures import EXTRA_OUTPUTS, encoded, serving
from tfseg.export.verify import noise, require_same
from tfseg.export.versions import next_version
from tfseg.export.warmup import write_warmup
from tfseg.export.windowed import windowed
from tfseg.models.blocks import Standardize

DTYPES = ("float32", "bfloat16")
OVERLAP = 0.25  # of windows
WARMUP_SIDE = 256
# at least on this share of pixels, and probabilities at most so far off; ties may fall either way
TOLERANCE = {"float32": (0.999, 1e-3), "bfloat16": (0.98, 0.1)}


def saved_model(
    model,
    folder,
    outputs=(),
    metadata=None,
    window=None,
    max_pixels=2**24,
    dtype="float32",
    formats=(),
    images=(),
):
    """Export a model for TF Serving, under the next free version.

    Batch normalization goes into the convolutions and the weights become constants of the graph, so an export is for
    inference; to train on, keep the `.keras` file. Signatures:

    `serving_default`: `image` (B, H, W, C) float32, in the values the model was trained on (0..255), any B, H and W ->
        `class_ids` (B, H, W) uint8, or uint16 of more than 256 classes. A batch of none has an answer of none.
    `uint8`: the same of uint8 images, a fourth of the bytes to send.
    `encoded`, of models of 1 or 3 channels: `image_bytes` (B,), JPEG or PNG files of mixed sizes -> for each
        `mask_png_bytes`, its class ids as a PNG of its own size; `class_pixels` (B, classes) int64; `ok`. A file that
        is damaged, something else or too large has `ok` False, an empty mask and no pixels; it spoils no other answer.
        EXIF is left alone: a mask lies as the image's pixels do.

    Of a classifier of whole images `class_ids` are (B,), from `encoded` too, and probabilities (B, C).

    The folder also gets requests for TF Serving to warm up with, and metadata, see `inspect`. The version is written
    beside, loaded back, compared with the model, and only then renamed to its number, so that a server never sees half
    of it.

    Args:
        model: a model of `tfseg.models`.
        folder: `saved_models/<name>`; made if need be.
        outputs: what is answered besides: "probabilities" (B, H, W, C) float32; "uncertainty" (B, H, W) float32, the
            entropy over the classes as a share of the largest; "rle" (B, classes), in `encoded`: COCO's run lengths of
            each class as JSON.
        metadata: dict for the metadata, such as {"class_names": [...], "metrics": {...}}, of what JSON can hold.
        window: side of windows that slide over larger images and overlap by a quarter, so that of large images only
            logits are held whole, not features; None for none.
        max_pixels: height x width of an encoded image at most; the header is looked at before anything is decoded.
        dtype: "float32" or "bfloat16", of the convolutions; where processors know it, the latter is faster.
        formats: of `FORMATS`: the model in other forms too, as files in the version's `assets.extra`.
        images: list of (H, W, C), real images on which every form is compared with the model; needed with `formats`.
            The figures go into `assets.extra/parity.json`, see `Parity`.

    Returns:
        pathlib.Path of the new version, `<folder>/<version>`.

    Raises:
        ValueError: the model gives no logits, or several, or an argument is unknown or does not fit it.
        RuntimeError: what was written gives other answers than the model; the message says where.
    """
    details = _details(model, outputs, metadata, window, max_pixels, dtype)
    check_formats(formats, images)

    def write(version):
        _write(model, version, details)
        _compare(model, version, details)
        write_warmup(version, _requests(model))
        if len(images):
            # windows are the SavedModel's alone, and were compared above
            write_formats(
                version,
                model,
                formats,
                [image[:window, :window] for image in images],
                details["class_names"],
            )
        write_metadata(version, model, details)

    return next_version(folder, write)


def serve_command(version):
    """Return the words of a shell command that serves an exported version's folder with TF Serving."""
    folder = Path(version).resolve().parent
    where = f"{folder}:/models/{folder.name}"
    return (
        "docker",
        "run",
        "-p",
        "8501:8501",
        "-v",
        where,
        "-e",
        f"MODEL_NAME={folder.name}",
        "tensorflow/serving",
    )


def _details(model, outputs, metadata, window, max_pixels, dtype):
    """Return the arguments, checked, as they go into the metadata."""
    for output in outputs:
        checks.one_of("saved_model", "outputs", output, EXTRA_OUTPUTS)
    checks.one_of("saved_model", "dtype", dtype, DTYPES)
    require_logits("saved_model", model)
    if len(model.output_shape) == 2 and (window is not None or "rle" in outputs):
        raise ValueError(
            "saved_model: windows and 'rle' are for models that give classes of pixels, not of images."
        )
    if window is not None and any(isinstance(layer, Standardize) for layer in model.layers):
        raise ValueError(
            f"saved_model: window={window} came for a model of normalization='image', which would see each window by "
            "its own mean and deviation. Build it with (mean, deviation) of all images, or leave the window out."
        )
    if window is not None and model.input_shape[1:3] != (None, None):
        raise ValueError(
            f"saved_model: window={window} came for a model that takes {model.input_shape[1:3]} pixels only. Build it "
            "with input_shape=(None, None, channels), or leave the window out."
        )
    details = {
        **(metadata or {}),
        "class_names": _names(model, (metadata or {}).get("class_names")),
        "outputs": ["class_ids", *outputs],
        "dtype": dtype,
        "window": None if window is None else checks.positive_int("saved_model", "window", window),
        "max_pixels": checks.positive_int("saved_model", "max_pixels", max_pixels),
    }
    require_json("saved_model", details)
    return details


def _names(model, class_names):
    count = max(2, model.output_shape[-1])
    names = [str(i) for i in range(count)] if class_names is None else label_names(class_names)
    if len(names) != count:
        raise ValueError(
            f"saved_model: {len(names)} class names {names} came for a model of {count} classes."
        )
    return names


def _write(model, path, details):
    """Write the SavedModel itself."""
    shape = model.input_shape[1:]
    logits_of = _by_windows(
        as_constants(fold_batch_norm(model, details["dtype"])), details["window"], model.output_shape[-1]
    )
    extra = details["outputs"][1:]
    signatures = {
        "serving_default": serving(logits_of, shape, extra, tf.float32),
        "uint8": serving(logits_of, shape, extra, tf.uint8),
    }
    if _takes_files(model):
        signatures["encoded"] = encoded(logits_of, shape, extra, details["max_pixels"])
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # it would tell of a path that is about to be renamed
    try:
        tf.saved_model.save(tf.Module(), str(path), signatures)
    finally:
        logger.setLevel(level)


def _by_windows(logits_of, window, classes):
    return windowed(logits_of, window, OVERLAP, classes) if window else logits_of


def _takes_files(model):
    return model.input_shape[-1] in (1, 3)


def _compare(model, path, details):
    """Raise a RuntimeError unless the artifact answers as the model does, by every signature."""
    images = noise(model, details["window"] or 0)  # wide enough for two windows
    floats = tf.constant(images, tf.float32)
    expected = postprocess(
        _by_windows(partial(model, training=False), details["window"], model.output_shape[-1])(
            floats
        )
    )
    served = tf.saved_model.load(str(path)).signatures
    answers = {
        "serving_default": served["serving_default"](image=floats),
        "uint8": served["uint8"](image=images),
    }
    if "encoded" in served:
        answers["encoded"] = {"class_ids": ids_of_files(served["encoded"], images)}
    for name, found in answers.items():
        require_same(expected, found, f"{path} ({name})", *TOLERANCE[details["dtype"]])


def _requests(model):
    """Return a request for every signature, at the model's size or a usual one."""
    height, width = (size or WARMUP_SIDE for size in model.input_shape[1:3])
    image = np.full((1, height, width, model.input_shape[-1]), 127, np.uint8)
    requests = [
        ("serving_default", {"image": image.astype(np.float32)}),
        ("uint8", {"image": image}),
    ]
    if _takes_files(model):
        requests.append(("encoded", {"image_bytes": np.array([png(image[0])], object)}))
    return requests
