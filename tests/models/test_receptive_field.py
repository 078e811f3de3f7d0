"""The first pixel that each position depends on, by hand for one layer at a time."""

import numpy as np
import pytest

from tfseg.models.receptive_field import (
    PADDING,
    _convolution,
    _resize_bilinear,
    _transposed_convolution,
    _upsample_bilinear,
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # windows (p, 0, 1), (1, 2, 3), (3, 4, p), where p is padding
        ({"kernel": 3, "stride": 2, "padding": "same"}, [0, 1, 3]),
        ({"kernel": 3, "stride": 2, "padding": "valid"}, [0, 2]),
        # (p, 0, 2), (p, 1, 3), (0, 2, 4), (1, 3, p), (2, 4, p)
        ({"kernel": 3, "stride": 1, "padding": "same", "dilation": 2}, [0, 1, 0, 1, 2]),
        # an even kernel is padded at the end: (0, 1), (1, 2) ...
        ({"kernel": 2, "stride": 1, "padding": "same"}, [0, 1, 2, 3, 4]),
    ],
)
def test_convolution(options, expected):
    assert _convolution(np.arange(5), **options).tolist() == expected


def test_padding_does_not_count():
    assert _convolution(np.arange(2), 3, 3, "same").tolist() == [0]
    assert _convolution(np.array([PADDING, 4]), 2, 2, "valid").tolist() == [4]


def test_transposed_convolution():
    # position i writes to outputs 2 i, 2 i + 1 and 2 i + 2
    assert _transposed_convolution(np.arange(3), 3, 2, "valid").tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert _transposed_convolution(np.arange(3), 3, 2, "same").tolist() == [0, 0, 0, 1, 1, 2]


def test_bilinear_resizing_has_half_pixel_centers():
    # centers at -0.25, 0.25, 0.75, 1.25 read (0, 0), (0, 1), (0, 1), (1, 1)
    assert _upsample_bilinear(np.arange(2), 2).tolist() == [0, 0, 0, 1]
    # centers at 0.5 and 2.5 read (0, 1) and (2, 3)
    assert _resize_bilinear(np.arange(4), 2).tolist() == [0, 2]
