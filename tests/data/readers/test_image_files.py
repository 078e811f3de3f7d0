import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from tfseg.data.readers.image_files import (
    read_colors,
    read_header,
    read_image,
    read_mask,
    read_palette,
)
from tfseg.data.readers.image_listing import image_files
from tfseg.data.readers.pillow_files import stored_orientation
from tfseg.doctor.measure import measure_files

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
GRAY = RGB[..., 0]


def saved(tmp_path, array, name, mode=None, **options):
    image = Image.fromarray(array)
    path = tmp_path / name
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_lossless_images_are_read_exactly(tmp_path, suffix):
    assert np.array_equal(read_image(saved(tmp_path, RGB, f"a.{suffix}")), RGB)
    assert np.array_equal(read_image(saved(tmp_path, GRAY, f"b.{suffix}")), GRAY[..., None])


def test_alpha_is_dropped_and_a_palette_becomes_color(tmp_path):
    rgba = np.dstack([RGB, np.full((5, 7), 9, np.uint8)])
    assert np.array_equal(read_image(saved(tmp_path, rgba, "a.png")), RGB)
    palette = Image.fromarray(RGB).convert("P")
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read_image(tmp_path / "p.png"), np.asarray(palette.convert("RGB")))


def test_sixteen_bits_are_kept(tmp_path):
    deep = (GRAY.astype(np.uint16) * 257)[::-1]
    image = read_image(saved(tmp_path, np.ascontiguousarray(deep), "deep.png"))
    assert image.dtype == np.uint16
    assert np.array_equal(image[..., 0], deep)


DEEP = np.random.default_rng(2).integers(0, 65536, (5, 7, 4)).astype(np.uint16)
GRAY_ALPHA_TYPE, RGB_TYPE, RGBA_TYPE = 4, 2, 6


def write_png(path, array, color_type):
    """Write a 16-bit PNG of (H, W, C) by the PNG specification."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    array = array[..., : {GRAY_ALPHA_TYPE: 2, RGB_TYPE: 3, RGBA_TYPE: 4}[color_type]]
    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, color_type, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in array))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("color_type", "channels"), [(RGB_TYPE, 3), (RGBA_TYPE, 3), (GRAY_ALPHA_TYPE, 1)]
)
def test_sixteen_bit_channels_keep_their_order(tmp_path, color_type, channels):
    path = tmp_path / "deep.png"
    write_png(path, DEEP, color_type)
    image = read_image(path)
    assert image.dtype == np.uint16
    assert np.array_equal(image, DEEP[..., :channels])
    assert read_header(path) == (5, 7, channels, False)
    assert np.array_equal(read_image(path, 3)[..., 0], DEEP[..., 0])


def test_sixteen_bit_colors_in_a_tiff(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.tif"), DEEP[..., 2::-1])
    assert np.array_equal(read_image(tmp_path / "deep.tif"), DEEP[..., :3])
    assert read_header(tmp_path / "deep.tif") == (5, 7, 3, False)


def test_sixteen_bit_colors_are_converted_to_gray_by_luma(tmp_path):
    write_png(tmp_path / "deep.png", np.array([[[10000, 20000, 60000]]], np.uint16), RGB_TYPE)
    gray = read_image(tmp_path / "deep.png", 1)
    assert (gray.tolist(), gray.dtype) == ([[[21570]]], np.uint16)  # 2990 + 11740 + 6840


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_truncated_sixteen_bit_file_is_named(tmp_path, suffix, capfd):
    path = tmp_path / f"cut.{suffix}"
    big = np.random.default_rng(1).integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    if suffix == "png":
        write_png(path, big, RGB_TYPE)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:  # remove pixels, but not the directory at the end
        cv2.imwrite(str(path), big, [cv2.IMWRITE_TIFF_COMPRESSION, 5])
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 4 : len(whole) // 2] = bytes(len(whole) // 2 - len(whole) // 4)
        path.write_bytes(whole)
    capfd.readouterr()
    with pytest.raises(OSError, match=rf"cut\.{suffix} is damaged"):
        read_image(path)
    printed = capfd.readouterr().err
    assert "libpng" not in printed  # OpenCV did not read it
    assert "grfmt" not in printed


def test_sixteen_bit_colors_that_opencv_cannot_decode_are_named(tmp_path, monkeypatch):
    write_png(tmp_path / "deep.png", DEEP, RGB_TYPE)
    for array in (None, DEEP[..., 0], DEEP.astype(np.uint8)):
        monkeypatch.setattr(cv2, "imdecode", lambda *_, array=array: array)
        with pytest.raises(
            ValueError, match=r"deep\.png: OpenCV cannot decode its 16-bit colors\. Save it"
        ):
            read_image(tmp_path / "deep.png")


def test_gray_with_alpha_and_bits_are_gray(tmp_path):
    both = np.dstack([GRAY, 255 - GRAY])
    assert np.array_equal(read_image(saved(tmp_path, both, "la.png")), GRAY[..., None])
    assert read_header(tmp_path / "la.png") == (5, 7, 1, True)
    bits = saved(tmp_path, (GRAY > 99).astype(np.uint8) * 255, "bits.png", mode="1")
    assert np.array_equal(read_image(bits)[..., 0], (GRAY > 99) * 255)


def test_channels_are_converted(tmp_path):
    path = saved(tmp_path, GRAY, "g.png")
    assert np.array_equal(read_image(path, 3), np.repeat(GRAY[..., None], 3, -1))
    assert read_image(saved(tmp_path, RGB, "c.png"), 1).shape == (5, 7, 1)


def test_an_image_stored_sideways_is_read_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # upright after a clockwise turn by 90 degrees
    path = saved(tmp_path, RGB, "turned.webp", exif=exif, lossless=True)
    assert np.array_equal(read_image(path), np.rot90(RGB, -1))
    assert read_header(path)[:2] == (7, 5)


def test_damaged_exif_data_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, RGB, "turned.webp", exif=exif, lossless=True)
    path.write_bytes(path.read_bytes().replace(b"MM\0*", b"MX\0*"))
    assert np.array_equal(read_image(path), RGB)
    assert read_header(path)[:2] == (5, 7)
    assert measure_files(path, None).faults == []


def test_masks_are_ids_palette_indices_or_bits(tmp_path):
    ids = (GRAY % 5).astype(np.uint8)
    assert np.array_equal(read_mask(saved(tmp_path, ids, "ids.png")), ids)
    indexed = Image.fromarray(ids)
    indexed.putpalette(list(range(200, 215)))
    indexed.save(tmp_path / "indexed.png")
    assert np.array_equal(read_mask(tmp_path / "indexed.png"), ids)
    bits = saved(tmp_path, (ids > 2).astype(np.uint8) * 255, "bits.png", mode="1")
    assert np.array_equal(read_mask(bits), ids > 2)
    gray_in_color = saved(tmp_path, np.repeat(ids[..., None], 3, -1), "rgb.png")
    assert np.array_equal(read_mask(gray_in_color), ids)


def test_files_that_cannot_contain_ids_are_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"m\.jpg is a JPEG used as a mask.*PNG"):
        read_mask(saved(tmp_path, GRAY, "m.jpg"))
    with pytest.raises(ValueError, match=r"c\.png contains colors"):
        read_mask(saved(tmp_path, RGB, "c.png"))
    with pytest.raises(ValueError, match=r"w\.webp is a WEBP used as a mask: lossy"):
        read_mask(saved(tmp_path, RGB, "w.webp"))
    with pytest.raises(ValueError, match=r"l\.webp is a lossless WebP, which is not supported"):
        read_mask(saved(tmp_path, RGB, "l.webp", lossless=True))
    with pytest.raises(ValueError, match=r"f\.tif contains values that are not whole numbers"):
        read_mask(saved(tmp_path, GRAY.astype(np.float32) / 2, "f.tif"))


def test_files_that_would_lose_pages_or_bits_are_rejected(tmp_path):
    page = Image.fromarray(GRAY)
    page.save(tmp_path / "stack.tif", save_all=True, append_images=[page, page])
    with pytest.raises(ValueError, match=r"stack\.tif has 3 pages"):
        read_image(tmp_path / "stack.tif")
    write_png(tmp_path / "deep.png", DEEP, RGB_TYPE)
    with pytest.raises(ValueError, match=r"deep\.png contains 16-bit colors, not class ids"):
        read_mask(tmp_path / "deep.png")
    wide = np.array([[70000, -5]], np.int32)
    assert np.array_equal(read_image(saved(tmp_path, wide, "wide.tif"))[..., 0], wide)


def test_colors_of_masks_are_read_without_alpha(tmp_path):
    rgba = np.dstack([RGB, np.full((5, 7), 9, np.uint8)])
    assert np.array_equal(read_colors(saved(tmp_path, rgba, "a.png")), RGB)
    with pytest.raises(ValueError, match=r"m\.jpg is a JPEG used as a mask.*PNG"):
        read_colors(saved(tmp_path, RGB, "m.jpg"))


def test_the_palette_of_a_png_is_read(tmp_path):
    indexed = Image.fromarray((GRAY % 5).astype(np.uint8))
    indexed.putpalette(list(range(200, 215)))
    for suffix in ("png", "bmp"):
        indexed.save(tmp_path / f"p.{suffix}")
    assert read_palette(tmp_path / "p.png").tolist() == np.arange(200, 215).reshape(5, 3).tolist()
    assert read_palette(tmp_path / "p.bmp") is None
    assert read_palette(saved(tmp_path, GRAY, "g.png")) is None


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    big = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    path = saved(tmp_path, big, f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(OSError, match=rf"cut\.{suffix} is damaged"):
        read_image(path)


def test_junk_and_missing_files_are_named(tmp_path):
    (tmp_path / "junk.png").write_bytes(b"not an image")
    with pytest.raises(
        OSError, match=r"junk\.png cannot be read as an image\. Its content does not start like one"
    ):
        read_image(tmp_path / "junk.png")
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(OSError, match=r"notes\.txt cannot be read as an image\. Expected \.avif, "):
        read_image(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read_image(tmp_path / "gone.png")


def test_image_files_are_sorted_and_without_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="contains no image"):
        image_files(tmp_path)
    for name in ("b.PNG", "a.jpg", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in image_files(tmp_path)] == ["a.jpg", "b.PNG"]
    with pytest.raises(FileNotFoundError, match="no folder"):
        image_files(tmp_path / "missing")


def block_means(image, shrink):
    """Means of blocks, computed one by one; those at the border have fewer pixels."""
    rows, columns = (range(0, n, shrink) for n in image.shape[:2])
    return np.array(
        [[image[y : y + shrink, x : x + shrink].mean((0, 1)) for x in columns] for y in rows]
    )


def photo(height, width):
    """Smooth colors and a sharp edge."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([2 * x, 3 * y, 120 + 60 * np.sin(x / 7) * np.cos(y / 9)], -1)
    image[y > x] += 60
    return image.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(64, 96), (63, 89), (20, 20), (9, 65), (7, 30), (5, 3), (1, 1)])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_jpeg_is_read_smaller_almost_like_block_means(tmp_path, shrink, size, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, photo(*size), "a.jpg", exif=exif, quality=98, subsampling=0)
    whole, smaller = read_image(path), read_image(path, shrink=shrink)
    assert smaller.shape == (-(-whole.shape[0] // shrink), -(-whole.shape[1] // shrink), 3)
    assert smaller.dtype == np.uint8
    assert read_header(path)[:2] == whole.shape[:2]
    difference = np.abs(smaller - block_means(whole, shrink))
    assert difference.mean() < 2
    assert difference.max() < 20  # shifted by a block, the edge would differ by 60


@pytest.mark.parametrize(("size", "shrink"), [((64, 96), 2), ((63, 89), 4), ((63, 89), 8)])
def test_the_decoder_of_a_jpeg_shrinks_it(tmp_path, monkeypatch, size, shrink):
    path = saved(tmp_path, photo(*size), "a.jpg")
    decoded = []
    load = Image.Image.convert
    monkeypatch.setattr(
        Image.Image, "convert", lambda image, mode: decoded.append(image.size) or load(image, mode)
    )
    read_image(path, shrink=shrink)
    assert decoded == [(-(-size[1] // shrink), -(-size[0] // shrink))]


def test_a_gray_jpeg_is_read_smaller(tmp_path):
    path = saved(tmp_path, photo(40, 56)[..., 2], "g.jpg", quality=98)
    for channels, expected in ((None, 1), (3, 3)):
        smaller = read_image(path, channels, 4)
        assert smaller.shape == (10, 14, expected)
        assert np.abs(smaller - block_means(read_image(path), 4)).mean() < 2


@pytest.mark.parametrize("shrink", [2, 8])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "bmp"])
def test_other_images_are_read_smaller_by_block_means(tmp_path, shrink, suffix):
    path = saved(tmp_path, photo(21, 35), f"a.{suffix}")
    expected = block_means(read_image(path), shrink)
    assert np.abs(read_image(path, shrink=shrink) - expected).max() <= 0.5 + 1e-4


def test_sixteen_bit_images_are_read_smaller_by_block_means(tmp_path):
    write_png(tmp_path / "deep.png", DEEP, RGB_TYPE)
    smaller = read_image(tmp_path / "deep.png", shrink=4)
    assert smaller.dtype == np.uint16
    assert np.abs(smaller - block_means(DEEP[..., :3].astype(float), 4)).max() <= 0.5 + 1e-2
    wide = saved(tmp_path, np.array([[1.5, -2.0, 7.25]], np.float32), "f.tif")
    assert read_image(wide, shrink=2).tolist() == [[[-0.25], [7.25]]]


@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("shrink", [1, 2])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp"])
def test_errors_of_damaged_files_contain_the_file_name(tmp_path, suffix, shrink, monkeypatch):
    # damaged headers may claim gigabytes
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10000)
    path = saved(tmp_path, photo(40, 40), f"bad.{suffix}", quality=80)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    errors = []
    for number in range(60):
        damaged = bytearray(whole)
        end = len(whole) if number % 2 else 60  # anywhere, or in the header
        for place in rng.integers(0, end, 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, len(whole)) if rng.random() < 0.3 else None])
        try:
            read_image(path, shrink=shrink)  # a changed pixel is not an error
        except (OSError, ValueError) as error:
            errors.append(str(error))
    assert len(errors) > 9
    assert all(path.name in error for error in errors)


def test_errors_of_the_operating_system_are_passed_on(tmp_path):
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        read_image(tmp_path)


def packed_png(path, values, bits):
    """Write gray values of 1, 2 or 4 bit; the width is a multiple of 8."""
    groups = values.reshape(values.shape[0], -1, 8 // bits)
    rows = sum(groups[..., i] << (8 - bits * (i + 1)) for i in range(8 // bits)).astype(np.uint8)
    write_chunks(path, struct.pack(">IIBBBBB", *values.shape[::-1], bits, 0, 0, 0, 0), rows)


def write_chunks(path, head, rows, before=(), after=()):
    """Write a PNG of filtered rows, with chunks (kind, data, is its checksum right) around them."""
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = [(b"IHDR", head, True), *before, (b"IDAT", pixels, True), *after, (b"IEND", b"", True)]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content, is_right in chunks:
        checksum = zlib.crc32(kind + content) ^ (not is_right)
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    path.write_bytes(data)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_contain_ids_as_stored(tmp_path, bits):
    ids = np.random.default_rng(3).integers(0, 2**bits, (5, 16)).astype(np.uint8)
    packed_png(tmp_path / "m.png", ids, bits)
    assert np.array_equal(read_mask(tmp_path / "m.png"), ids)
    # an image of few bits is shown from black to white
    assert np.array_equal(read_image(tmp_path / "m.png")[..., 0], ids * (255 // (2**bits - 1)))


BIG_TEXT = (b"zTXt", b"XML\0\0" + zlib.compress(bytes(3 * 2**20)), True)
BIG_PROFILE = (b"iCCP", b"icc\0\0" + zlib.compress(bytes(2 * 2**20)), True)
WRONG_CHECKSUM = (b"tEXt", b"Comment\0hello", False)


@pytest.mark.parametrize("chunk", [BIG_TEXT, BIG_PROFILE, WRONG_CHECKSUM])
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("depth", [8, 16])
def test_metadata_do_not_keep_a_png_from_being_read(tmp_path, chunk, place, depth):
    path = tmp_path / "a.png"
    array = RGB if depth == 8 else DEEP[..., :3]
    head = struct.pack(">IIBBBBB", 7, 5, depth, RGB_TYPE, 0, 0, 0)
    write_chunks(path, head, array.astype(">u2" if depth == 16 else "u1"), **{place: [chunk]})
    assert read_header(path) == (5, 7, 3, depth == 8)
    assert np.array_equal(read_image(path), array)
    if depth == 8:
        assert np.array_equal(read_colors(path), array)


def test_a_wrong_checksum_of_pixels_is_damage(tmp_path):
    path = tmp_path / "a.png"
    head = struct.pack(">IIBBBBB", 7, 5, 8, RGB_TYPE, 0, 0, 0)
    write_chunks(path, head, RGB)
    path.write_bytes(path.read_bytes().replace(head, head[:-1] + b"\1"))
    with pytest.raises(OSError, match=r"a\.png (is damaged|cannot be read)"):
        read_image(path)


@pytest.mark.parametrize("value", [0, 9, 255, b"\x06", "6", (6, 6)])
def test_an_invalid_orientation_counts_as_upright(tmp_path, value):
    exif = Image.Exif()
    exif[0x0112] = value
    if isinstance(value, (bytes, str, tuple)):  # bytes, text or several numbers instead of one
        data = value.encode() if isinstance(value, str) else bytes(value)
        kind = {bytes: 7, str: 2}.get(type(value), 1)
        entry = struct.pack(">HHI4s", 0x0112, kind, len(data), data)
        raw = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)
    else:
        raw = exif.tobytes()
    path = saved(tmp_path, RGB, "a.jpg", exif=raw)
    assert read_header(path)[:2] == (5, 7)
    assert read_image(path).shape == (5, 7, 3)
    assert stored_orientation(path) == 1


def test_the_orientation_of_a_png_is_known_but_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, RGB, "a.png", exif=exif)
    assert stored_orientation(path) == 6
    assert np.array_equal(read_image(path), RGB)
    assert stored_orientation(saved(tmp_path, RGB, "b.png")) == 1
    assert stored_orientation(saved(tmp_path, RGB, "a.jpg", exif=exif)) == 6


@pytest.mark.parametrize("suffix", ["jfif", "gif", "jp2", "avif", "JPG"])
def test_other_formats_are_read(tmp_path, suffix):
    options = {"format": "JPEG"} if suffix == "jfif" else {}
    image = photo(32, 40)
    path = saved(tmp_path, image, f"a.{suffix}", **options)
    assert image_files(tmp_path) == [path]
    assert np.abs(read_image(path).astype(int) - image).mean() < 12
    assert read_header(path) == (32, 40, 3, True)


@pytest.mark.parametrize("length", [0, 4000, 9000])
def test_a_jpeg_2000_with_metadata_keeps_its_depth(tmp_path, length):
    image = photo(32, 40).astype(np.uint16) * 200
    data = cv2.imencode(".jp2", image[..., ::-1])[1].tobytes()
    start = data.index(b"jp2c") - 4
    box = struct.pack(">I4s", length + 8, b"uuid") + bytes(length)
    path = tmp_path / "a.jp2"
    path.write_bytes(data[:start] + box + data[start:])
    assert read_header(path)[3] is False
    assert read_image(path).dtype == np.uint16


def test_a_gif_mask_contains_gray_levels(tmp_path):
    # its programs renumber palettes: 0 and 2 would become 0 and 1
    ids = np.array([[0, 2, 2], [5, 0, 2]], np.uint8)
    assert np.array_equal(read_mask(saved(tmp_path, ids, "a.gif")), ids)
    with pytest.raises(ValueError, match=r"c\.gif contains colors"):
        read_mask(saved(tmp_path, RGB, "c.gif"))


def test_animations_are_rejected(tmp_path):
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())]
    for suffix in ("gif", "png", "webp"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        with pytest.raises(ValueError, match=rf"a\.{suffix} has 2 frames"):
            read_image(path)


@pytest.mark.parametrize("color", [0, 255])
def test_a_mask_whose_shape_is_in_alpha_is_rejected(tmp_path, color):
    alpha = np.where(GRAY > 99, 255, 0).astype(np.uint8)
    flat = np.full_like(alpha, color)
    for name, channels in (("rgba.png", [flat, flat, flat, alpha]), ("la.png", [flat, alpha])):
        path = saved(tmp_path, np.dstack(channels), name)
        for read in (read_mask, read_colors):
            with pytest.raises(ValueError, match=rf"{name} has the color.*alpha channel\. Save"):
                read(path)


def test_files_that_are_not_there_are_named(tmp_path):
    (tmp_path / "folder.png").mkdir()
    saved(tmp_path, RGB, "a.png")
    assert [path.name for path in image_files(tmp_path)] == ["a.png"]
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "empty.png").touch()
    assert len(image_files(tmp_path)) == 3
    with pytest.raises(FileNotFoundError, match=r"link\.png is a link to '\S*gone\.png', which"):
        read_image(tmp_path / "link.png")
    with pytest.raises(OSError, match=r"empty\.png is empty \(0 bytes\)"):
        read_image(tmp_path / "empty.png")


def test_formats_that_are_not_read_are_named(tmp_path):
    saved(tmp_path, RGB, "a.png")
    (tmp_path / "b.HEIC").touch()
    with pytest.warns(UserWarning, match=r"contains 1 files in formats .* b\.HEIC\. Convert"):
        assert len(image_files(tmp_path)) == 1
