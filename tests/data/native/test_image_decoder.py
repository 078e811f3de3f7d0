import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfseg.data import read_image
from tfseg.data.native.image_decoder import block_means, image_decoder
from tfseg.data.readers import extract
from tfseg.data.readers.png_chunks import read_layout

RNG = np.random.default_rng(0)
SMOOTH = cv2.GaussianBlur(RNG.integers(0, 256, (43, 61, 4), np.uint8), (0, 0), 2)
DEEP = RNG.integers(0, 2**16, (43, 61, 4), np.uint16)


def save_deep(array, file):
    cv2.imwrite(str(file), array)


def save(mode, **options):
    image = SMOOTH[..., 0] if mode == "L" else SMOOTH[..., : len(mode)]
    return lambda file: Image.fromarray(image, mode).save(file, **options)


def turned(orientation, file_format="JPEG"):
    def write(file):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"save_all": True} if file_format == "MPO" else {}
        Image.fromarray(SMOOTH[..., :3]).save(file, file_format, exif=exif, **options)

    return write


def palette(bits, colors=None):
    """Save an image of indices, with fewer colors than there are indices if `colors` says so."""

    def write(file):
        image = Image.fromarray(SMOOTH[..., 0] >> (8 - bits), "P")
        image.putpalette(RNG.integers(0, 256, 3 * (colors or 2**bits), np.uint8).tolist())
        image.save(file, bits=bits, transparency=0)

    return write


def gray(bits):
    """Save a gray PNG of few bits, which Pillow only writes as a palette."""

    def write(file):
        palette(bits)(file)
        layout = read_layout(file)
        file.write_bytes(layout.head_of_values() + file.read_bytes()[layout.start :])
        assert read_layout(file)[2:4] == (bits, 0)

    return write


# What TensorFlow reads: suffix, how to save it, channels.
READ = {
    "JPEG": (".jpg", save("RGB", quality=90), 3),
    "JPEG with full color": (".jpg", save("RGB", quality=70, subsampling=0), 3),
    "progressive JPEG": (".jpg", save("RGB", progressive=True), 3),
    "gray JPEG": (".jpg", save("L"), 1),
    "gray JPEG as RGB": (".jpg", save("L"), 3),
    "PNG": (".png", save("RGB"), 3),
    "PNG with alpha": (".png", save("RGBA"), 3),
    "gray PNG": (".png", save("L"), 1),
    "gray PNG as RGB": (".png", save("L"), 3),
    "gray PNG with alpha": (".png", save("LA"), 1),
    "deep PNG": (".png", lambda file: save_deep(DEEP[..., :3], file), 3),
    "deep PNG with alpha": (".png", lambda file: save_deep(DEEP, file), 3),
    "deep gray PNG": (".png", lambda file: save_deep(DEEP[..., 0], file), 1),
    "deep gray PNG as RGB": (".png", lambda file: save_deep(DEEP[..., 0], file), 3),
    **{f"JPEG of orientation {i}": (".jpg", turned(i), 3) for i in range(2, 9)},
    "MPO": (".jpg", turned(6, "MPO"), 3),
    **{f"palette of {bits} bit": (".png", palette(bits), 3) for bits in (1, 2, 4, 8)},
    "palette that lacks colors": (".png", palette(8, 10), 3),
    **{f"gray of {bits} bit": (".png", gray(bits), 1) for bits in (1, 2, 4)},
    "gray of 4 bit as RGB": (".png", gray(4), 3),
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
def test_images_are_equal_to_those_of_pillow(kind, shrink, tmp_path):
    suffix, write, channels = READ[kind]
    file = tmp_path / f"a{suffix}"
    write(file)
    expected = read_image(file, channels, shrink)
    found = image_decoder([file], channels, shrink)(0)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)
    assert expected.std() > 3


def animated(file):
    frames = [Image.fromarray(SMOOTH[..., i]) for i in range(2)]
    frames[0].save(file, save_all=True, append_images=frames[1:])


# What is left to Python: suffix, how to save it, channels.
LEFT = {
    "CMYK": (".jpg", save("CMYK"), 3),
    "color as gray": (".jpg", save("RGB"), 1),
    "color PNG as gray": (".png", save("RGB"), 1),
    "palette as gray": (".png", palette(8), 1),
    "animated": (".png", animated, 1),
    "WebP": (".webp", save("RGB"), 3),
    "TIFF": (".tif", save("RGB"), 3),
    "no image": (".jpg", lambda file: file.write_bytes(b"text"), 3),
}


@pytest.mark.parametrize("kind", LEFT)
def test_other_images_are_left_to_python(kind, tmp_path):
    suffix, write, channels = LEFT[kind]
    file = tmp_path / f"a{suffix}"
    write(file)
    assert image_decoder([file], channels, 1) is None


@pytest.mark.parametrize("shrink", [1, 2])
def test_images_of_different_kinds(shrink, tmp_path):
    files = []
    for suffix, write, channels in READ.values():
        if channels == 3:
            files.append(tmp_path / f"{len(files)}{suffix}")
            write(files[-1])
    decode = tf.function(image_decoder(files, 3, shrink))
    for index, file in enumerate(files):
        found = decode(tf.constant(index))
        assert found.dtype == "uint16"
        assert np.array_equal(found, read_image(file, 3, shrink))
    save("CMYK")(tmp_path / "b.jpg")
    assert image_decoder([*files, tmp_path / "b.jpg"], 3, shrink) is None


def test_metadata_of_pngs_are_not_read(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(SMOOTH[..., :3]).save(file, icc_profile=b"no profile" * 20)
    data = bytearray(file.read_bytes())
    data[data.index(b"iCCP") + 10] ^= 1  # a wrong checksum
    file.write_bytes(data)
    assert np.array_equal(image_decoder([file], 3, 1)(0), SMOOTH[..., :3])


@pytest.mark.parametrize("damage", ["truncated", "changed"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_damaged_files_raise(suffix, damage, tmp_path):
    file = tmp_path / f"a{suffix}"
    save("RGB")(file)
    decode = image_decoder([file], 3, 1)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] if damage == "truncated" else data[:60] + b"x" * 999)
    with pytest.raises(tf.errors.OpError):
        decode(0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("size", [(8, 8), (7, 13), (9, 4)])
def test_block_means_match_numpy(dtype, size):
    image = RNG.integers(0, np.iinfo(dtype).max, (*size, 3), dtype, endpoint=True)
    for shrink in (1, 2, 4):
        found = block_means(tf.constant(image), shrink)
        assert found.dtype == dtype
        assert np.array_equal(found, extract.block_means(image, shrink))
