"""Values of decoded images; that bad ones are told apart is in `test_encoded`."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from conftest import draw_sample
from tfseg.data import read_image
from tfseg.export.image_decoding import decode


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "options"),
    # no colors that are stored at half the size, which libjpeg has several ways to enlarge
    [
        ("RGB", {"format": "PNG"}),
        ("RGB", {"format": "JPEG", "subsampling": 0}),
        ("L", {"format": "JPEG"}),
    ],
)
def test_values_are_those_of_read_image(mode, options, channels, tmp_path):
    file = io.BytesIO()
    Image.fromarray(draw_sample(0)[0]).convert(mode).save(file, **options)
    (tmp_path / "image").write_bytes(file.getvalue())
    suffix = "." + options["format"].lower()
    path = (tmp_path / "image").rename(tmp_path / f"image{suffix}")
    found, ok = decode(tf.constant(file.getvalue()), channels, 2**20)
    assert ok
    assert np.array_equal(found, read_image(path, channels))
