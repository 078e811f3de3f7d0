"""How a model becomes a file of another format: written beside, compared with the model, and only then renamed."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfseg.export.answer import answer, require_logits
from tfseg.export.folding import frozen
from tfseg.export.parity import keras_runner

AGREEMENT = 0.999  # share of pixels; ties may fall either way
DIFFERENCE = 1e-3  # of probabilities


def check_export(owner, model, file, suffix):
    """Raise a ValueError unless the model gives one map of logits, and the file's name ends in the suffix."""
    require_logits(owner, model)
    if Path(file).suffix != suffix:
        raise ValueError(f"{owner}: file='{file}' must end in '{suffix}', by which the format is known.")


@contextlib.contextmanager
def beside(file):
    """Give the same file name in a folder beside the file, which is gone at the end with all that is left in it."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=file.parent) as folder:
        yield Path(folder) / file.name


def answering(slim):
    """Return the tf.function image (B, H, W, C) float32 -> the answers of a model of `folded`, weights as constants."""
    spec = tf.TensorSpec((None, *slim.input_shape[1:]), tf.float32, name="image")
    logits_of = frozen(slim)
    return tf.function(lambda image: answer(logits_of(image)), input_signature=[spec], autograph=False)


def require_same_answers(model, run, path):
    """Raise a RuntimeError unless an artifact answers as the model does, on noise of odd size."""
    height, width = (size or 65 + 32 * i for i, size in enumerate(model.input_shape[1:3]))
    noise = np.random.default_rng(0).integers(0, 256, (2, height, width, model.input_shape[-1])).astype(np.float32)
    expected, found = keras_runner(model)(noise), run(noise)
    agreeing = float(np.mean(found["class_ids"] == expected["class_ids"]))
    difference = float(np.abs(found["probabilities"] - expected["probabilities"]).max())
    if agreeing < AGREEMENT or not difference < DIFFERENCE:
        raise RuntimeError(
            f"The export at {path} agrees with the model on {agreeing:.2%} of pixels, and its probabilities are off by "
            f"up to {difference:.2g}; expected {AGREEMENT:.1%} at least and {DIFFERENCE:.2g} at most."
        )
