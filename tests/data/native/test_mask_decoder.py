import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfseg.data import read_mask
from tfseg.data.native.mask_decoder import block_centers, mask_decoder, translation
from tfseg.data.readers import extract
from tfseg.data.readers.mask_values import to_class_ids

RNG = np.random.default_rng(0)


def values(largest, dtype="uint8"):
    return RNG.integers(0, largest, (13, 18), dtype, endpoint=True)


def gray(file):
    Image.fromarray(values(4)).save(file)


def palette(bits):
    def write(file):
        image = Image.fromarray(values(min(4, 2**bits - 1)), "P")
        image.putpalette(RNG.integers(0, 256, 3 * 2**bits, np.uint8).tolist())
        image.save(file, bits=bits, transparency=0)

    return write


def black_and_white(file):
    Image.fromarray(values(1).astype(bool)).save(file)


def deep(file):
    Image.fromarray(values(4, "uint16")).save(file)


READ = {
    "gray": gray,
    "palette": palette(8),
    "palette of 4 bit": palette(4),
    "palette of 2 bit": palette(2),
    "palette of 1 bit": palette(1),
    "1 bit": black_and_white,
    "16 bit": deep,
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("shrink", [1, 2, 4])
def test_masks_are_equal_to_those_of_pillow(kind, shrink, tmp_path):
    file = tmp_path / "a.png"
    READ[kind](file)
    table = {0: 0, 1: 3, 2: 1, 3: 255, 4: 4}
    expected = to_class_ids(read_mask(file), table, file)
    ids, is_known = mask_decoder([file], table, shrink)(0)
    assert is_known
    assert np.array_equal(ids, extract.block_centers(expected, shrink))
    del table[int(read_mask(file).max())]
    assert not mask_decoder([file], table, 1)(0)[1]


def colors(file):
    Image.fromarray(np.repeat(values(4)[..., None], 3, axis=-1)).save(file)


def gif(file):
    Image.fromarray(values(4)).save(file, "GIF")


@pytest.mark.parametrize("write", [colors, gif])
def test_other_masks_are_left_to_python(write, tmp_path):
    write(tmp_path / "a.png")
    assert mask_decoder([tmp_path / "a.png"], {0: 0}, 1) is None


def test_masks_of_different_kinds(tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(3)]
    table = {i: i for i in range(5)} | {255: 255}
    for file, write in zip(files, (gray, palette(2), deep), strict=True):
        write(file)
    decode = mask_decoder(files[:2], table, 1)
    for index in range(2):
        assert np.array_equal(decode(index)[0], read_mask(files[index]))
    assert mask_decoder(files[1:], table, 1) is None


@pytest.mark.parametrize(
    "table",
    [
        {0: 0, 1: 1, 2: 2, 255: 255},
        {0: 0, 1: 1, 2: 2},
        {0: 0, 255: 1},
        {0: 0, 255: 1, -1: 255},
        {0: 255, 1: 0, 2: 1},
        {11: 255, 0: 0, 1: 1},
        {value: 255 - value for value in range(200)},
        {**{value: value for value in range(256)}, 65535: 65535},
        {value: value // 2 for value in range(0, 600, 2)},
    ],
)
@pytest.mark.parametrize("dtype", [tf.uint8, tf.uint16])
def test_translation_matches_numpy(table, dtype):
    translate = translation(table, dtype)
    known = [value for value in table if 0 <= value <= dtype.max]
    mask = RNG.choice(known, (9, 40)).astype(dtype.as_numpy_dtype)
    ids, is_known = translate(tf.constant(mask))
    assert is_known
    assert np.array_equal(ids, to_class_ids(mask, table, "mask"))
    for unknown in {3, 201, 254, 255} - set(known):
        mask[4, 7] = unknown
        assert not translate(tf.constant(mask))[1]


@pytest.mark.parametrize("size", [(8, 8), (7, 13), (9, 4)])
def test_block_centers_match_numpy(size):
    mask = RNG.integers(0, 9, size, np.uint8)
    for shrink in (1, 2, 4):
        found = block_centers(tf.constant(mask), shrink)
        assert np.array_equal(found, extract.block_centers(mask, shrink))
