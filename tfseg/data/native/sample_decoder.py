"""Decode the samples of a reader with TensorFlow."""

import numpy as np

from tfseg.data.native.color_mask_decoder import color_mask_decoder
from tfseg.data.native.decoder import Decoder
from tfseg.data.native.image_decoder import EXACT_DTYPES, image_decoder
from tfseg.data.native.mask_decoder import mask_decoder
from tfseg.data.native.record_decoder import record_decoder
from tfseg.data.native.tile_decoder import tile_decoder
from tfseg.data.readers import Reader
from tfseg.data.readers.formats.tfrecord import TFRecords
from tfseg.data.readers.subset import Subset
from tfseg.data.readers.tiles import Tiles


def sample_decoder(reader: Reader, indices, shrink: int) -> Decoder | None:
    """Return what reads samples as `reader.read` does; None if TensorFlow cannot read them.

    Args:
        reader: a `Reader` of images and masks.
        indices: (N,) positions of the samples in it.
        shrink: see `Reader.read`.
    """
    # A subclass may change what is read.
    if type(reader) is Subset:
        return sample_decoder(reader.reader, reader.indices[indices], shrink)
    if type(reader) is Tiles:
        return _tile_decoder(reader, indices, shrink)
    if type(reader) is TFRecords:
        return record_decoder(reader, indices, shrink)
    return _file_decoder(reader, indices, shrink)


def _tile_decoder(reader, indices, shrink):
    """Decode tiles: the whole samples, and the parts of them."""
    if shrink > 1 and str(reader.dtype) not in EXACT_DTYPES:
        return None
    places = [reader.places[index] for index in indices]
    used, wholes = np.unique([index for index, _, _ in places], return_inverse=True)
    decoder = sample_decoder(reader.reader, used, 1)
    if decoder is None:
        return None
    corners = np.array([corner for _, corner, _ in places])
    return tile_decoder(decoder, wholes, corners, reader.sizes[indices], shrink)


def _file_decoder(reader, indices, shrink):
    """Decode samples of one file for the image, and one for the mask."""
    found = reader.plain_files()
    # Pillow reads images that are smaller than a block at their full size.
    if found is None or reader.sizes[indices].min() < shrink:
        return None
    files, table = found
    images, masks = zip(*(files[index] for index in indices), strict=True)
    has_colors = any(isinstance(value, tuple) for value in table)
    decode_mask = (color_mask_decoder if has_colors else mask_decoder)(masks, table, shrink)
    if decode_mask is None:
        return None
    decode_image = image_decoder(images, reader.channels, shrink)
    if decode_image is None:
        return None
    return Decoder(
        read=lambda index: (decode_image(index), *decode_mask(index)),
        files=[f"{image}, {mask}" for image, mask in zip(images, masks, strict=True)],
        table=table,
    )
