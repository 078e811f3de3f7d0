"""TIFFs that Pillow refuses or reads wrongly: `Folder` and `GeoTiff` read the same pixels."""

import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from tfseg.data import Folder
from tfseg.data.readers.formats.geotiff import GeoTiff
from tfseg.data.readers.image_files import read_colors, read_header, read_image, read_mask
from tfseg.data.readers.orientation import upright
from tfseg.data.readers.tiff_header import read_tiff_header

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 200, (33, 45)).astype(np.uint8)
RGB = RNG.integers(0, 200, (33, 45, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 60000, (33, 45, 3)).astype(np.uint16)
IDS = RNG.integers(0, 3, (33, 45)).astype(np.uint8)
NAMES = ["water", "field", "town"]
ORIENTATION, NODATA = 274, 42113


def write(path, array, planar=False, **options):
    options.setdefault("photometric", "rgb" if array.ndim == 3 else "minisblack")
    options.setdefault("rowsperstrip", 10)
    if array.ndim == 3:
        options["planarconfig"] = "separate" if planar else "contig"
        array = np.moveaxis(array, -1, 0) if planar else array
    tifffile.imwrite(path, np.ascontiguousarray(array), **options)
    return path


def write_packed(path, values, bits, photometric, turn=1):
    """Write (H, W) values of 1, 2 or 4 bit as a TIFF without compression, by the specification."""
    rows = np.zeros((values.shape[0], -(-values.shape[1] // (8 // bits)) * (8 // bits)), np.uint8)
    rows[:, : values.shape[1]] = values
    groups = rows.reshape(len(rows), -1, 8 // bits)
    packed = sum(groups[..., i] << (8 - bits * (i + 1)) for i in range(8 // bits)).astype(np.uint8)
    data = packed.tobytes()
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8)]
    tags += [(274, turn), (277, 1), (278, height), (279, len(data))]
    offset = 8 + len(data)
    ifd = len(tags).to_bytes(2, "little")
    for tag, value in tags:
        ifd += np.array([tag, 4], "<u2").tobytes() + np.array([1, value], "<u4").tobytes()
    head = b"II*\0" + offset.to_bytes(4, "little")
    path.write_bytes(head + data + ifd + bytes(4))
    return path


def both(tmp_path, image=None, mask=None):
    """Return the same sample as `Folder` and as `GeoTiff` read it.

    Args:
        image, mask: functions that write a file.
    """
    for name, make in (("images", image), ("masks", mask)):
        (tmp_path / name).mkdir()
        (make or (lambda path: write(path, IDS)))(tmp_path / name / "a.tif")
    folders = tmp_path / "images", tmp_path / "masks"
    return Folder(*folders, NAMES)[0], GeoTiff(*folders, NAMES)[0]


KINDS = {
    "uint16 planar": (DEEP, {"planar": True}),
    "uint16 planar zlib tiles": (DEEP, {"planar": True, "compression": "zlib", "tile": (16, 16)}),
    "uint16 planar big endian": (DEEP, {"planar": True, "byteorder": ">"}),
    "uint16 planar as gray and two more": (DEEP, {"planar": True, "photometric": "minisblack"}),
    "uint16 as gray and two more": (DEEP, {"photometric": "minisblack"}),
    "uint8 planar": (RGB, {"planar": True}),
    "uint8 planar lzw": (RGB, {"planar": True, "compression": "lzw"}),
    "uint8 as gray and two more": (RGB, {"photometric": "minisblack"}),
    "uint8 big endian": (RGB, {"byteorder": ">", "compression": "zlib"}),
    "uint32": (GRAY.astype(np.uint32) * 10**7, {}),
    "int8": (GRAY.astype(np.int8), {}),
    "int16": (-GRAY.astype(np.int16), {}),
    "int32 RGB": (RGB.astype(np.int32) - 100, {}),
    "float16": (GRAY.astype(np.float16) / 8, {}),
    "float64": (GRAY.astype(np.float64) / 7, {}),
    "float32 RGB": (RGB.astype(np.float32) / 255, {}),
    "float32 RGB planar": (RGB.astype(np.float32) / 255, {"planar": True}),
    "int16 zlib big endian": (-GRAY.astype(np.int16), {"byteorder": ">", "compression": "zlib"}),
    "float32 lzw big endian": (GRAY / np.float32(8), {"byteorder": ">", "compression": "lzw"}),
    "uint16 RGB zstd": (DEEP, {"compression": "zstd"}),
    "uint8 zstd": (GRAY, {"compression": "zstd"}),
    "uint8 LERC": (GRAY, {"compression": "lerc"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_values_is_read_exactly(tmp_path, kind):
    array, options = KINDS[kind]
    sample, scene = both(tmp_path, lambda path: write(path, array, **options))
    expected = array.reshape(*array.shape[:2], -1).astype(np.float32)
    assert np.array_equal(sample["image"], expected)
    assert np.array_equal(scene["image"], expected)


@pytest.mark.parametrize("turn", range(2, 9))
@pytest.mark.parametrize("kind", ["gray", "gray zlib", "deep gray", "RGB", "deep RGB", "planar"])
def test_images_are_turned_upright(tmp_path, kind, turn):
    array = {"gray": GRAY, "gray zlib": GRAY, "deep gray": DEEP[..., 0], "RGB": RGB}.get(kind, DEEP)
    options = {"compression": "zlib"} if kind == "gray zlib" else {"planar": kind == "planar"}
    tag = [(ORIENTATION, "H", 1, turn, True)]

    def image(path):
        write(path, array, extratags=tag, rowsperstrip=33, **options)

    sample, scene = both(tmp_path, image, lambda path: write(path, upright(IDS, turn)))
    expected = upright(array, turn).reshape(*sample["image"].shape)
    assert np.array_equal(sample["image"], expected)
    assert np.array_equal(scene["image"], expected)


@pytest.mark.parametrize("turn", [3, 6])
def test_masks_are_turned_like_their_images(tmp_path, turn):
    tag = [(ORIENTATION, "H", 1, turn, True)]
    sample, scene = both(
        tmp_path,
        lambda path: write(path, upright(RGB, turn)),
        lambda path: write(path, IDS, extratags=tag, rowsperstrip=33),
    )
    assert np.array_equal(sample["mask"], upright(IDS, turn))
    assert np.array_equal(scene["mask"], upright(IDS, turn))


WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1


@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_masks_are_ids_as_stored_and_images_as_shown(tmp_path, bits, photometric):
    values = np.minimum(IDS, min(2**bits - 1, 2)).astype(np.uint16 if bits == 16 else np.uint8)

    def make(path):
        if bits < 8:
            return write_packed(path, values, bits, photometric)
        return write(path, values, photometric=photometric)

    sample, scene = both(tmp_path, make, make)
    assert np.array_equal(sample["mask"], values)
    assert np.array_equal(scene["mask"], values)
    largest = 2**bits - 1
    shown = largest - values if photometric == WHITE_IS_ZERO else values
    if bits < 8:
        shown = shown * (255 // largest)
    assert np.array_equal(sample["image"][..., 0], shown)
    assert np.array_equal(scene["image"][..., 0], shown)


def test_twelve_bit_images_keep_their_values(tmp_path):
    deep = (DEEP[:32, :44, 0] // 16).astype(np.uint16)  # 0 to 4095
    first, second = deep[:, ::2], deep[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1)
    path = write(tmp_path / "a.tif", packed.astype(np.uint8).reshape(32, 66), rowsperstrip=32)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["ImageWidth"].overwrite(44)
        file.pages[0].tags["BitsPerSample"].overwrite(12)
    assert read_header(path) == (32, 44, 1, False)
    assert np.array_equal(read_image(path)[..., 0], deep)


@pytest.mark.parametrize(
    "dtype", [np.uint32, np.int32, np.int64, np.uint64, np.float32, np.float64]
)
def test_masks_of_wide_values_are_read(tmp_path, dtype):
    def mask(path):
        write(path, IDS.astype(dtype))

    sample, scene = both(tmp_path, lambda path: write(path, RGB), mask)
    assert np.array_equal(sample["mask"], IDS)
    assert np.array_equal(scene["mask"], IDS)


def test_numbered_objects_of_64_bit_are_instances(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    write(tmp_path / "images" / "a.tif", RGB)
    write(tmp_path / "masks" / "a.tif", IDS.astype(np.uint64) * 2**40)
    reader = Folder(tmp_path / "images", tmp_path / "masks", ["cell"], instances=True)
    assert np.array_equal(reader[0]["instances"], IDS)


def test_fractions_in_masks_are_listed(tmp_path):
    path = write(tmp_path / "a.tif", IDS / np.float32(2))
    with pytest.raises(ValueError, match=r"a\.tif contains .*not whole numbers.*ids: 0\.5\."):
        read_mask(path)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (RNG.random((9, 9, 5)).astype(np.float32), {}, "5 bands of float32.*GeoTiff"),
        (RNG.integers(0, 9, (9, 9, 5), np.uint8), {}, "5 bands of uint8.*GeoTiff"),
        (RNG.integers(0, 9, (9, 9, 5), np.uint8), {"planar": True}, "5 bands of uint8.*GeoTiff"),
        (
            RNG.integers(0, 9, (9, 9, 4), np.uint8),
            {"photometric": "rgb", "extrasamples": ["unspecified"]},
            "4 bands of uint8.*GeoTiff",
        ),
        (RNG.integers(0, 9, (9, 9, 2), np.uint16), {}, "2 bands of uint16.*GeoTiff"),
        (np.ones((9, 9), np.complex64), {}, "complex numbers"),
    ],
)
def test_bands_are_never_dropped(tmp_path, array, options, message):
    options = {"photometric": "minisblack", **options}
    path = write(tmp_path / "a.tif", array, **options)
    for read in (read_header, read_image, read_mask, read_colors):
        with pytest.raises(ValueError, match=rf"a\.tif is a TIFF .*{message}"):
            read(path)


def test_complex_scenes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.tif is a TIFF of complex numbers"):
        both(tmp_path, mask=lambda path: write(path, np.ones((33, 45), np.complex64)))


@pytest.mark.parametrize("alpha", ["assocalpha", "unassalpha"])
@pytest.mark.parametrize("array", [GRAY[..., None], RGB, DEEP[..., :1], DEEP])
def test_alpha_is_dropped(tmp_path, array, alpha):
    opaque = np.full((33, 45, 1), np.iinfo(array.dtype).max, array.dtype)
    photometric = "rgb" if array.shape[-1] == 3 else "minisblack"
    path = write(
        tmp_path / "a.tif",
        np.concatenate([array, opaque], -1),
        photometric=photometric,
        extrasamples=[alpha],
    )
    assert np.array_equal(read_image(path), array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_band_of_data_that_is_called_alpha_is_warned_of(tmp_path, dtype):
    infrared = np.concatenate([RGB, GRAY[..., None]], -1).astype(dtype)
    path = write(tmp_path / "a.tif", infrared, extrasamples=["unassalpha"])
    with pytest.warns(UserWarning, match=r"a\.tif: its alpha channel.*looks like a band of data"):
        assert np.array_equal(read_image(path), RGB)


def pages(path, *others):
    with tifffile.TiffWriter(path) as file:
        file.write(RGB, photometric="rgb")
        for array, kind in others:
            file.write(array, subfiletype=kind, photometric="rgb" if array.ndim == 3 else "mask")


def test_overviews_and_masks_of_the_first_page_are_no_pages(tmp_path):
    def image(path):
        pages(path, (RGB[::2, ::2], 1), (RGB[::4, ::4], 1), (GRAY > 9, 4), (GRAY[::2] > 9, 5))

    sample, scene = both(tmp_path, image)
    assert np.array_equal(sample["image"], RGB)
    assert np.array_equal(scene["image"], RGB)
    pages(tmp_path / "b.tif", (RGB, 0))
    with pytest.raises(ValueError, match=r"b\.tif has 2 pages"):
        read_header(tmp_path / "b.tif")


def test_tiles_without_data_are_zero(tmp_path):
    scene = np.zeros((32, 48), np.uint8)
    scene[:16, :16] = GRAY[:16, :16]

    def image(path):
        tiles = (scene[y : y + 16, x : x + 16] for y in (0, 16) for x in (0, 16, 32))
        filled = (tile if tile.any() else None for tile in tiles)
        tifffile.imwrite(path, filled, shape=scene.shape, dtype=np.uint8, tile=(16, 16))

    sample, geotiff = both(
        tmp_path, image, lambda path: write(path, IDS[:32, :43].repeat(2, 1)[:, :48])
    )
    assert read_tiff_header(tmp_path / "images" / "a.tif").is_sparse
    assert np.array_equal(sample["image"][..., 0], scene)
    assert np.array_equal(geotiff["image"][..., 0], scene)


def smooth(channels):
    y, x = np.mgrid[:64, :80]
    return np.stack([2 * x, 3 * y, x + y], -1)[..., :channels].astype(np.uint8)


@pytest.mark.parametrize("kind", ["gray tiles", "gray strips", "RGB tiles", "YCbCr strips"])
def test_jpeg_compressed_scenes_are_read(tmp_path, kind):
    image = smooth(1)[..., 0] if kind.startswith("gray") else smooth(3)

    def make(path):
        if kind == "YCbCr strips":
            Image.fromarray(image).save(path, compression="jpeg", quality=95)
            return
        layout = {"tile": (16, 16)} if "tiles" in kind else {"rowsperstrip": 16}
        photometric = "minisblack" if image.ndim == 2 else "rgb"
        tifffile.imwrite(path, image, photometric=photometric, compression="jpeg", **layout)

    sample, scene = both(tmp_path, make, lambda path: write(path, np.zeros((64, 80), np.uint8)))
    expected = image.reshape(64, 80, -1).astype(int)
    assert np.abs(sample["image"] - expected).mean() < 3
    assert np.abs(scene["image"] - expected).mean() < 3


def test_scenes_without_compression_are_mapped_into_memory(tmp_path, monkeypatch):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    write(tmp_path / "images" / "a.tif", DEEP, rowsperstrip=33)
    write(tmp_path / "masks" / "a.tif", IDS)
    reader = GeoTiff(tmp_path / "images", tmp_path / "masks", NAMES, tile_size=(8, 8))
    mapped = []
    memmap = np.memmap
    monkeypatch.setattr(
        np, "memmap", lambda path, *rest: mapped.append(path.parent.name) or memmap(path, *rest)
    )
    assert np.array_equal(reader[7]["image"], DEEP[8:16, 8:16])
    assert mapped == ["images", "masks"]


def test_an_error_without_words_is_named_by_its_kind(tmp_path, monkeypatch):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    write(tmp_path / "images" / "a.tif", RGB, compression="zlib")
    write(tmp_path / "masks" / "a.tif", IDS)
    reader = GeoTiff(tmp_path / "images", tmp_path / "masks", NAMES)

    def fail(*_, **__):
        raise AssertionError

    monkeypatch.setattr(reader._scenes[0], "_decode", fail)
    with pytest.raises(OSError, match=r"a\.tif is damaged \(AssertionError\)"):
        reader[0]


def test_scenes_in_other_formats_are_not_left_out_silently(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.tif", IDS)
    Image.fromarray(IDS).save(tmp_path / "images" / "b.png")
    with pytest.warns(UserWarning, match=r"contains 1 images that are not TIFFs.*: b\.png"):
        GeoTiff(tmp_path / "images", tmp_path / "masks", NAMES)


@pytest.mark.parametrize("tag", ["RowsPerStrip", "StripByteCounts"])
def test_damaged_tags_are_named(tmp_path, tag):
    path = write(tmp_path / "a.tif", DEEP, planar=True, compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        count = file.pages[0].tags[tag].count
        file.pages[0].tags[tag].overwrite(0 if count == 1 else [7] * count)
    with pytest.raises(OSError, match=r"a\.tif (is damaged|cannot be read) .*\([^)]"):
        read_image(path)


def test_tifffile_is_named_where_it_is_missing(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", DEEP, planar=True)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImportError, match=r"pip install 'tfseg-keras\[tiff\]'"):
        read_header(path)
    assert read_header(write(tmp_path / "b.tif", RGB)) == (33, 45, 3, True)
