"""Warm-up requests, which TF Serving runs after loading so that the first answer is fast."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfseg.export.encoded_client import encode_png
from tfseg.export.trained_range import image_dtype, serves_files, serves_uint8

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
WARMUP_SIDE = 256


def warmup_image(model, value_range):
    """Return a gray image (1, H, W, C) at the model's size or a typical one.

    Args:
        model: keras.Model.
        value_range: result of `range_to_serve`.
    """
    height, width = model.input_shape[1:3]
    shape = (1, height or WARMUP_SIDE, width or WARMUP_SIDE, model.input_shape[-1])
    return np.full(shape, 127, image_dtype(value_range))


def image_requests(model, value_range) -> list[tuple[str, dict]]:
    """Return a request (signature, {input: array}) for every signature that takes images.

    Args:
        model, value_range: see `warmup_image`.
    """
    image = warmup_image(model, value_range)
    requests = [("serving_default", {"image": image.astype(np.float32)})]
    if serves_uint8(value_range):
        requests.append(("uint8", {"image": image}))
    if serves_files(model, value_range):
        requests.append(("encoded", {"image_bytes": np.array([encode_png(image[0])], object)}))
    return requests


def write_warmup(version: Path, requests: list[tuple[str, dict]]) -> None:
    """Write the warm-up requests of a SavedModel: a TFRecord of `tensorflow.serving.PredictionLog`.

    Args:
        version: folder of the SavedModel.
        requests: list of (signature, {input: array}).
    """
    path = version / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            writer.write(_prediction_log(signature, inputs))


def _prediction_log(signature, inputs):
    # Four nested messages of TF Serving, encoded here to avoid its package, which requires gRPC.
    model_spec = _field(3, signature.encode())  # ModelSpec.signature_name
    request = _field(1, model_spec)  # PredictRequest.model_spec
    for name, array in inputs.items():
        tensor = tf.make_tensor_proto(array).SerializeToString()
        entry = _field(1, name.encode()) + _field(2, tensor)  # key, value
        request += _field(2, entry)  # PredictRequest.inputs
    predict_log = _field(1, request)  # PredictLog.request
    return _field(6, predict_log)  # PredictionLog.predict_log


def _field(number, payload):
    """Encode a protobuf field whose value is bytes: a string or another message."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(number):
    """Encode a non-negative integer with 7 bits per byte, low bits first: 300 -> ac 02."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
