"""TF Serving's warm-up requests, read with message types made from its published .proto files."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tfseg.export import saved_model
from tfseg.export.warmup import FILE
from tfseg.models import unet

# of tensorflow_serving/apis/{prediction_log,predict,model}.proto: {message: {field: (number, type)}}
MESSAGES = {
    "ModelSpec": {"name": (1, str), "signature_name": (3, str)},
    "Entry": {"key": (1, str), "value": (2, "tensorflow.TensorProto")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, ["Entry"])},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
}


@pytest.fixture(scope="module")
def prediction_log():
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="warmup_test.proto", package="test", syntax="proto3"
    )
    file.dependency.append("tensorflow/core/framework/tensor.proto")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label = kinds.LABEL_REPEATED if isinstance(kind, list) else kinds.LABEL_OPTIONAL
            kind = kind[0] if isinstance(kind, list) else kind
            if kind is str:
                message.field.add(name=field, number=number, label=label, type=kinds.TYPE_STRING)
            else:
                full = f".{kind}" if "." in kind else f".test.{kind}"
                message.field.add(
                    name=field, number=number, label=label, type=kinds.TYPE_MESSAGE, type_name=full
                )
    tf.make_tensor_proto(0)  # registers tensor.proto
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.PredictionLog"))


@pytest.mark.parametrize("shape", [(None, None, 3), (32, 48, 1)])
def test_every_signature_answers_its_request(shape, tmp_path, prediction_log):
    version = saved_model(unet(3, shape, filters=(4, 8)), tmp_path)
    signatures = tf.saved_model.load(str(version)).signatures
    records = [bytes(record.numpy()) for record in tf.data.TFRecordDataset(str(version / FILE))]
    requests = [prediction_log.FromString(record).predict_log.request for record in records]
    assert {request.model_spec.signature_name for request in requests} == set(signatures)
    for request in requests:
        inputs = {entry.key: tf.constant(tf.make_ndarray(entry.value)) for entry in request.inputs}
        answers = signatures[request.model_spec.signature_name](**inputs)
        if "ok" in answers:
            assert answers["ok"].numpy().all()
        else:
            assert answers["class_ids"].shape == (1, *[side or 256 for side in shape[:2]])


def test_what_was_not_understood_would_show(prediction_log, tmp_path):
    version = saved_model(unet(3, filters=(4, 8)), tmp_path)
    for record in tf.data.TFRecordDataset(str(version / FILE)):
        log = prediction_log.FromString(record.numpy())
        entry = log.predict_log.request.inputs[0]
        assert entry.key in ("image", "image_bytes")
        assert np.prod(tf.make_ndarray(entry.value).shape) > 0
