"""Pixel values of decoded images; `test_encoded` covers damaged files."""

import io

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
    found, ok = decode_image(tf.constant(file.getvalue()), channels, 2**20)
    assert ok
    assert np.array_equal(found, read_image(path, channels))
