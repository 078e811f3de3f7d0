"""LiteRT, ONNX and OpenVINO files whose images have one size."""

import io
import json
import zipfile

import flatbuffers
import keras
import numpy as np
import pytest
from export.informative_models import one_conv
from flatbuffers.table import Table

from tfseg.export import (
    inspect,
    keras_runner,
    litert,
    litert_runner,
    onnx,
    onnx_runner,
    openvino,
    openvino_runner,
    saved_model,
)
from tfseg.models import unet
from tfseg.models.decoders import PoolToBins, ResizeLike

SIZE = (32, 48)
WRITE = {"tflite": litert, "onnx": onnx, "xml": openvino}
RUN = {"tflite": litert_runner, "onnx": onnx_runner, "xml": openvino_runner}


def images_of(count, height=32, width=48, channels=3):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, height, width, channels)).astype(np.float32)


@pytest.fixture(scope="module")
def files(unet_model, tmp_path_factory):
    """{suffix: file}."""
    folder = tmp_path_factory.mktemp("fixed")
    return {
        suffix: write(unet_model, folder / f"m.{suffix}", size=SIZE)
        for suffix, write in WRITE.items()
    }


@pytest.mark.parametrize("suffix", WRITE)
def test_a_file_of_fixed_size_agrees_with_the_model(suffix, files, unet_model):
    run = RUN[suffix](files[suffix])
    for count in (1, 3):  # one after the other
        found, expected = run(images_of(count)), keras_runner(unet_model)(images_of(count))
        assert found["class_ids"].dtype == np.uint8
        assert np.mean(found["class_ids"] == expected["class_ids"]) > 0.999
        np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-4)


@pytest.mark.parametrize("suffix", WRITE)
def test_a_sigmoid_of_fixed_size_gives_class_ids(suffix, tmp_path):
    model = one_conv(1, (None, None, 1))
    file = WRITE[suffix](model, tmp_path / f"m.{suffix}", size=(9, 13))
    images = images_of(2, 9, 13, 1)
    found, expected = RUN[suffix](file)(images), keras_runner(model)(images)
    assert 0 < found["class_ids"].mean() < 1
    assert np.array_equal(found["class_ids"], expected["class_ids"])


def test_a_litert_file_of_fixed_size_is_static(files):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(files["tflite"]))
    (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert image["shape_signature"].tolist() == [1, 32, 48, 3]
    assert output["shape_signature"].tolist() == [1, 32, 48, 3]
    assert output["dtype"] == np.float32
    for tensor in interpreter.get_tensor_details():
        assert -1 not in tensor["shape_signature"]
    operations = {op["op_name"] for op in interpreter._get_ops_details()}
    # what reads shapes while it runs, or has integers, stops delegates of GPUs
    assert not operations & {"SHAPE", "STRIDED_SLICE", "ARG_MAX", "PACK", "WHILE"}


def test_opencv_runs_an_onnx_file_of_fixed_size(files, unet_model):
    cv2 = pytest.importorskip("cv2")
    network = cv2.dnn.readNetFromONNX(str(files["onnx"]))
    network.setInput(images_of(1))
    found = network.forward("probabilities")
    expected = keras_runner(unet_model)(images_of(1))["probabilities"]
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-4)


def test_an_onnx_file_of_fixed_size_computes_no_shapes(tmp_path):
    import onnx as format_onnx

    image = keras.Input((None, None, 3))
    pooled = PoolToBins(2)(image / 255)
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(ResizeLike()(pooled, image)))
    file = onnx(model, tmp_path / "m.onnx", size=(9, 13))
    assert list(tmp_path.iterdir()) == [file]
    proto = format_onnx.load(file)
    assert not {node.op_type for node in proto.graph.node} & {"Shape", "Gather", "Range"}
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    assert [prop.key for prop in proto.metadata_props] == ["class_names"]


@pytest.mark.parametrize("suffix", WRITE)
def test_other_sizes_than_the_models_own_are_refused(suffix, fixed_size_model, tmp_path):
    message = r"got size=\(32, 32\) for a model with the fixed size \(32, 48\)"
    with pytest.raises(ValueError, match=message):
        WRITE[suffix](fixed_size_model, tmp_path / f"m.{suffix}", size=(32, 32))
    assert list(tmp_path.iterdir()) == []


def test_an_int8_file_of_fixed_size_takes_samples_of_other_sizes(tmp_path):
    samples = [image for size in (40, 64) for image in images_of(3, size, 50)]
    file = litert(one_conv(), tmp_path / "m.tflite", "int8", samples, size=SIZE)
    found = litert_runner(file)(images_of(2))["class_ids"]
    assert np.mean(found == keras_runner(one_conv())(images_of(2))["class_ids"]) > 0.9


def test_formats_of_a_saved_model_have_the_size_and_the_names(tmp_path):
    names = ["sky", "road", "Möwe"]
    version = saved_model(
        one_conv(),
        tmp_path,
        metadata={"class_names": names},
        formats=("litert", "onnx"),
        images=list(images_of(2, 40, 60)),
        size=SIZE,
    )
    folder = version / "assets.extra"
    assert onnx_runner(folder / "model.onnx")(images_of(1))["class_ids"].shape == (1, *SIZE)
    with zipfile.ZipFile(folder / "model.tflite") as archive:
        assert archive.read("labels.txt").decode().split("\n") == names
    assert [row["format"] for row in inspect(version)["parity"]][2:] == ["litert", "onnx"]


def test_an_onnx_file_contains_the_class_names(tmp_path):
    import onnxruntime

    for names, expected in ((["a", "b", "c"], ["a", "b", "c"]), (None, ["0", "1", "2"])):
        file = onnx(one_conv(), tmp_path / "m.onnx", class_names=names)
        properties = onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map
        assert json.loads(properties["class_names"]) == expected
    with pytest.raises(ValueError, match="onnx: got 2 class names"):
        onnx(one_conv(), tmp_path / "m.onnx", class_names=["a", "b"])


class Reader:
    """Reads a table of a FlatBuffers file by field numbers, independently of the writer."""

    def __init__(self, data, position=None):
        if position is None:
            position = int.from_bytes(data[:4], "little")
        self.table = Table(data, position)

    def _at(self, field):
        offset = self.table.Offset(4 + 2 * field)
        assert offset, f"field {field} is missing"
        return offset + self.table.Pos

    def byte(self, field):
        return self.table.Get(flatbuffers.number_types.Uint8Flags, self._at(field))

    def text(self, field):
        return self.table.String(self._at(field)).decode()

    def child(self, field):
        return Reader(self.table.Bytes, self.table.Indirect(self._at(field)))

    def children(self, field):
        start = self.table.Vector(self._at(field) - self.table.Pos)
        count = self.table.VectorLen(self._at(field) - self.table.Pos)
        positions = [self.table.Indirect(start + 4 * index) for index in range(count)]
        return [Reader(self.table.Bytes, position) for position in positions]

    def numbers(self, field, dtype):
        start = self.table.Vector(self._at(field) - self.table.Pos)
        count = self.table.VectorLen(self._at(field) - self.table.Pos)
        return np.frombuffer(self.table.Bytes, dtype, count, start).tolist()


def metadata_of(file):
    """Return the buffer TFLITE_METADATA of a LiteRT file."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(file))
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    return bytes(model.buffers[entry.buffer].data)


def test_litert_metadata_is_what_mediapipe_reads(tmp_path):
    model = unet(1, filters=(2, 4))
    file = litert(model, tmp_path / "m.tflite", size=(16, 16), class_names=["leaf"])
    data = metadata_of(file)
    assert data[4:8] == b"M001"
    (subgraph,) = Reader(data).children(3)
    (image,), (output,) = subgraph.children(2), subgraph.children(3)
    content, (unit,) = image.child(3), image.children(4)
    assert content.byte(0) == 2  # ImageProperties
    assert content.child(1).byte(0) == 1  # RGB
    assert unit.byte(0) == 1  # NormalizationOptions
    assert unit.child(1).numbers(0, "<f4") == [0]
    assert unit.child(1).numbers(1, "<f4") == [1]
    (labels,) = output.children(6)
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    (options,) = subgraph.children(9)
    assert options.text(0) == "SEGMENTER_METADATA"
    options = bytes(options.numbers(1, "u1"))
    assert options[4:8] == b"V001"
    with pytest.raises(AssertionError, match="field 0 is missing"):
        Reader(options).byte(0)  # the default, no activation
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
        assert archive.read("labels.txt") == b"leaf"
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED


@pytest.mark.parametrize(("value_range", "has_metadata"), [((3, 200), True), ((0, 4095), False)])
def test_only_models_of_8_bits_have_metadata_for_mediapipe(value_range, has_metadata, tmp_path):
    images = images_of(1) * value_range[1] / 255
    options = {"formats": ("litert",), "images": images, "size": SIZE, "value_range": value_range}
    version = saved_model(one_conv(), tmp_path, **options)
    assert zipfile.is_zipfile(version / "assets.extra/model.tflite") == has_metadata


def test_a_file_of_any_size_has_no_metadata_for_mediapipe(tmp_path):
    # MediaPipe would resize images to 1 x 1
    file = litert(one_conv(), tmp_path / "m.tflite")
    assert not zipfile.is_zipfile(file)
