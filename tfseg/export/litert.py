"""LiteRT (TensorFlow Lite) files for phones and other small devices."""

import os
import re
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from tfseg import checks
from tfseg.export.detection_outputs import has_detections
from tfseg.export.detection_parity import MIN_MATCHES, require_matches
from tfseg.export.flattening import in_float32
from tfseg.export.folding import fold_batch_norm, inference_function
from tfseg.export.int8_images import resize_image, split_samples
from tfseg.export.litert_metadata import add_segmenter_metadata
from tfseg.export.parity import keras_runner, run_one_by_one
from tfseg.export.postprocess import with_class_ids
from tfseg.export.quantizing import equalize_concatenations, sensitive_layers
from tfseg.export.trained_range import checked_range, range_to_serve, serves_uint8
from tfseg.export.verify import check_export, checked_file_size
from tfseg.files import atomic_write

QUANTIZE = (None, "float16", "dynamic", "int8")
MIN_AGREEMENT = {None: 0.999, "float16": 0.98}  # not 1: ties between classes may break either way
WARN_BELOW = 0.99  # agreement of an 8-bit file


def litert(
    model: keras.Model,
    file: str | Path,
    quantize: str | None = None,
    samples=None,
    size: tuple[int, int] | None = None,
    class_names=None,
    value_range: tuple[float, float] | None = None,
) -> Path:
    """Write a model as a LiteRT file that takes any batch size, height and width the model takes.

    The input is `image` (B, H, W, C) float32 in the range the model was trained on (0..255), the
    outputs are `class_ids` and `probabilities`. The file is compared with the model before it
    appears.

    With `size` the file takes one image (1, H, W, C) at a time and all shapes in it are known: it
    runs faster, in particular in int8, and on delegates of GPUs and Edge TPUs. Its only output is
    `probabilities` (1, H, W, classes), and it contains the metadata with which MediaPipe's
    ImageSegmenter takes it, unless the model was trained on other values than 0..255.

    A detector needs `size` and stays in float32. Its outputs are those of `onnx`.

    Args:
        model: a trained model of `tfseg.models`.
        file: path that ends in ".tflite". The folder is created; an existing file is replaced.
        quantize: None for float32; "float16" for weights of half the size; "dynamic" for int8
            weights, with activations quantized at run time; "int8" for int8 weights and
            activations, the fastest on phones. With int8, a model built with
            normalization="image" is less accurate on dark images.
        samples: iterable of typical images (H, W, C) in `value_range`. "int8" calibrates the ranges
            of the activations on up to 100 of them and is compared with the model on up to 10
            others: pass about 110 diverse images. The other files are compared on up to ten;
            without samples, on a generated pattern. With `size` they are resized to it.
        size: (H, W) of the images; None for any size.
        class_names: names of the classes, for the metadata with `size`; numbers if None.
        value_range: (low, high), the smallest and largest value in the images that the model was
            trained on, for the generated pattern and the metadata; None for 0..255.

    Returns:
        pathlib.Path of the file.

    Raises:
        ValueError: an argument is unknown or does not fit the model, or LiteRT lacks an operation.
        RuntimeError: a float32 or float16 file gives other class ids than the model.
        ImportError: ai-edge-litert, which runs the file, is not installed.

    Warns:
        UserWarning: an 8-bit file agrees with the model on less than 99% of the pixels. It is kept.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.unet(2, filters=(2, 4))
        >>> tfseg.export.litert(model, "leaves.tflite").name
        'leaves.tflite'
    """
    checks.one_of("litert", "quantize", quantize, QUANTIZE)
    check_export("litert", model, file, ".tflite")
    size = checked_file_size("litert", model, size)
    _require_float32_detector(model, quantize)
    value_range = checked_range("litert", value_range)
    calibration, compared = _checked_images(model, quantize, samples, size, value_range)
    _interpreter_class()  # fail before the conversion, which can take minutes
    folded_model = fold_batch_norm(model, size=size)
    if quantize == "int8":
        equalize_concatenations(folded_model, calibration)
    with atomic_write(file) as path:
        content = _convert(folded_model, quantize, calibration)
        if size is not None and _suits_segmenter(model, value_range):
            content = add_segmenter_metadata(content, model, class_names)
        path.write_bytes(content)
        if has_detections(model):
            _compare_detections(model, path, compared)
        else:
            _compare(model, folded_model, path, quantize, compared)
    return Path(file)


def litert_runner(file: str | Path, threads: int = 2):
    """Return a function of images (B, H, W, C) that runs a LiteRT file.

    Args:
        file: a file that `litert` wrote.
        threads: number of CPU threads.

    Returns:
        function of an array (B, H, W, C) -> dict with "class_ids" and "probabilities", or with the
        outputs of a detector. It raises a ValueError if the shape does not fit the file or the
        array is empty. A file of fixed size is run once per image.

    Raises:
        ValueError: the file is not a LiteRT file.
    """
    threads = checks.positive_int("litert_runner", "threads", threads)
    interpreter = _interpreter_class()(os.fspath(file), num_threads=threads)
    (image,) = interpreter.get_input_details()
    outputs = interpreter.get_signature_runner().get_output_details()
    is_static = -1 not in image["shape_signature"]
    shape = None

    def run(images):
        images = np.asarray(images, np.float32)
        if not images.size:  # LiteRT's own error would name an internal node
            raise ValueError(
                f"litert_runner: got images of shape {images.shape}, expected at least one pixel."
            )
        return run_one_by_one(run_batch, images) if is_static else run_batch(images)

    def run_batch(images):
        nonlocal shape
        if images.shape != shape:  # allocation is slow
            shape = None
            _check_shape(images.shape, image["shape_signature"], "litert_runner", "images")
            interpreter.resize_tensor_input(image["index"], images.shape)
            interpreter.allocate_tensors()
            shape = images.shape
        interpreter.set_tensor(image["index"], images)
        interpreter.invoke()
        found = {name: interpreter.get_tensor(output["index"]) for name, output in outputs.items()}
        return with_class_ids(found)

    return run


def _require_float32_detector(model, quantize):
    """Raise a ValueError if a detector would be quantized."""
    if quantize is not None and has_detections(model):
        raise ValueError(
            f"litert: got quantize={quantize!r} for the detector {model.name!r}. Rounding would "
            "move its boxes: write it in float32, quantize=None."
        )


def _suits_segmenter(model, value_range):
    """Whether MediaPipe's ImageSegmenter can take a file: class ids per pixel of 8-bit images."""
    if has_detections(model) or len(model.output_shape) != 4:
        return False
    return serves_uint8(range_to_serve(model, value_range))


def _interpreter_class():
    return checks.require_package("ai_edge_litert.interpreter", "litert").Interpreter


def _checked_images(model, quantize, samples, size, value_range):
    """Return the images for calibration and those for comparison, two lists."""
    calibration, compared = [], []
    if samples is not None:
        calibration, compared = split_samples(samples)
    if quantize == "int8" and not calibration:
        raise ValueError(
            "litert: got quantize='int8' without `samples`, which calibrate the ranges of the "
            "activations. Pass about a hundred typical images (H, W, C)."
        )
    calibration = [_checked_image(model, image, size) for image in calibration]
    compared = [_checked_image(model, image, size) for image in compared]
    pattern = _pattern(model, value_range)
    return calibration, compared or [_checked_image(model, pattern, size)]


def _checked_image(model, image, size):
    """Return an image (H, W, C) as an array, resized to `size` unless that is None."""
    image = np.asarray(image)
    if size is None:
        _check_shape(image.shape, model.input_shape[1:], "litert", "samples")
        return image
    _check_shape(image.shape, (None, None, model.input_shape[-1]), "litert", "samples")
    return resize_image(image, size)


def _check_shape(shape, expected, owner, argument):
    """Raise a ValueError unless `shape` fits `expected`, where None and -1 match any size."""
    sizes = ["any" if size in (None, -1) else int(size) for size in expected]
    fits = len(shape) == len(sizes) and all(
        want in ("any", have) for have, want in zip(shape, sizes, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{owner}: got {argument} of shape {tuple(shape)}, expected "
            f"({', '.join(map(str, sizes))}). Read files with "
            "`tfseg.data.read_image(file, channels=...)`, or resize with `tfseg.data.Resize`."
        )


def _pattern(model, value_range):
    """Return an odd-sized image (H, W, C) of waves of several lengths, as in natural images."""
    low, high = value_range or (0, 255)
    height, width = model.input_shape[1:3]
    y, x, c = np.mgrid[: height or 65, : width or 97, : model.input_shape[-1]]
    waves = sum(np.sin(x / length + 2 * c) + np.cos(y / length - c) for length in (1, 3, 9, 27))
    fractions = 0.5 + 0.5 * waves / np.abs(waves).max()
    return (low + (high - low) * fractions).astype(np.float32)


def _convert(folded_model, quantize, images):
    """Return the bytes of a LiteRT file."""
    serve = inference_function(folded_model)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], tf.Module()
    )
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":

        def calibration():
            for image in images:
                yield [image[None].astype(np.float32)]

        converter.representative_dataset = calibration
        # operations without an integer version, such as the cast of class ids, stay as they are
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    try:
        return converter.convert()
    except (ConverterError, RuntimeError) as error:  # calibration raises the latter
        raise ValueError(_conversion_message(folded_model, str(error))) from error


def _conversion_message(model, text):
    """Return a one-line message for an error of the converter or of the interpreter."""
    missing = sorted(set(re.findall(r"'(tf\.\w+)' op is neither", text)))
    if missing:
        reason = f"LiteRT does not support {', '.join(missing)}"
    else:
        reason = f"LiteRT reports: {text.strip().splitlines()[0].rstrip('.')}"
    return (
        f"litert: the model {model.name!r} cannot be converted. {reason}. "
        "Export it as ONNX or as a SavedModel."
    )


def _compare(model, folded_model, file, quantize, images):
    """Raise a RuntimeError, or for 8 bits warn, if the class ids are not those of the model."""
    agreement = _agreement(model, file, images)
    message = (
        f"litert: quantize={quantize!r} agrees with the model on {agreement:.2%} of the pixels "
        f"of {len(images)} images"
    )
    if agreement < MIN_AGREEMENT.get(quantize, 0):
        raise RuntimeError(f"{message}; the file was not written.")
    if quantize in MIN_AGREEMENT or agreement >= WARN_BELOW:
        return
    worst = ""
    if quantize == "int8":
        losses = sensitive_layers(folded_model, images[:2])[:3]
        listed = ", ".join(f"{name} ({loss:.2%})" for name, loss in losses)
        worst = f" The most sensitive layers are {listed}."
    warnings.warn(
        f"{message}.{worst} The file was written; 'float16' is more accurate.", stacklevel=3
    )


def _compare_detections(model, file, images):
    """Raise a RuntimeError if the detections of a file are not those of the model."""
    run = litert_runner(file)
    reference = in_float32(model)
    for image in images:
        expected = reference(image[None], training=False)
        require_matches(expected, run(image[None]), file, MIN_MATCHES)


def _agreement(model, file, images):
    """Return the fraction of pixels on which a file and the model agree."""
    run = litert_runner(file)
    reference = keras_runner(in_float32(model))
    try:
        found = [run(image[None])["class_ids"] for image in images]
    except RuntimeError as error:
        raise ValueError(_conversion_message(model, str(error))) from error
    expected = [reference(image[None])["class_ids"] for image in images]
    equal = [(f == e).ravel() for f, e in zip(found, expected, strict=True)]
    return float(np.mean(np.concatenate(equal)))
