"""TF Serving's warm-up requests, read with message types made from its published .proto files."""

import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tfseg.export.warmup import WARMUP_FILE

# tensorflow_serving/apis/{prediction_log,predict,model}.proto: {message: {field: (number, type)}}
MESSAGES = {
    "ModelSpec": {"name": (1, str), "signature_name": (3, str)},
    "Entry": {"key": (1, str), "value": (2, "tensorflow.TensorProto")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, ["Entry"])},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
}


@pytest.fixture(scope="module")
def prediction_log():
    """The message class PredictionLog, which ignores fields it does not know."""
    file = descriptor_pb2.FileDescriptorProto(
        name="warmup_test.proto", package="test", syntax="proto3"
    )
    file.dependency.append("tensorflow/core/framework/tensor.proto")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            add_field(message, field, number, kind)
    tf.make_tensor_proto(0)  # registers tensor.proto
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.PredictionLog"))


def add_field(message, name, number, kind):
    """Add a field: `kind` is str, a message name, or a list of a message name if repeated."""
    types = descriptor_pb2.FieldDescriptorProto
    label = types.LABEL_REPEATED if isinstance(kind, list) else types.LABEL_OPTIONAL
    kind = kind[0] if isinstance(kind, list) else kind
    if kind is str:
        message.field.add(name=name, number=number, label=label, type=types.TYPE_STRING)
    else:
        full_name = f".{kind}" if "." in kind else f".test.{kind}"
        message.field.add(
            name=name, number=number, label=label, type=types.TYPE_MESSAGE, type_name=full_name
        )


@pytest.mark.parametrize(
    ("fixture", "size"), [("unet_version", (256, 256)), ("fixed_size_version", (32, 48))]
)
def test_every_signature_answers_its_request(fixture, size, request, prediction_log):
    version = request.getfixturevalue(fixture)
    signatures = tf.saved_model.load(str(version)).signatures
    records = [rec.numpy() for rec in tf.data.TFRecordDataset(str(version / WARMUP_FILE))]
    requests = [prediction_log.FromString(record).predict_log.request for record in records]
    assert {request.model_spec.signature_name for request in requests} == set(signatures)
    for sent in requests:
        inputs = {entry.key: tf.constant(tf.make_ndarray(entry.value)) for entry in sent.inputs}
        assert set(inputs) in ({"image"}, {"image_bytes"})
        outputs = signatures[sent.model_spec.signature_name](**inputs)
        if "ok" in outputs:
            assert outputs["ok"].numpy().tolist() == [True]
        else:
            assert outputs["class_ids"].shape == (1, *size)
