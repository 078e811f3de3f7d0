"""Metadata of LiteRT files, with which MediaPipe's ImageSegmenter takes them.

The format is the FlatBuffers schema `metadata_schema.fbs` of MediaPipe Tasks. Its tables are
written by field number here, to avoid a package for them.
"""

import io
import zipfile

import flatbuffers
import numpy as np

from tfseg.export.metadata import class_names_of

METADATA_ID, SEGMENTER_ID = b"M001", b"V001"
IMAGE_PROPERTIES, RGB, GRAYSCALE = 2, 1, 2
NORMALIZATION_OPTIONS = 1
AXIS_LABELS = 2
LABELS_FILE = "labels.txt"


def add_segmenter_metadata(content: bytes, model, class_names) -> bytes:
    """Return a LiteRT file with metadata for MediaPipe's ImageSegmenter.

    The image is RGB in 0..255, which the model normalizes itself. The output is probabilities,
    whose channels have the names of the classes.

    Args:
        content: bytes of a LiteRT file of fixed size with the single output `probabilities`.
        model: the Keras model.
        class_names: names of the classes; numbers if None.
    """
    # imports of TensorFlow's tools, which other exports do not need
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    names = class_names_of("litert", model, class_names)
    if model.output_shape[-1] == 1:
        names = names[1:]  # a single channel is the probability of class 1
    parsed = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(_metadata(model), np.uint8)
    entry.name, entry.buffer = "TFLITE_METADATA", len(parsed.buffers)
    parsed.buffers.append(buffer)
    parsed.metadata = [*(parsed.metadata or []), entry]
    file = io.BytesIO(bytes(flatbuffer_utils.convert_object_to_bytearray(parsed)))
    # MediaPipe finds the labels in an uncompressed ZIP archive behind the model
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(LABELS_FILE, "\n".join(" ".join(name.split()) for name in names))
    return file.getvalue()


def _metadata(model):
    """Return the table ModelMetadata as bytes."""
    builder = flatbuffers.Builder()
    subgraph = _table(
        builder,
        {
            2: _vector(builder, [_image_metadata(builder, model.input_shape[-1])]),
            3: _vector(builder, [_probabilities_metadata(builder)]),
            9: _vector(builder, [_segmenter_options(builder)]),
        },
    )
    name = builder.CreateString(model.name)
    subgraphs = _vector(builder, [subgraph])
    # 1.5.0 of the schema introduced the segmenter's own options
    version = builder.CreateString("1.5.0")
    builder.Finish(_table(builder, {0: name, 3: subgraphs, 7: version}), METADATA_ID)
    return bytes(builder.Output())


def _image_metadata(builder, channels):
    """Write the TensorMetadata of the image: values 0..255, used as they are."""
    color_space = {0: GRAYSCALE if channels == 1 else RGB}
    properties = _table(builder, {}, color_space)
    content = _table(builder, {1: properties}, {0: IMAGE_PROPERTIES})
    normalization = _table(builder, {0: _floats(builder, [0]), 1: _floats(builder, [1])})
    unit = _table(builder, {1: normalization}, {0: NORMALIZATION_OPTIONS})
    stats = _table(builder, {0: _floats(builder, [255]), 1: _floats(builder, [0])})
    name = builder.CreateString("image")
    units = _vector(builder, [unit])
    return _table(builder, {0: name, 3: content, 4: units, 5: stats})


def _probabilities_metadata(builder):
    """Write the TensorMetadata of the output, whose last axis has labels."""
    file_name = builder.CreateString(LABELS_FILE)
    labels = _table(builder, {0: file_name}, {2: AXIS_LABELS})
    name = builder.CreateString("probabilities")
    files = _vector(builder, [labels])
    return _table(builder, {0: name, 6: files})


def _segmenter_options(builder):
    """Write the CustomMetadata that no activation is left to apply."""
    options = flatbuffers.Builder()
    version = options.CreateString("1.0.0")
    options.Finish(_table(options, {1: version}), SEGMENTER_ID)
    data = bytes(options.Output())
    builder.StartVector(1, len(data), 16)  # the schema requires this alignment
    for byte in reversed(data):
        builder.PrependByte(byte)
    data = builder.EndVector()
    name = builder.CreateString("SEGMENTER_METADATA")
    return _table(builder, {0: name, 1: data})


def _table(builder, offsets, numbers=()):
    """Write a table and return its offset.

    Args:
        builder: flatbuffers.Builder.
        offsets: {field: offset of a string, vector or table}.
        numbers: {field: int of one byte}.
    """
    numbers = dict(numbers)
    builder.StartObject(max([*offsets, *numbers]) + 1)
    for field, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    for field, number in numbers.items():
        builder.PrependInt8Slot(field, number, 0)
    return builder.EndObject()


def _vector(builder, offsets):
    """Write a vector of tables and return its offset."""
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder, values):
    return builder.CreateNumpyVector(np.array(values, np.float32))
