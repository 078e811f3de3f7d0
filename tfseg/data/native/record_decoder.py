"""Decode samples of `TFRecords` with TensorFlow."""

import os

import tensorflow as tf

from tfseg.data.native.decoder import Decoder
from tfseg.data.native.image_decoder import EXACT_DTYPES, block_means
from tfseg.data.native.mask_decoder import block_centers, translation
from tfseg.data.readers.mask_values import identity_table

PNG_DTYPES = ("uint8", "uint16")
FIELDS = ("image", "mask")
DESCRIPTION = ("format", "dtype")  # features of a field, beside its shape
MASK_DTYPES = {"uint8": tf.uint8, "int32": tf.uint16}  # of masks, and of the PNGs that they become


def record_decoder(reader, indices, shrink: int) -> Decoder | None:
    """Return what reads samples of a `TFRecords`; None if TensorFlow cannot read them.

    It cannot read images of 32-bit integers, nor with `shrink` those whose means over blocks depend
    on the order of the pixels. The checksum in each record is verified, not that in the index.

    Args:
        reader: a `TFRecords` of images and masks.
        indices: (N,) positions of the samples in it.
        shrink: see `Reader.read`.
    """
    dtype, channels = str(reader.dtype), reader.channels
    is_png = dtype in PNG_DTYPES and channels in (1, 3)
    if dtype == "int32" or (shrink > 1 and dtype not in EXACT_DTYPES):
        return None
    all_places, mask_dtype = reader.places(), str(reader.mask_dtype)
    places = [all_places[index] for index in indices]
    read_example = _example_reader(places)
    expected = {
        "image/format": b"png" if is_png else b"raw",
        "image/dtype": dtype.encode(),
        "mask/format": b"png",
        "mask/dtype": mask_dtype.encode(),
    }
    if not _is_first_as_expected(read_example, expected):
        return None
    table = {**identity_table(reader.label_names), reader.ignore_index: reader.ignore_index}
    translate = translation(table, MASK_DTYPES[mask_dtype])

    def decode(index):
        example = read_example(index)
        tf.debugging.Assert(_is_as_expected(example, expected), ["another format or dtype"])
        if is_png:
            image = tf.io.decode_png(example["image"], channels, reader.dtype)
        else:
            values = tf.io.decode_raw(example["image"], reader.dtype)
            image = tf.reshape(values, [*tf.unstack(example["image/shape"])[:2], channels])
        values = tf.io.decode_png(example["mask"], 1, MASK_DTYPES[mask_dtype])[..., 0]
        mask, is_known = translate(values)
        return block_means(image, shrink), block_centers(mask, shrink), is_known

    files = [f"{path}, byte {offset}" for path, offset in places]
    return Decoder(decode, files, table)


def _example_reader(places):
    """Return a function that parses the record at one of these places."""
    paths = tf.constant([os.fsencode(path) for path, _ in places])
    offsets = tf.constant([offset for _, offset in places], tf.int64)
    names = [*FIELDS, *(f"{name}/{part}" for name in FIELDS for part in DESCRIPTION)]
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in names}
    features["image/shape"] = tf.io.FixedLenFeature([3], tf.int64)

    def read(index):
        # `tf.data.TFRecordDataset` has no offsets.
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=paths[index][None],
            compression_type="",
            buffer_size=tf.constant(0, tf.int64),
            byte_offsets=offsets[index][None],
        )
        records = tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
        return tf.io.parse_single_example(records.take(1).get_single_element(), features)

    return read


def _is_as_expected(example, expected):
    return tf.reduce_all([example[name] == value for name, value in expected.items()])


def _is_first_as_expected(read_example, expected):
    try:
        return bool(_is_as_expected(read_example(0), expected))
    except tf.errors.OpError:
        return False
