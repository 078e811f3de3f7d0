"""Requests that TF Serving sends itself after loading, so that the first answer is as fast as the hundredth."""

import tensorflow as tf

FILE = "assets.extra/tf_serving_warmup_requests"


def write_warmup(version, requests):
    """Write the warm-up requests of a SavedModel: a TFRecord of `tensorflow.serving.PredictionLog`.

    Args:
        version: folder of the SavedModel.
        requests: list of (signature, {input: array}).
    """
    path = version / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            writer.write(_prediction_log(signature, inputs))


def _prediction_log(signature, inputs):
    # Four nested messages of TF Serving's, written out here so that its package, which brings gRPC, is not needed.
    model_spec = _field(3, signature.encode())  # ModelSpec.signature_name
    request = _field(1, model_spec)  # PredictRequest.model_spec
    for name, array in inputs.items():
        tensor = tf.make_tensor_proto(array).SerializeToString()
        request += _field(
            2, _field(1, name.encode()) + _field(2, tensor)
        )  # PredictRequest.inputs: key, value
    return _field(6, _field(1, request))  # PredictionLog.predict_log, PredictLog.request


def _field(number, payload):
    """A field of a protobuf message whose value is bytes: text, or another message."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(number):
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
