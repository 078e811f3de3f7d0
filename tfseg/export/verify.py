"""Checks of an export: valid arguments before, the model's outputs after."""

from pathlib import Path

import numpy as np

from tfseg import checks
from tfseg.export.detection_outputs import has_detections
from tfseg.export.detection_parity import MIN_MATCHES, require_matches
from tfseg.export.flattening import in_float32
from tfseg.export.parity import keras_runner
from tfseg.export.postprocess import require_logits
from tfseg.export.trained_range import noise
from tfseg.models import is_instance_model

MIN_AGREEMENT = 0.999  # fraction of class ids; ties between classes may break either way
MAX_DIFFERENCE = 1e-3  # of probabilities


def check_export(owner: str, model, file: str | Path, suffix: str) -> None:
    """Raise a ValueError unless the outputs of a model can be exported and the suffix fits."""
    if is_instance_model(model):
        raise ValueError(f"{owner}: {only_saved_model(model)}")
    if not has_detections(model):
        require_logits(owner, model)
    if Path(file).suffix != suffix:
        raise ValueError(f"{owner}: file='{file}' must end in '{suffix}'.")


def only_saved_model(model) -> str:
    """Return the words that say why an instance model has no other format."""
    return (
        f"the model {model.name!r} predicts instances without boxes, and the steps that turn its "
        "outputs into objects cannot be written as LiteRT, ONNX or OpenVINO. SavedModel is the "
        "only format, and takes images of any size: `tfseg.export.saved_model(model, folder)`. "
        "Models of `tfseg.models.mask_rcnn` can be written as LiteRT and ONNX, too."
    )


def noise_images(model, extra_width: int = 0, value_range=None):
    """Return two noise images for a comparison, (2, H, W, C) uint8, uint16 or float32.

    Their size is that of the model, or 65 x (97 + `extra_width`), which no stride divides. Their
    values are in `value_range`, or 0..255.
    """
    height, width = model.input_shape[1:3]
    shape = (2, height or 65, width or 97 + extra_width, model.input_shape[-1])
    return noise(shape, value_range)


def checked_size(owner: str, model, size) -> tuple[int, int] | None:
    """Return (H, W) of the images of an export, or None for any size.

    Raises:
        ValueError: `size` is not two positive integers, or the model has another fixed size.
    """
    if size is None:
        return None
    height, width = checks.positive_ints(owner, "size", size)
    own = model.input_shape[1:3]
    if any(side not in (None, wanted) for side, wanted in zip(own, (height, width), strict=True)):
        raise ValueError(
            f"{owner}: got size={(height, width)} for a model with the fixed size {own}. Pass that "
            "size, or build the model with input_shape=(None, None, channels)."
        )
    return height, width


def checked_file_size(owner: str, model, size) -> tuple[int, int] | None:
    """Return (H, W) of the images that a file takes, or None for any size; detectors need one.

    Raises:
        ValueError: see `checked_size`, or a detector that takes images of any size has no `size`.
    """
    if size is None and has_detections(model):
        size = model.input_shape[1:3]
        if None in size:
            raise ValueError(
                f"{owner}: got the detector {model.name!r} without `size`. In this format "
                "detectors take images of one size: pass size=(height, width)."
            )
    return checked_size(owner, model, size)


def require_model_outputs(model, run, path, size=None, value_range=None) -> None:
    """Raise a RuntimeError unless an exported file gives the model's outputs on odd-sized noise.

    Args:
        model: the Keras model.
        run: function of images (B, H, W, C) that runs the file.
        path: of the file, for the message.
        size: (H, W) that the file takes; None for any size.
        value_range: (low, high) of the noise; None for 0..255.
    """
    images = noise_images(model, value_range=value_range).astype(np.float32)
    if size is not None:
        images = noise((2, *size, model.input_shape[-1]), value_range).astype(np.float32)
    expected = keras_runner(in_float32(model))(images)
    if has_detections(model):
        require_matches(expected, run(images), path, MIN_MATCHES)
    else:
        require_close(expected, run(images), path, MIN_AGREEMENT, MAX_DIFFERENCE)


def require_close(
    expected: dict,
    found: dict,
    source,
    min_agreement: float,
    max_difference: float,
) -> None:
    """Raise a RuntimeError unless outputs equal those of the model up to rounding.

    Args:
        expected: dict of "class_ids" and "probabilities".
        found: the same; "probabilities" may be missing.
        source: what gave the outputs, for the message.
        min_agreement: minimum fraction of equal class ids.
        max_difference: the difference of probabilities must be below.
    """
    agreement = float(np.mean(np.asarray(found["class_ids"]) == np.asarray(expected["class_ids"])))
    difference = 0.0
    if "probabilities" in found:
        difference = float(np.abs(found["probabilities"] - expected["probabilities"]).max())
    # `not <` also catches NaN
    if agreement < min_agreement or not difference < max_difference:
        raise RuntimeError(
            f"The export at {source} agrees with the model on {agreement:.2%} of the pixels, and "
            f"its probabilities differ by up to {difference:.2g}; expected at least "
            f"{min_agreement:.1%} and less than {max_difference:.2g}."
        )
