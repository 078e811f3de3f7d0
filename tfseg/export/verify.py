"""How a model becomes a file of another format: written beside, compared with the model, and only then renamed."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfseg.export.folding import as_constants
from tfseg.export.parity import keras_runner
from tfseg.export.postprocess import postprocess, require_logits

AGREEMENT = 0.999  # share of pixels; ties may fall either way
DIFFERENCE = 1e-3  # of probabilities


def check_export(owner, model, file, suffix):
    """Raise a ValueError unless the model gives one map of logits, and the file's name ends in the suffix."""
    require_logits(owner, model)
    if Path(file).suffix != suffix:
        raise ValueError(
            f"{owner}: file='{file}' must end in '{suffix}', by which the format is known."
        )


@contextlib.contextmanager
def beside(file):
    """Give the same file name in a folder beside the file, which is gone at the end with all that is left in it."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=file.parent) as folder:
        yield Path(folder) / file.name


def answering(folded_model):
    """Return the tf.function image (B, H, W, C) float32 -> the answers of a model of `fold_batch_norm`, weights as constants."""
    spec = tf.TensorSpec((None, *folded_model.input_shape[1:]), tf.float32, name="image")
    logits_of = as_constants(folded_model)
    return tf.function(
        lambda image: postprocess(logits_of(image)), input_signature=[spec], autograph=False
    )


def noise(model, more=0):
    """Return images (2, H, W, C) uint8 of a size that no stride divides, `more` pixels wider; or of the model's own."""
    height, width = (
        size or least for size, least in zip(model.input_shape[1:3], (65, 97 + more), strict=True)
    )
    return np.random.default_rng(0).integers(
        0, 256, (2, height, width, model.input_shape[-1]), np.uint8
    )


def require_same_answers(model, run, path):
    """Raise a RuntimeError unless an artifact answers as the model does, on noise of odd size."""
    images = noise(model).astype(np.float32)
    require_same(keras_runner(model)(images), run(images), path)


def require_same(expected, found, what, agreement=AGREEMENT, difference=DIFFERENCE):
    """Raise a RuntimeError unless answers are those of the model, but for rounding.

    Args:
        expected, found: dicts of "class_ids", and "probabilities", which may be missing in `found`.
        what: gave the answers, for the message.
        agreement: share of the class ids that are to be the same.
        difference: of the probabilities, at most.
    """
    agreeing = float(np.mean(np.asarray(found["class_ids"]) == np.asarray(expected["class_ids"])))
    off = (
        float(np.abs(found["probabilities"] - expected["probabilities"]).max())
        if "probabilities" in found
        else 0.0
    )
    if agreeing < agreement or not off < difference:  # NaN is below nothing
        raise RuntimeError(
            f"The export at {what} agrees with the model on {agreeing:.2%} of pixels, and its probabilities are off by "
            f"up to {off:.2g}; expected {agreement:.1%} at least, {difference:.2g} at most."
        )
