"""Cut tiles out of whole samples with TensorFlow, as `Tiles` does.

TensorFlow decodes a whole sample for every tile. `Tiles` keeps the last two samples, so that Python
takes a tenth of the time for the 16 tiles of 512 pixels of an image if they are read in their
order: `pipeline` leaves those to Python. In random order Python decodes whole samples, too.
"""

import tensorflow as tf

from tfseg.data.native.decoder import Decoder
from tfseg.data.native.image_decoder import block_means
from tfseg.data.native.mask_decoder import block_centers


def tile_decoder(decoder: Decoder, wholes, corners, sizes, shrink: int) -> Decoder:
    """Return what reads tiles.

    Args:
        decoder: reads whole samples.
        wholes: (N,) positions of the whole samples of the tiles.
        corners: (N, 2) upper left corners of the tiles, (y, x).
        sizes: (N, 2) their heights and widths.
        shrink: see `Reader.read`.
    """
    files = [decoder.files[whole] for whole in wholes]
    wholes = tf.constant(wholes)
    starts, ends = tf.constant(corners, tf.int32), tf.constant(corners + sizes, tf.int32)

    def decode(index):
        image, mask, is_known = decoder.read(wholes[index])
        (top, left), (bottom, right) = tf.unstack(starts[index]), tf.unstack(ends[index])
        image, mask = image[top:bottom, left:right], mask[top:bottom, left:right]
        return block_means(image, shrink), block_centers(mask, shrink), is_known

    return Decoder(decode, files, decoder.table)
