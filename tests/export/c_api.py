"""A client of TensorFlow's C API, to prove a SavedModel outside Python: it imports neither TensorFlow nor Keras.

python c_api.py FOLDER < requests > answers

Requests are a pickled list of (signature, {input: array}). To each the answer is {output: array}, or the text of what
TensorFlow refused.
"""

import importlib.util
import math
import os
import pickle
import sys
from ctypes import CDLL, POINTER, RTLD_LOCAL, Structure, byref, memmove, string_at
from ctypes import c_char_p as text
from ctypes import c_int as int32
from ctypes import c_int64 as int64
from ctypes import c_size_t as size
from ctypes import c_void_p as pointer
from pathlib import Path

import numpy as np

DTYPES = {
    1: np.float32,
    4: np.uint8,
    9: np.int64,
    10: np.bool_,
    17: np.uint16,
}  # of c/tf_datatype.h
NUMBERS = {np.dtype(dtype): number for number, dtype in DTYPES.items()}
STRING = 7
STRING_BYTES = 24  # of a TF_TString


class Buffer(Structure):
    """TF_Buffer."""

    _fields_ = [("data", pointer), ("length", size), ("deallocator", pointer)]


class Output(Structure):
    """TF_Output: a tensor of a graph."""

    _fields_ = [("operation", pointer), ("index", int32)]


FUNCTIONS = {  # what each returns, and what it takes
    "TF_NewStatus": (pointer,),
    "TF_GetCode": (int32, pointer),
    "TF_Message": (text, pointer),
    "TF_NewGraph": (pointer,),
    "TF_GraphOperationByName": (pointer, pointer, text),
    "TF_NewSessionOptions": (pointer,),
    "TF_LoadSessionFromSavedModel": (
        *(pointer, pointer, pointer, text),  # session <- options, run options, folder
        *(
            POINTER(text),
            int32,
            pointer,
            POINTER(Buffer),
            pointer,
        ),  # tags, graph, MetaGraphDef, status
    ),
    "TF_SessionRun": (
        *(None, pointer, pointer),  # session, run options
        *(POINTER(Output), POINTER(pointer), int32),  # what is fed
        *(POINTER(Output), POINTER(pointer), int32),  # what is fetched
        *(pointer, int32, pointer, pointer),  # targets, metadata, status
    ),
    "TF_AllocateTensor": (pointer, int32, POINTER(int64), int32, size),
    "TF_DeleteTensor": (None, pointer),
    "TF_TensorType": (int32, pointer),
    "TF_NumDims": (int32, pointer),
    "TF_Dim": (int64, pointer, int32),
    "TF_TensorData": (pointer, pointer),
    "TF_TensorByteSize": (size, pointer),
    "TF_StringInit": (None, pointer),
    "TF_StringCopy": (None, pointer, text, size),
    "TF_StringDealloc": (None, pointer),
    "TF_StringGetDataPointer": (pointer, pointer),
    "TF_StringGetSize": (size, pointer),
}


def library_path():
    """Return the path of the C API in the installed TensorFlow; None where there is none."""
    package = importlib.util.find_spec("tensorflow")
    path = package and Path(package.origin).with_name("libtensorflow_cc.so.2")
    return path if path and path.exists() else None


def load(folder):
    """Load a SavedModel; a RuntimeError says why TensorFlow cannot."""
    # Local: the library brings its own protobuf and more, which must not stand in for anyone else's.
    tf = CDLL(str(library_path()), mode=RTLD_LOCAL)
    for name, (returned, *taken) in FUNCTIONS.items():
        function = getattr(tf, name)
        function.restype, function.argtypes = returned, taken
    graph, status, meta_graph = tf.TF_NewGraph(), tf.TF_NewStatus(), Buffer()
    options, tags = tf.TF_NewSessionOptions(), (text * 1)(b"serve")
    session = tf.TF_LoadSessionFromSavedModel(
        options, None, os.fsencode(folder), tags, 1, graph, byref(meta_graph), status
    )
    _check(tf, status)
    return Model(tf, graph, session, signatures(string_at(meta_graph.data, meta_graph.length)))


class Model:
    """A loaded SavedModel. It lives as long as its process."""

    def __init__(self, tf, graph, session, signatures):
        self.tf, self.graph, self.session, self.signatures = tf, graph, session, signatures

    def run(self, signature, **arrays):
        """Run a signature: arrays by input -> arrays by output; texts are arrays of bytes objects.

        Raises:
            RuntimeError: TensorFlow refuses; the message is its own.
        """
        inputs, outputs = self.signatures[signature]
        status, fetched = self.tf.TF_NewStatus(), (pointer * len(outputs))()
        fed = (pointer * len(arrays))(*(to_tensor(self.tf, array) for array in arrays.values()))
        self.tf.TF_SessionRun(
            *(self.session, None),
            *(self._ends(inputs[name] for name in arrays), fed, len(fed)),
            *(self._ends(outputs.values()), fetched, len(fetched)),
            *(None, 0, None, status),
        )
        for mine in fed:
            free(self.tf, mine)
        _check(self.tf, status)
        return {name: to_array(self.tf, fetched[index]) for index, name in enumerate(outputs)}

    def _ends(self, names):
        """Names such as "StatefulPartitionedCall:0" -> array of Output."""
        pairs = [name.split(":") for name in names]
        ends = [
            Output(self.tf.TF_GraphOperationByName(self.graph, name.encode()), int(i))
            for name, i in pairs
        ]
        return (Output * len(ends))(*ends)


def _check(tf, status):
    if tf.TF_GetCode(status):
        raise RuntimeError(tf.TF_Message(status).decode())


def to_tensor(tf, array):
    """Return a new TF_Tensor that holds a copy of an array."""
    shape = (int64 * array.ndim)(*array.shape)
    if array.dtype != object:
        made = tf.TF_AllocateTensor(NUMBERS[array.dtype], shape, array.ndim, array.nbytes)
        memmove(tf.TF_TensorData(made), array.tobytes(), array.nbytes)
        return made
    made = tf.TF_AllocateTensor(STRING, shape, array.ndim, array.size * STRING_BYTES)
    for place, value in zip(_places(tf, made), array.ravel(), strict=True):
        tf.TF_StringInit(place)
        tf.TF_StringCopy(place, value, len(value))
    return made


def free(tf, made):
    """Delete what `to_tensor` made; the texts in it are the caller's."""
    if tf.TF_TensorType(made) == STRING:
        for place in _places(tf, made):
            tf.TF_StringDealloc(place)
    tf.TF_DeleteTensor(made)


def to_array(tf, answer):
    """Return the array that a TF_Tensor of TensorFlow's holds, and delete the tensor."""
    shape = [tf.TF_Dim(answer, axis) for axis in range(tf.TF_NumDims(answer))]
    if tf.TF_TensorType(answer) == STRING:
        texts = [
            string_at(tf.TF_StringGetDataPointer(p), tf.TF_StringGetSize(p))
            for p in _places(tf, answer)
        ]
        copy = np.array(texts, object).reshape(shape)
    else:
        data = string_at(tf.TF_TensorData(answer), tf.TF_TensorByteSize(answer))
        copy = np.ndarray(shape, DTYPES[tf.TF_TensorType(answer)], data)
    tf.TF_DeleteTensor(answer)
    return copy


def _places(tf, strings):
    """Addresses of the TF_TStrings in a tensor of them."""
    count = math.prod(tf.TF_Dim(strings, axis) for axis in range(tf.TF_NumDims(strings)))
    return [tf.TF_TensorData(strings) + STRING_BYTES * index for index in range(count)]


def signatures(meta_graph):
    """Bytes of a MetaGraphDef -> {signature: ({input: name of its tensor}, {output: name of its tensor})}."""
    # of tensorflow/core/protobuf/meta_graph.proto: MetaGraphDef.signature_def, SignatureDef.inputs and outputs
    return {
        key: (_tensors(value, 1), _tensors(value, 2)) for key, value in _map(meta_graph, 5).items()
    }


def _tensors(signature, number):
    return {
        key: dict(_fields(info))[1].decode() for key, info in _map(signature, number).items()
    }  # TensorInfo.name


def _map(message, number):
    """A field of a protobuf message that is a map from texts: {key: bytes}."""
    entries = [dict(_fields(entry)) for field, entry in _fields(message) if field == number]
    return {entry[1].decode(): entry[2] for entry in entries}


def _fields(message):
    """Yield (number, value) of each field of a protobuf message whose values are whole numbers or bytes."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        value, position = _varint(message, position)
        if key & 7 == 2:  # the number was a length
            value, position = message[position : position + value], position + value
        yield key >> 3, value


def _varint(message, position):
    value, shift = 0, 0
    while message[position] & 0x80:
        value |= (message[position] & 0x7F) << shift
        position, shift = position + 1, shift + 7
    return value | message[position] << shift, position + 1


def _answer(model, signature, arrays):
    try:
        return model.run(signature, **arrays)
    except RuntimeError as error:
        return str(error)


if __name__ == "__main__":
    model = load(sys.argv[1])
    answers = [_answer(model, *request) for request in pickle.load(sys.stdin.buffer)]
    assert not {"tensorflow", "keras"} & set(sys.modules)
    pickle.dump(answers, sys.stdout.buffer)
