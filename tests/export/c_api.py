"""A client of TensorFlow's C API that runs a SavedModel without importing TensorFlow or Keras.

    python c_api.py FOLDER < requests > answers

The requests are a pickled list of (signature, {input: array}). The answer to each is
{output: array}, or the message with which TensorFlow rejected it.
"""

import importlib.util
import math
import os
import pickle
import subprocess
import sys
from ctypes import CDLL, POINTER, RTLD_LOCAL, Structure, byref, memmove, string_at
from ctypes import c_char_p as text
from ctypes import c_int as int32
from ctypes import c_int64 as int64
from ctypes import c_size_t as size
from ctypes import c_void_p as pointer
from pathlib import Path

import numpy as np

# numbers of the dtypes in c/tf_datatype.h
DTYPES = {1: np.float32, 3: np.int32, 4: np.uint8, 9: np.int64, 10: np.bool_, 17: np.uint16}
NUMBERS = {np.dtype(dtype): number for number, dtype in DTYPES.items()}
STRING = 7
STRING_BYTES = 24  # size of a TF_TString


class Buffer(Structure):
    """TF_Buffer."""

    _fields_ = [("data", pointer), ("length", size), ("deallocator", pointer)]


class Output(Structure):
    """TF_Output: a tensor of a graph."""

    _fields_ = [("operation", pointer), ("index", int32)]


TENSORS = (POINTER(Output), POINTER(pointer), int32)  # outputs, their values, number
FUNCTIONS = {  # return type, then argument types
    "TF_NewStatus": (pointer,),
    "TF_GetCode": (int32, pointer),
    "TF_Message": (text, pointer),
    "TF_NewGraph": (pointer,),
    "TF_GraphOperationByName": (pointer, pointer, text),
    "TF_NewSessionOptions": (pointer,),
    "TF_LoadSessionFromSavedModel": (
        # session <- options, run options, folder
        *(pointer, pointer, pointer, text),
        # tags, their number, graph, MetaGraphDef, status
        *(POINTER(text), int32, pointer, POINTER(Buffer), pointer),
    ),
    "TF_SessionRun": (
        *(None, pointer, pointer),  # session, run options
        *TENSORS,  # inputs
        *TENSORS,  # outputs
        *(pointer, int32, pointer, pointer),  # targets, their number, metadata, status
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
    """Return the path of the C API in the installed TensorFlow, or None if there is none."""
    package = importlib.util.find_spec("tensorflow")
    if package is None:
        return None
    path = Path(package.origin).with_name("libtensorflow_cc.so.2")
    return path if path.exists() else None


def load(folder):
    """Load a SavedModel; raise a RuntimeError with TensorFlow's message if that fails."""
    # RTLD_LOCAL: the symbols of the library, such as protobuf's, must not replace those of others
    tf = CDLL(str(library_path()), mode=RTLD_LOCAL)
    for name, (return_type, *argument_types) in FUNCTIONS.items():
        function = getattr(tf, name)
        function.restype, function.argtypes = return_type, argument_types
    graph, status, meta_graph = tf.TF_NewGraph(), tf.TF_NewStatus(), Buffer()
    options, tags = tf.TF_NewSessionOptions(), (text * 1)(b"serve")
    session = tf.TF_LoadSessionFromSavedModel(
        options, None, os.fsencode(folder), tags, 1, graph, byref(meta_graph), status
    )
    _check(tf, status)
    return Model(tf, graph, session, signatures(string_at(meta_graph.data, meta_graph.length)))


class Model:
    """A loaded SavedModel. It is freed at the end of the process."""

    def __init__(self, tf, graph, session, signatures):
        self.tf, self.graph, self.session, self.signatures = tf, graph, session, signatures

    def run(self, signature, **arrays):
        """Run a signature: {input: array} -> {output: array}. Strings are arrays of bytes objects.

        Raises:
            RuntimeError: TensorFlow rejects the inputs. The message is TensorFlow's.
        """
        inputs, outputs = self.signatures[signature]
        status = self.tf.TF_NewStatus()
        input_tensors = [to_tensor(self.tf, array) for array in arrays.values()]
        fed = (pointer * len(arrays))(*input_tensors)
        fetched = (pointer * len(outputs))()
        self.tf.TF_SessionRun(
            *(self.session, None),
            *(self._outputs([inputs[name] for name in arrays]), fed, len(fed)),
            *(self._outputs(list(outputs.values())), fetched, len(fetched)),
            *(None, 0, None, status),
        )
        for tensor in fed:
            free(self.tf, tensor)
        _check(self.tf, status)
        return {name: to_array(self.tf, fetched[index]) for index, name in enumerate(outputs)}

    def _outputs(self, names):
        """Convert names such as "StatefulPartitionedCall:0" to an array of Output."""
        outputs = []
        for name in names:
            operation, index = name.split(":")
            found = self.tf.TF_GraphOperationByName(self.graph, operation.encode())
            outputs.append(Output(found, int(index)))
        return (Output * len(outputs))(*outputs)


def _check(tf, status):
    if tf.TF_GetCode(status):
        raise RuntimeError(tf.TF_Message(status).decode())


def to_tensor(tf, array):
    """Return a new TF_Tensor with a copy of an array."""
    shape = (int64 * array.ndim)(*array.shape)
    if array.dtype != object:
        tensor = tf.TF_AllocateTensor(NUMBERS[array.dtype], shape, array.ndim, array.nbytes)
        memmove(tf.TF_TensorData(tensor), array.tobytes(), array.nbytes)
        return tensor
    tensor = tf.TF_AllocateTensor(STRING, shape, array.ndim, array.size * STRING_BYTES)
    for address, value in zip(_string_addresses(tf, tensor), array.ravel(), strict=True):
        tf.TF_StringInit(address)
        tf.TF_StringCopy(address, value, len(value))
    return tensor


def free(tf, tensor):
    """Delete a tensor of `to_tensor`, and the strings in it, which its caller owns."""
    if tf.TF_TensorType(tensor) == STRING:
        for address in _string_addresses(tf, tensor):
            tf.TF_StringDealloc(address)
    tf.TF_DeleteTensor(tensor)


def to_array(tf, tensor):
    """Return a copy of a TF_Tensor that TensorFlow made as an array, and delete the tensor."""
    shape = [tf.TF_Dim(tensor, axis) for axis in range(tf.TF_NumDims(tensor))]
    if tf.TF_TensorType(tensor) == STRING:
        texts = [
            string_at(tf.TF_StringGetDataPointer(address), tf.TF_StringGetSize(address))
            for address in _string_addresses(tf, tensor)
        ]
        copy = np.array(texts, object).reshape(shape)
    else:
        data = string_at(tf.TF_TensorData(tensor), tf.TF_TensorByteSize(tensor))
        copy = np.ndarray(shape, DTYPES[tf.TF_TensorType(tensor)], data)
    tf.TF_DeleteTensor(tensor)
    return copy


def _string_addresses(tf, tensor):
    """Return the addresses of the TF_TStrings in a string tensor."""
    count = math.prod(tf.TF_Dim(tensor, axis) for axis in range(tf.TF_NumDims(tensor)))
    return [tf.TF_TensorData(tensor) + STRING_BYTES * index for index in range(count)]


def signatures(meta_graph):
    """Bytes of a MetaGraphDef -> {signature: ({input: tensor name}, {output: tensor name})}."""
    # fields of tensorflow/core/protobuf/meta_graph.proto: MetaGraphDef.signature_def is 5,
    # SignatureDef.inputs and outputs are 1 and 2
    return {
        key: (_tensors(value, 1), _tensors(value, 2)) for key, value in _map(meta_graph, 5).items()
    }


def _tensors(signature, number):
    # TensorInfo.name is field 1
    infos = _map(signature, number)
    return {key: dict(_fields(info))[1].decode() for key, info in infos.items()}


def _map(message, number):
    """Return a protobuf map field with string keys: {key: bytes}."""
    entries = [dict(_fields(entry)) for field, entry in _fields(message) if field == number]
    return {entry[1].decode(): entry[2] for entry in entries}


def _fields(message):
    """Yield (number, value) of the fields of a protobuf message of integers and bytes."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        value, position = _varint(message, position)
        if key & 7 == 2:  # wire type bytes: the integer was their length
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


def run_client(version, requests):
    """Return the answers of a process that loads a SavedModel with the C API."""
    process = subprocess.run(
        [sys.executable, __file__, version],
        input=pickle.dumps(requests),
        capture_output=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:].decode()
    return pickle.loads(process.stdout)


def bits(array):
    """Return what two arrays have in common if all their bits are equal."""
    return array.tolist() if array.dtype == object else array.tobytes()


if __name__ == "__main__":
    model = load(sys.argv[1])
    answers = [_answer(model, *request) for request in pickle.load(sys.stdin.buffer)]
    assert not {"tensorflow", "keras"} & set(sys.modules)
    pickle.dump(answers, sys.stdout.buffer)
