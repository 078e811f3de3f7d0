"""Pixel values of decoded images; `test_encoded` covers damaged files."""

import io
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from conftest import draw_sample
from tfseg.data import read_image
from tfseg.export.image_decoding import decode_image


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "options"),
    # without chroma subsampling, which libjpeg can upsample in several ways
    [
        ("RGB", {"format": "PNG"}),
        ("RGB", {"format": "JPEG", "subsampling": 0}),
        ("L", {"format": "JPEG"}),
    ],
)
def test_pixel_values_equal_those_of_read_image(mode, options, channels, tmp_path):
    file = io.BytesIO()
    Image.fromarray(draw_sample(0)[0]).convert(mode).save(file, **options)
    path = tmp_path / f"image.{options['format'].lower()}"
    path.write_bytes(file.getvalue())
    found, reason = decode_image(tf.constant(file.getvalue()), channels, 2**20)
    assert reason == b""
    assert np.array_equal(found, read_image(path, channels))


def png(dtype, value):
    return tf.io.encode_png(np.full((4, 5, 3), value, dtype))


@pytest.mark.parametrize(
    ("file", "value_range", "reason"),
    [
        (png(np.uint8, 200), None, b""),
        (png(np.uint16, 60000), None, b""),
        (png(np.uint8, 200), (0, 255), b""),
        (png(np.uint16, 255), (0, 255), b""),
        (png(np.uint16, 256), (3, 250), b"values above 255, but .* values from 3 to 250"),
        (png(np.uint16, 100), (0, 4095), b""),
        (png(np.uint8, 200), (0, 4095), b"8 bits per channel, but .* values from 0 to 4095"),
        (tf.io.encode_jpeg(np.zeros((4, 5, 3), np.uint8)), (0, 65535), b"8 bits per channel"),
    ],
)
def test_files_of_another_range_than_the_training_are_refused(file, value_range, reason):
    image, found = decode_image(file, 3, 100, value_range)
    assert re.search(reason, found.numpy()) if reason else found == b""
    assert image.shape == ((1, 1, 3) if reason else (4, 5, 3))
    assert reason == b"" or not np.any(image)
