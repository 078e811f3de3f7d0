"""LiteRT (TensorFlow Lite) files, for phones and other small machines."""

import os
import re
import warnings

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from tfseg import checks
from tfseg.export.folding import fold_batch_norm
from tfseg.export.parity import keras_runner
from tfseg.export.quantizing import equalize_joins, sensitive_layers
from tfseg.export.verify import answering, beside, check_export

QUANTIZE = (None, "float16", "dynamic", "int8")
AGREEMENT = {None: 0.999, "float16": 0.98}  # ties may fall either way
ENOUGH = 0.99  # of a file in eight bits, before its user is warned
COMPARED = 10  # images


def litert(model, file, quantize=None, samples=None):
    """Write a model as a LiteRT file that takes images of any batch, height and width the model takes.

    Its signature is that of every export: "image" (B, H, W, C) float32 in 0..255 -> "class_ids" and "probabilities".
    The file is compared with the model before it gets its name. One of a model built for a single height and width is
    faster, most of all in int8.

    Args:
        model: a trained model of `tfseg.models`.
        file: ends in ".tflite"; its folder is made if need be, and a file of that name replaced.
        quantize: None for float32; "float16" for weights of half the size; "dynamic" for weights in int8, their
            products rounded as they come; "int8" for activations in int8 too, which is the fastest on phones. A model
            that normalizes each image by itself is then less exact on dim images.
        samples: iterable of images (H, W, C) in 0..255 as they will come. "int8" finds the ranges of the activations
            with all of them: about a hundred, of all kinds, not of one street. Up to ten, evenly chosen, are compared;
            without samples a drawn pattern is.

    Returns:
        pathlib.Path of the file.

    Raises:
        ValueError: an argument is unknown or does not fit the model, or the converter lacks an operation.
        RuntimeError: the file, in float32 or float16, gives other answers than the model.
        ImportError: the package ai-edge-litert, which runs the file, is missing.

    Warns:
        UserWarning: the file, in eight bits, agrees with the model on less than 0.99 of the pixels. It is kept.
    """
    checks.one_of("litert", "quantize", quantize, QUANTIZE)
    check_export("litert", model, file, ".tflite")
    images = _checked(model, quantize, samples)
    _interpreter()  # before minutes of work
    folded_model = fold_batch_norm(model)
    if quantize == "int8":
        equalize_joins(folded_model, images)
    with beside(file) as path:
        path.write_bytes(_converted(folded_model, quantize, images))
        _compare(model, folded_model, path, quantize, images[:: -(-len(images) // COMPARED)])
        return path.replace(file)


def litert_runner(file, threads=2):
    """Return the function of (B, H, W, C) images that gives a LiteRT file's answers as a dict of arrays.

    Args:
        file: of `litert`.
        threads: of the processor.

    Raises:
        ValueError: the file cannot be read; later, images of another shape than it takes, or no pixel.
    """
    threads = checks.positive_int("litert_runner", "threads", threads)
    interpreter = _interpreter()(os.fspath(file), num_threads=threads)
    (image,) = interpreter.get_input_details()
    outputs = interpreter.get_signature_runner().get_output_details()
    shape = None

    def run(images):
        nonlocal shape
        images = np.asarray(images, np.float32)
        if not images.size:  # LiteRT would tell of a node that failed to prepare
            raise ValueError(
                f"litert_runner: images of shape {images.shape} came, expected at least one pixel."
            )
        if images.shape != shape:  # to allocate memory anew takes a while
            shape = None
            _check_shape(images.shape, image["shape_signature"], "litert_runner", "images")
            interpreter.resize_tensor_input(image["index"], images.shape)
            interpreter.allocate_tensors()
            shape = images.shape
        interpreter.set_tensor(image["index"], images)
        interpreter.invoke()
        return {name: interpreter.get_tensor(output["index"]) for name, output in outputs.items()}

    return run


def _interpreter():
    return checks.require_package("ai_edge_litert.interpreter", "litert").Interpreter


def _checked(model, quantize, samples):
    """Return the images, as a list, to find ranges with and to compare on."""
    images = [np.asarray(image) for image in (() if samples is None else samples)]
    if quantize == "int8" and not images:
        raise ValueError(
            "litert: quantize='int8' came without samples. The ranges of the activations are found with them: pass "
            "`samples`, about a hundred images (H, W, C) as they will come."
        )
    for image in images:
        _check_shape(image.shape, model.input_shape[1:], "litert", "samples")
    return images or [_pattern(model)]


def _check_shape(shape, expected, owner, argument):
    """Raise a ValueError unless a shape is the expected one, where None and -1 stand for any size."""
    free = [want in (None, -1) for want in expected]
    if len(shape) != len(expected) or any(
        have != want
        for have, want, any_size in zip(shape, expected, free, strict=True)
        if not any_size
    ):
        takes = ", ".join(
            "any" if any_size else str(want) for want, any_size in zip(expected, free, strict=True)
        )
        raise ValueError(
            f"{owner}: {argument} of shape {tuple(shape)} came; the model takes ({takes}). "
            "`tfseg.data.read_image(file, channels=...)` reads files so, `tfseg.data.Resize` changes their size."
        )


def _pattern(model):
    """Return an image (H, W, C) of odd size, with waves of every length in it, as images have them."""
    height, width = (size or 65 + 32 * i for i, size in enumerate(model.input_shape[1:3]))
    y, x, c = np.mgrid[:height, :width, : model.input_shape[-1]]
    waves = sum(np.sin(x / length + 2 * c) + np.cos(y / length - c) for length in (1, 3, 9, 27))
    return (127.5 + 127.5 * waves / np.abs(waves).max()).astype(np.float32)


def _converted(model, quantize, images):
    """Return the bytes of the LiteRT file of a model of `fold_batch_norm`."""
    serve = answering(model)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], tf.Module()
    )
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.representative_dataset = lambda: (
            [image[None].astype(np.float32)] for image in images
        )
        # what has no integer form, such as the types of class ids, stays as it is
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    try:
        return converter.convert()
    except (ConverterError, RuntimeError) as error:  # the latter while it finds ranges
        raise ValueError(_refusal(model, str(error))) from error


def _refusal(model, text):
    """Return what an error of the converter, or of what it wrote, says, in a line."""
    lacking = sorted(set(re.findall(r"'(tf\.\w+)' op is neither", text)))
    first, *_ = text.strip().splitlines()
    what = f"LiteRT has no {', '.join(lacking)}" if lacking else f"LiteRT says: {first.rstrip('.')}"
    return f"litert: the model {model.name!r} cannot be converted. {what}. Export it as ONNX or as a SavedModel."


def _compare(model, folded_model, file, quantize, images):
    """Raise a RuntimeError, or in eight bits warn, if a file's classes are not the model's; `folded_model` was converted."""
    run, expected = litert_runner(file), keras_runner(model)
    try:
        found = [run(x[None])["class_ids"] for x in images]
    except RuntimeError as error:
        raise ValueError(_refusal(model, str(error))) from error
    same = [f == expected(x[None])["class_ids"] for f, x in zip(found, images, strict=True)]
    agreement = float(np.mean(np.concatenate([s.ravel() for s in same])))
    told = f"litert: quantize={quantize!r} agrees with the model on {agreement:.2%} of the pixels of {len(images)} images"
    if agreement < AGREEMENT.get(quantize, 0):
        raise RuntimeError(f"{told}; nothing was written.")
    if quantize in AGREEMENT or agreement >= ENOUGH:
        return
    worst = ""
    if quantize == "int8":
        layers = sensitive_layers(folded_model, images[:2])[:3]
        worst = (
            " Most is lost in " + ", ".join(f"{name} ({loss:.2%})" for name, loss in layers) + "."
        )
    warnings.warn(f"{told}.{worst} The file was written; 'float16' loses less.", stacklevel=3)
