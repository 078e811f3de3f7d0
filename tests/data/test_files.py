import cv2
import numpy as np
import pytest
from PIL import Image

from tfseg.data.files import picture_files, read_header, read_image, read_mask

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
GREY = RGB[..., 0]


def saved(tmp_path, array, name, mode=None, **options):
    image = Image.fromarray(array)
    path = tmp_path / name
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_lossless_pictures_come_back_byte_for_byte(tmp_path, suffix):
    assert np.array_equal(read_image(saved(tmp_path, RGB, f"a.{suffix}")), RGB)
    assert np.array_equal(read_image(saved(tmp_path, GREY, f"b.{suffix}")), GREY[..., None])


def test_alpha_is_dropped_and_a_palette_becomes_colour(tmp_path):
    rgba = np.dstack([RGB, np.full((5, 7), 9, np.uint8)])
    assert np.array_equal(read_image(saved(tmp_path, rgba, "a.png")), RGB)
    palette = Image.fromarray(RGB).convert("P")
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read_image(tmp_path / "p.png"), np.asarray(palette.convert("RGB")))


def test_sixteen_bits_stay(tmp_path):
    deep = (GREY.astype(np.uint16) * 257)[::-1]
    image = read_image(saved(tmp_path, np.ascontiguousarray(deep), "deep.png"))
    assert image.dtype == np.uint16
    assert np.array_equal(image[..., 0], deep)


def test_grey_is_repeated_when_colour_is_asked_for(tmp_path):
    path = saved(tmp_path, GREY, "g.png")
    assert np.array_equal(read_image(path, 3), np.repeat(GREY[..., None], 3, -1))
    assert read_image(saved(tmp_path, RGB, "c.png"), 1).shape == (5, 7, 1)


def test_a_picture_stored_on_its_side_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    path = saved(tmp_path, RGB, "turned.webp", exif=exif, lossless=True)
    assert np.array_equal(read_image(path), np.rot90(RGB, -1))
    assert read_header(path)[:2] == (7, 5)


def test_masks_are_ids_palette_indices_or_bits(tmp_path):
    ids = (GREY % 5).astype(np.uint8)
    assert np.array_equal(read_mask(saved(tmp_path, ids, "ids.png")), ids)
    indexed = Image.fromarray(ids)
    indexed.putpalette(list(range(200, 215)))
    indexed.save(tmp_path / "indexed.png")
    assert np.array_equal(read_mask(tmp_path / "indexed.png"), ids)
    bits = saved(tmp_path, (ids > 2).astype(np.uint8) * 255, "bits.png", mode="1")
    assert np.array_equal(read_mask(bits), ids > 2)
    grey_in_colour = saved(tmp_path, np.repeat(ids[..., None], 3, -1), "rgb.png")
    assert np.array_equal(read_mask(grey_in_colour), ids)


def test_masks_that_cannot_hold_ids_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"m\.jpg is a JPEG used as a mask.*PNG"):
        read_mask(saved(tmp_path, GREY, "m.jpg"))
    with pytest.raises(ValueError, match=r"c\.png holds colours"):
        read_mask(saved(tmp_path, RGB, "c.png"))
    with pytest.raises(ValueError, match=r"f\.tif holds floating numbers"):
        read_mask(saved(tmp_path, GREY.astype(np.float32), "f.tif"))


def test_what_would_lose_pages_or_bits_is_refused(tmp_path):
    page = Image.fromarray(GREY)
    page.save(tmp_path / "stack.tif", save_all=True, append_images=[page, page])
    with pytest.raises(ValueError, match=r"stack\.tif holds 3 pages"):
        read_image(tmp_path / "stack.tif")
    cv2.imwrite(str(tmp_path / "deep.png"), RGB.astype(np.uint16) * 257)
    with pytest.raises(ValueError, match=r"deep\.png holds colours of 16 bit"):
        read_image(tmp_path / "deep.png")
    wide = np.array([[70000, -5]], np.int32)
    assert np.array_equal(read_image(saved(tmp_path, wide, "wide.tif"))[..., 0], wide)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    big = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    path = saved(tmp_path, big, f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(OSError, match=rf"cut\.{suffix} is damaged"):
        read_image(path)


def test_junk_and_missing_files_are_named(tmp_path):
    (tmp_path / "junk.png").write_bytes(b"not a picture")
    with pytest.raises(OSError, match=r"junk\.png cannot be read"):
        read_image(tmp_path / "junk.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read_image(tmp_path / "gone.png")


def test_picture_files_are_sorted_and_nothing_else(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no picture"):
        picture_files(tmp_path)
    for name in ("b.PNG", "a.jpg", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in picture_files(tmp_path)] == ["a.jpg", "b.PNG"]
    with pytest.raises(FileNotFoundError, match="no folder"):
        picture_files(tmp_path / "missing")
