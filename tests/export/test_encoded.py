"""The signature for image files of a loaded SavedModel."""

import io
import json
import resource
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from export.informative_models import one_conv
from PIL import Image

from conftest import draw_sample
from tfseg.data import read_image
from tfseg.export import saved_model
from tfseg.inference import predict


@pytest.fixture(scope="module")
def encoded(unet_signatures):
    return unet_signatures["encoded"]


def call(signature, *files):
    """Return the outputs as NumPy arrays, with "masks" decoded; None for an empty mask."""
    outputs = signature(image_bytes=tf.constant(list(files), tf.string))
    outputs = {name: value.numpy() for name, value in outputs.items()}
    outputs["masks"] = [
        np.asarray(Image.open(io.BytesIO(mask))) if mask else None
        for mask in outputs["mask_png_bytes"]
    ]
    return outputs


def as_file(image, kind="PNG", **options):
    pil_image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    pil_image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_16_bit(image):
    """Return an RGB PNG of 16 bit, which Pillow does not write."""
    height, width = image.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + png_chunk(b"IEND", b"")


def png_bomb(width, height):
    """Return a PNG of black pixels, a thousandth of its decoded size."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = zlib.compress(bytes(height * (3 * width + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore:predict. the image values are in 200:UserWarning")
def test_files_of_mixed_sizes_and_types_give_the_outputs_of_predict(unet_model, encoded, tmp_path):
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
    outputs = call(encoded, *files.values())
    assert outputs["ok"].all()
    for index, (name, file) in enumerate(files.items()):
        (tmp_path / name).write_bytes(file)
        mask, expected = (
            outputs["masks"][index],
            predict(unet_model, read_image(tmp_path / name, 3)),
        )
        assert (mask.dtype, mask.shape) == (np.uint8, expected.shape), name
        # JPEG decoders of TensorFlow and Pillow differ in rounding
        agreement = np.mean(mask == expected)
        assert agreement == 1 or (name.endswith("jpg") and agreement > 0.98), (name, agreement)
        counts = np.bincount(mask.ravel(), minlength=3)
        assert outputs["class_pixels"][index].tolist() == counts.tolist()


def test_exif_orientation_is_not_applied(encoded):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    rotated = as_file(Image.fromarray(draw_sample(0)[0]), "JPEG", exif=exif)
    plain = as_file(draw_sample(0)[0], "JPEG")
    first, second = call(encoded, rotated, plain)["masks"]
    assert first.shape == draw_sample(0)[0].shape[:2]
    assert np.array_equal(first, second)


GOOD = as_file(draw_sample(3)[0])
BAD = {
    "junk": (
        b"these bytes are not an image, but there are enough for a header of any kind",
        b"not a JPEG or PNG",
    ),
    "empty": (b"", b"file is empty"),
    "only the signature of a JPEG": (b"\xff\xd8\xff", b"has no size"),
    "only the signature of a PNG": (b"\x89PNG\r\n\x1a\n", b"has no size"),
    "half a JPEG": (as_file(draw_sample(1)[0], "JPEG")[:900], b"damaged or cut off"),
    "half a PNG": (GOOD[: len(GOOD) // 2], b"damaged or cut off"),
    "damaged PNG": (GOOD[:200] + bytes(64) + GOOD[264:], b"damaged or cut off"),
    "damaged PNG of one pixel": (as_file(np.zeros((1, 1, 3), np.uint8))[:40], b"damaged"),
    "animated GIF": (
        as_file(
            Image.fromarray(draw_sample(1)[0]),
            "GIF",
            save_all=True,
            append_images=[Image.fromarray(draw_sample(2)[0])],
        ),
        b"not a JPEG or PNG",
    ),
    "BMP": (as_file(draw_sample(1)[0], "BMP"), b"not a JPEG or PNG"),
    "TIFF": (as_file(draw_sample(1)[0], "TIFF"), b"not a JPEG or PNG"),
    "PNG one row too large": (
        as_file(np.zeros((257, 256, 3), np.uint8)),
        b"The image has 257 x 256 pixels, more than 65536",
    ),
    "JPEG one column too large": (
        as_file(np.zeros((256, 257, 3), np.uint8), "JPEG"),
        b"The image has 256 x 257 pixels, more than 65536",
    ),
    "PNG of width 0": (GOOD[:16] + bytes(4) + GOOD[20:], b"has no size"),
    "PNG of negative size": (
        GOOD[:16] + b"\xff\xff\xff\xff\xff\xff\xff\xff" + GOOD[24:],
        b"has no size",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_flagged_with_a_reason_and_does_not_affect_the_others(name, encoded):
    alone = call(encoded, GOOD)
    file, reason = BAD[name]
    outputs = call(encoded, GOOD, file, GOOD)
    assert outputs["ok"].tolist() == [True, False, True]
    assert outputs["reason"][[0, 2]].tolist() == [b"", b""]
    assert reason in outputs["reason"][1]
    assert outputs["mask_png_bytes"][1] == b""
    assert outputs["class_pixels"][1].tolist() == [0, 0, 0]
    assert outputs["rle"][1].tolist() == [b"", b"", b""]
    for index in (0, 2):
        assert outputs["mask_png_bytes"][index] == alone["mask_png_bytes"][0]


def test_images_of_exactly_max_pixels_are_accepted(encoded):
    sizes = [(256, 256), (64, 1024), (1024, 64)]
    files = [as_file(np.zeros((*size, 3), np.uint8)) for size in sizes]
    assert call(encoded, *files)["ok"].all()


def test_an_empty_batch_of_files_gives_empty_outputs(encoded):
    outputs = call(encoded)
    assert outputs["mask_png_bytes"].shape == (0,)
    assert outputs["class_pixels"].shape == (0, 3)
    assert outputs["ok"].shape == (0,)


def test_a_decompression_bomb_is_not_decoded(encoded):
    bomb = png_bomb(10_000, 10_000)
    assert len(bomb) < 1_000_000
    call(encoded, GOOD)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert call(encoded, bomb, GOOD)["ok"].tolist() == [False, True]
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert growth < 100  # MiB; decoded it has 300 as uint8 and 1200 as float32


def test_run_lengths_are_readable_by_pycocotools(encoded):
    coco = pytest.importorskip("pycocotools.mask")
    outputs = call(encoded, as_file(draw_sample(0)[0]), as_file(draw_sample(1)[0][:5, :7]))
    for mask, texts in zip(outputs["masks"], outputs["rle"], strict=True):
        for index, text in enumerate(texts):
            runs = json.loads(text)
            assert runs["size"] == list(mask.shape)
            assert np.array_equal(coco.decode(coco.frPyObjects(runs, *mask.shape)), mask == index)


def test_gray_models_convert_colors_like_pillow(tmp_path):
    model = one_conv(2, (None, None, 1))
    version = saved_model(model, tmp_path / "name")
    signature = tf.saved_model.load(str(version)).signatures["encoded"]
    (tmp_path / "a.png").write_bytes(GOOD)
    expected = predict(model, read_image(tmp_path / "a.png", 1))
    assert np.array_equal(call(signature, GOOD)["masks"][0], expected)


@pytest.mark.parametrize("height", [32, None])
def test_a_model_of_fixed_size_accepts_files_of_any_size(height, request, tmp_path):
    if height is None:
        model = one_conv(3, (None, 48, 3))
        version = saved_model(model, tmp_path)
    else:
        model = request.getfixturevalue("fixed_size_model")
        version = request.getfixturevalue("fixed_size_version")
    signature = tf.saved_model.load(str(version)).signatures["encoded"]
    image = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    same, other = call(signature, as_file(image[:32, :48]), as_file(image))["masks"]
    assert np.array_equal(same, predict(model, image[:32, :48]))
    resized = tf.image.resize(image[None], (height or len(image), 48), antialias=True)
    expected = np.argmax(tf.image.resize(model(resized), image.shape[:2]), -1)[0]
    assert other.shape == expected.shape
    assert np.mean(other == expected) > 0.999


def test_a_sigmoid_model_counts_two_classes(tmp_path):
    model = one_conv(1)
    version = saved_model(model, tmp_path, ("probabilities", "rle"))
    signatures = tf.saved_model.load(str(version)).signatures
    outputs = call(signatures["encoded"], GOOD)
    counts = np.bincount(outputs["masks"][0].ravel(), minlength=2)
    assert counts.min() > 0
    assert outputs["class_pixels"][0].tolist() == counts.tolist()
    assert outputs["rle"].shape == (1, 2)
    served = signatures["uint8"](image=draw_sample(3)[0][None])
    assert np.array_equal(served["class_ids"][0], outputs["masks"][0])
    assert np.array_equal(served["class_ids"] == 1, served["probabilities"][..., 0] > 0.5)


def test_models_of_five_channels_have_no_signature_for_files(tmp_path):
    version = saved_model(one_conv(3, (None, None, 5)), tmp_path)
    assert set(tf.saved_model.load(str(version)).signatures) == {"serving_default", "uint8"}
