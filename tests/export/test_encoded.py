"""The signature that takes files, of a loaded artifact: bad ones flag themselves and spoil no other."""

import io
import json
import resource
import struct
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from conftest import draw_sample
from tfseg.data import read_image
from tfseg.export import saved_model
from tfseg.inference import predict
from tfseg.models import unet

LIMIT = 80 * 80


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return unet(3, filters=(4, 8))


@pytest.fixture(scope="module")
def encoded(model, tmp_path_factory):
    version = saved_model(
        model, tmp_path_factory.mktemp("name"), outputs=("rle",), max_pixels=LIMIT
    )
    return tf.saved_model.load(str(version)).signatures["encoded"]


def ask(signature, *files):
    """The answers as NumPy arrays, masks decoded; None for an empty one."""
    answers = signature(image_bytes=tf.constant(list(files), tf.string))
    answers = {name: value.numpy() for name, value in answers.items()}
    answers["masks"] = [
        np.asarray(Image.open(io.BytesIO(mask))) if mask else None
        for mask in answers["mask_png_bytes"]
    ]
    return answers


def as_file(image, kind="PNG", **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        file, kind, **options
    )
    return file.getvalue()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_16_bit(image):
    """An RGB PNG of 16 bit, which Pillow does not write."""
    height, width = image.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def png_bomb(width, height):
    """A PNG that says it is large and whose pixels are black: a thousandth of what it decodes to."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = zlib.compress(bytes(height * (3 * width + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def test_files_of_mixed_sizes_have_the_answers_of_predict(model, encoded, tmp_path):
    image = draw_sample(0)[0]
    files = {
        "a.png": as_file(image),
        "b.jpg": as_file(image[:31, :17], "JPEG", quality=90),
        "c.jpg": as_file(image[:20, :20], "JPEG", progressive=True),
        "cmyk.jpg": as_file(Image.fromarray(image).convert("CMYK"), "JPEG"),
        "gray.jpg": as_file(Image.fromarray(image).convert("L"), "JPEG"),
        "gray.png": as_file(Image.fromarray(image).convert("L")),
        "one_bit.png": as_file(Image.fromarray(image).convert("1")),
        "palette.png": as_file(Image.fromarray(image).quantize(16)),
        "alpha.png": as_file(np.dstack([image, image[..., :1]])),
        "gray_alpha.png": as_file(Image.fromarray(image).convert("LA")),
        "deep.png": png_of_16_bit(image.astype(np.uint16) * 200),
        "deep_gray.png": as_file(image[..., 0].astype(np.uint16) * 200),
        "dot.png": as_file(image[:1, :1]),
    }
    answers = ask(encoded, *files.values())
    assert answers["ok"].all()
    for index, (name, file) in enumerate(files.items()):
        (tmp_path / name).write_bytes(file)
        expected = predict(model, read_image(tmp_path / name, 3))
        mask = answers["masks"][index]
        assert mask.shape == expected.shape, name
        # libjpeg has several ways to enlarge colors; everything else is the same to the bit
        agreement = np.mean(mask == expected)
        assert agreement == 1 or (name.endswith("jpg") and agreement > 0.98), (name, agreement)
        assert (
            answers["class_pixels"][index].tolist()
            == np.bincount(mask.ravel(), minlength=3).tolist()
        )


def test_a_camera_s_orientation_is_left_alone(encoded):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    turned = as_file(Image.fromarray(draw_sample(0)[0]), "JPEG", exif=exif)
    plain = as_file(draw_sample(0)[0], "JPEG")
    first, second = ask(encoded, turned, plain)["masks"]
    assert first.shape == draw_sample(0)[0].shape[:2]
    assert np.array_equal(first, second)


GOOD = as_file(draw_sample(3)[0])
BAD = {
    "junk": b"these are no pixels, but there are enough of them for a header of any kind",
    "nothing": b"",
    "a JPEG's first bytes": b"\xff\xd8\xff",
    "a PNG's first bytes": b"\x89PNG\r\n\x1a\n",
    "half a JPEG": as_file(draw_sample(1)[0], "JPEG")[:900],
    "half a PNG": GOOD[: len(GOOD) // 2],
    "a damaged PNG": GOOD[:200] + bytes(64) + GOOD[264:],
    "an animation": as_file(
        Image.fromarray(draw_sample(1)[0]),
        "GIF",
        save_all=True,
        append_images=[Image.fromarray(draw_sample(2)[0])],
    ),
    "a BMP": as_file(draw_sample(1)[0], "BMP"),
    "a TIFF": as_file(draw_sample(1)[0], "TIFF"),
    "one row too large": as_file(np.zeros((81, 80, 3), np.uint8)),
    "a JPEG too large": as_file(np.zeros((80, 81, 3), np.uint8), "JPEG"),
    "a PNG of no width": GOOD[:16] + bytes(4) + GOOD[20:],
    "a PNG of negative width": GOOD[:16] + b"\xff\xff\xff\xff\xff\xff\xff\xff" + GOOD[24:],
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_flags_itself_and_spoils_no_other(name, encoded):
    alone = ask(encoded, GOOD)
    answers = ask(encoded, GOOD, BAD[name], GOOD)
    assert answers["ok"].tolist() == [True, False, True]
    assert answers["mask_png_bytes"][1] == b""
    assert answers["class_pixels"][1].tolist() == [0, 0, 0]
    assert answers["rle"][1].tolist() == [b"", b"", b""]
    for index in (0, 2):
        assert answers["mask_png_bytes"][index] == alone["mask_png_bytes"][0]


def test_a_image_of_the_largest_size_is_taken(encoded):
    files = [as_file(np.zeros((*size, 3), np.uint8)) for size in ((80, 80), (20, 320), (320, 20))]
    assert ask(encoded, *files)["ok"].all()


def test_no_files_have_no_answers(encoded):
    answers = ask(encoded)
    assert answers["mask_png_bytes"].shape == (0,)
    assert answers["class_pixels"].shape == (0, 3)
    assert answers["ok"].shape == (0,)


def test_a_decompression_bomb_is_not_decoded(encoded):
    bomb = png_bomb(10_000, 10_000)
    assert len(bomb) < 1_000_000
    ask(encoded, GOOD)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert ask(encoded, bomb, GOOD)["ok"].tolist() == [False, True]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 100  # MiB; decoded it has 300, and 1200 in float32


def test_gray_models_see_colors_as_pillow_makes_them_gray(tmp_path):
    model = unet(2, (None, None, 1), filters=(4, 8))
    version = saved_model(model, tmp_path / "name")
    signature = tf.saved_model.load(str(version)).signatures["encoded"]
    (tmp_path / "a.png").write_bytes(GOOD)
    assert np.array_equal(
        ask(signature, GOOD)["masks"][0], predict(model, read_image(tmp_path / "a.png", 1))
    )


def test_run_lengths_are_coco_s(encoded):
    coco = pytest.importorskip("pycocotools.mask")
    answers = ask(encoded, as_file(draw_sample(0)[0]), as_file(draw_sample(1)[0][:5, :7]))
    for mask, texts in zip(answers["masks"], answers["rle"], strict=True):
        for index, text in enumerate(texts):
            runs = json.loads(text)
            assert runs["size"] == list(mask.shape)
            assert np.array_equal(coco.decode(coco.frPyObjects(runs, *mask.shape)), mask == index)


@pytest.mark.parametrize("shape", [(32, 48, 3), (None, 48, 3)])
def test_a_model_of_fixed_size_takes_images_of_any(shape, tmp_path):
    model = unet(3, shape, filters=(4, 8))
    signature = tf.saved_model.load(str(saved_model(model, tmp_path))).signatures["encoded"]
    image = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    same, other = ask(signature, as_file(image[:32, :48]), as_file(image))["masks"]
    assert np.array_equal(same, predict(model, image[:32, :48]))
    fitted = tf.image.resize(image[None], (shape[0] or len(image), 48), antialias=True)
    expected = np.argmax(tf.image.resize(model(fitted), image.shape[:2]), -1)[0]
    assert other.shape == expected.shape
    assert np.mean(other == expected) > 0.999


def test_a_sigmoid_has_two_classes_to_count(tmp_path):
    model = unet(1, filters=(4, 8))
    signature = tf.saved_model.load(str(saved_model(model, tmp_path, ("rle",)))).signatures[
        "encoded"
    ]
    answers = ask(signature, GOOD)
    assert (
        answers["class_pixels"][0].tolist()
        == np.bincount(answers["masks"][0].ravel(), minlength=2).tolist()
    )
    assert answers["rle"].shape == (1, 2)


def test_five_channels_come_in_no_file(tmp_path):
    version = saved_model(unet(3, (None, None, 5), filters=(4, 8)), tmp_path)
    assert set(tf.saved_model.load(str(version)).signatures) == {"serving_default", "uint8"}
