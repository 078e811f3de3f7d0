"""Warm-up requests, which TF Serving runs after loading so that the first answer is fast."""

from pathlib import Path

import tensorflow as tf

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"


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
