"""SavedModel as TF Serving wants it: `<name>/<version>/`."""

import contextlib
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
        with contextlib.suppress(OSError):
            folder.rmdir()  # if it was made for this
        raise


def serve_command(version):
    """Return the words of a shell command that serves an exported version's folder with TF Serving."""
    folder = Path(version).resolve().parent
    where = f"{folder}:/models/{folder.name}"
    return ("docker", "run", "-p", "8501:8501", "-v", where, "-e", f"MODEL_NAME={folder.name}", "tensorflow/serving")


def _write(model, path, probabilities):
    signature = [tf.TensorSpec((None, None, None, model.input_shape[-1]), tf.float32, name="image")]

    def serve(image):
        answer = _answer(model(image, training=False))
        return answer if probabilities else {"class_ids": answer["class_ids"]}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", serve, input_signature=signature)
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # it would tell of a path that is about to be renamed
    try:
        archive.write_out(str(path), verbose=False)
    finally:
        logger.setLevel(level)


def _answer(logits):
    if logits.shape[-1] == 1:
        return {"class_ids": tf.cast(logits[..., 0] > 0, tf.uint8), "probabilities": tf.sigmoid(logits)}
    return {"class_ids": tf.cast(tf.argmax(logits, axis=-1), tf.uint8), "probabilities": tf.nn.softmax(logits)}


def _compare(model, path):
    """Raise a RuntimeError unless the artifact agrees with the model on a picture of odd size."""
    height, width = (size or 65 + 2 * i for i, size in enumerate(model.input_shape[1:3]))
    noise = np.random.default_rng(0).uniform(0, 255, (2, height, width, model.input_shape[-1]))
    image = tf.constant(noise, tf.float32)
    served = tf.saved_model.load(str(path)).signatures["serving_default"](image=image)
    expected = _answer(model(image, training=False))
    agreement = float(np.mean(served["class_ids"] == expected["class_ids"]))
    if agreement < 0.999:  # ties may fall either way
        raise RuntimeError(f"The export at {path} agrees with the model on {agreement:.2%} of pixels only.")
    if "probabilities" in served:
        difference = float(np.max(np.abs(served["probabilities"] - expected["probabilities"])))
        if not difference < 1e-3:
            raise RuntimeError(f"The probabilities of the export at {path} are off by up to {difference:.2g}.")


def _rename(beside, folder):
    while True:
        taken = [int(p.name) for p in folder.iterdir() if p.name.isdigit()]
        version = folder / str(max(taken, default=0) + 1)
        try:
            return beside.rename(version)
        except OSError:
            if not version.exists():  # else another export took this number just now
                raise
