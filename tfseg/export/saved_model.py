"""SavedModel as TF Serving wants it: `<name>/<version>/`."""

import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf


def saved_model(model, folder, probabilities=False):
    """Export a model for TF Serving, under the next free version.

    Signature `serving_default`: `image` (B, H, W, C) float32, in the values the model was trained on (0..255),
    any B, H and W -> `class_ids` (B, H, W) uint8 and, if asked for, `probabilities` (B, H, W, C) float32 (one
    channel for a single sigmoid).

    The version is written beside, loaded back, compared with the model, and only then renamed to its number,
    so that a server never sees half of it.

    Args:
        model: a model of `tfseg.models`.
        folder: `saved_models/<name>`; made if need be.
        probabilities: add the output `probabilities`.

    Returns:
        pathlib.Path of the new version, `<folder>/<version>`.

    Raises:
        RuntimeError: what was written gives other answers than the model.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # TF Serving looks at folders whose name is a number, and at no others.
    beside = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    try:
        _write(model, beside, probabilities)
        _compare(model, beside)
        beside.chmod(0o755)  # mkdtemp's folders are closed to others, a server may be one
        return _rename(beside, folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _write(model, path, probabilities):
    signature = [tf.TensorSpec((None, None, None, model.input_shape[-1]), tf.float32, name="image")]

    def serve(image):
        logits = model(image, training=False)
        binary = logits.shape[-1] == 1
        class_ids = logits[..., 0] > 0 if binary else tf.argmax(logits, axis=-1)
        outputs = {"class_ids": tf.cast(class_ids, tf.uint8)}
        if probabilities:
            outputs["probabilities"] = tf.sigmoid(logits) if binary else tf.nn.softmax(logits)
        return outputs

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", serve, input_signature=signature)
    archive.write_out(str(path), verbose=False)


def _compare(model, path):
    """Raise a RuntimeError unless the artifact agrees with the model on a picture of odd size."""
    height, width = (size or 65 + 2 * i for i, size in enumerate(model.input_shape[1:3]))
    noise = np.random.default_rng(0).uniform(0, 255, (2, height, width, model.input_shape[-1]))
    image = tf.constant(noise, tf.float32)
    served = tf.saved_model.load(str(path)).signatures["serving_default"](image=image)["class_ids"].numpy()
    logits = keras.ops.convert_to_numpy(model(image, training=False))
    expected = logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(axis=-1)
    agreement = float(np.mean(served == expected))
    if agreement < 0.999:  # ties may fall either way
        raise RuntimeError(f"The export at {path} agrees with the model on {agreement:.2%} of pixels only.")


def _rename(beside, folder):
    while True:
        taken = [int(p.name) for p in folder.iterdir() if p.name.isdigit()]
        version = folder / str(max(taken, default=0) + 1)
        try:
            return beside.rename(version)
        except OSError:
            if not version.exists():  # else another export took this number just now
                raise
