"""Decode the samples of a reader with TensorFlow."""

from tfseg.data.native.color_mask_decoder import color_mask_decoder
from tfseg.data.native.image_decoder import image_decoder
from tfseg.data.native.mask_decoder import mask_decoder
from tfseg.data.native.record_decoder import record_decoder
from tfseg.data.readers import Reader
from tfseg.data.readers.formats.tfrecord import TFRecords
from tfseg.data.readers.subset import Subset


def sample_decoder(reader: Reader, indices, shrink: int):
    """Return a function that reads samples as `reader.read` does, if TensorFlow can read them.

    Args:
        reader: a `Reader` of images and masks.
        indices: (N,) positions of the samples in it.
        shrink: see `Reader.read`.

    Returns:
        Function of 0 to N - 1, a tensor, which returns the image (H, W, C) and the mask (H, W) of a
        sample, integers of any dtype, and whether they are as Python would read them; or None.
    """
    # A subclass may change what is read.
    if type(reader) is Subset:
        return sample_decoder(reader.reader, reader.indices[indices], shrink)
    if type(reader) is TFRecords:
        return record_decoder(reader, indices, shrink)
    return _file_decoder(reader, indices, shrink)


def _file_decoder(reader, indices, shrink):
    """Decode samples of one file for the image, and one for the mask."""
    found = reader.plain_files()
    # Pillow reads images that are smaller than a block at their full size.
    if found is None or reader.sizes[indices].min() < shrink:
        return None
    files, table = found
    has_colors = any(isinstance(value, tuple) for value in table)
    mask_files = [files[index][1] for index in indices]
    decode_mask = (color_mask_decoder if has_colors else mask_decoder)(mask_files, table, shrink)
    if decode_mask is None:
        return None
    decode_image = image_decoder([files[index][0] for index in indices], reader.channels, shrink)
    if decode_image is None:
        return None
    return lambda index: (decode_image(index), *decode_mask(index))
