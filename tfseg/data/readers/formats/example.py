"""One sample <-> the bytes of one `tf.train.Example`, without loss."""

import numpy as np
import tensorflow as tf


def encode(sample, fields, name):
    """Return the bytes of a sample, the same for the same sample.

    Args:
        sample: dict of arrays, as a `Reader` gives it.
        fields: which of them to keep.
        name: the sample's name.
    """
    features = {"name": _bytes(name.encode())}
    for field in fields:
        array = sample[field]
        if field == "boxes":
            features[field] = tf.train.Feature(float_list=tf.train.FloatList(value=array.ravel()))
        elif field == "classes":
            features[field] = tf.train.Feature(int64_list=tf.train.Int64List(value=array.ravel()))
        else:
            features |= _picture(field, array)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(
        deterministic=True
    )


def decode(record, fields):
    """Return the dict of arrays whose bytes `encode` gave."""
    features = tf.train.Example.FromString(record).features.feature
    sample = {}
    for field in fields:
        if field == "boxes":
            sample[field] = np.array(features[field].float_list.value, np.float32).reshape(-1, 4)
        elif field == "classes":
            sample[field] = np.array(features[field].int64_list.value, np.int32)
        else:
            sample[field] = _array(features, field)
    return sample


def _picture(field, array):
    """Return the features of an array: a PNG if that holds all its values, else its bytes, little end first."""
    as_png = None
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3)):
        if array.dtype in (np.uint8, np.uint16):
            as_png = array
        elif array.dtype == np.int32 and array.min(initial=0) >= 0 and array.max(initial=0) < 2**16:
            as_png = array.astype(np.uint16)  # numbered objects
    if as_png is None:
        data, kind = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(), b"raw"
    else:
        # Level 1 writes photographs four times as fast as the default, for files 5 % larger.
        data, kind = (
            tf.io.encode_png(as_png.reshape(*array.shape[:2], -1), compression=1).numpy(),
            b"png",
        )
    return {
        field: _bytes(data),
        f"{field}/format": _bytes(kind),
        f"{field}/dtype": _bytes(array.dtype.name.encode()),
        f"{field}/shape": tf.train.Feature(int64_list=tf.train.Int64List(value=array.shape)),
    }


def _array(features, field):
    data, kind, dtype = (
        features[key].bytes_list.value[0] for key in (field, f"{field}/format", f"{field}/dtype")
    )
    shape, dtype = tuple(features[f"{field}/shape"].int64_list.value), np.dtype(dtype.decode())
    if kind == b"raw":
        return np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape).astype(dtype)
    depth = np.uint8 if dtype == np.uint8 else np.uint16
    return tf.io.decode_png(data, dtype=depth).numpy().reshape(shape).astype(dtype, copy=False)


def _bytes(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
