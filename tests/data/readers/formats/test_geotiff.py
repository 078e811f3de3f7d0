import numpy as np
import pytest
import tifffile
from PIL import Image

from tfseg.data.readers.formats.geotiff import GeoTiff

NAMES = ["water", "field", "town"]
RNG = np.random.default_rng(0)
SCENE = RNG.integers(1, 4000, (70, 90, 5)).astype(np.uint16)
MASK = RNG.integers(0, 3, (70, 90)).astype(np.uint8)
NODATA = 42113
CHUNKY = {"planarconfig": "contig", "photometric": "minisblack"}
PLANAR = {"planarconfig": "separate", "photometric": "minisblack"}

LAYOUTS = {
    "chunky strips": {**CHUNKY, "rowsperstrip": 9},
    "chunky tiles": {**CHUNKY, "tile": (16, 32)},
    "chunky zlib strips": {
        **CHUNKY,
        "rowsperstrip": 9,
        "compression": "zlib",
        "predictor": True,
    },
    "chunky lzw tiles": {
        **CHUNKY,
        "tile": (32, 16),
        "compression": "lzw",
        "predictor": True,
    },
    "planar strips": PLANAR,
    "planar tiles": {**PLANAR, "tile": (16, 32)},
    "planar zstd strips": {**PLANAR, "rowsperstrip": 9, "compression": "zstd"},
    "planar zlib tiles": {**PLANAR, "tile": (32, 16), "compression": "zlib"},
    "big endian": {**CHUNKY, "byteorder": ">"},
    "big endian zlib": {**PLANAR, "byteorder": ">", "tile": (16, 16), "compression": "zlib"},
    "bigtiff": {**CHUNKY, "bigtiff": True},
}


def write(folder, scene=SCENE, mask=MASK, name="a", nodata=None, **layout):
    for part in ("images", "masks"):
        (folder / part).mkdir(exist_ok=True)
    layout = layout or CHUNKY
    array = np.moveaxis(scene, -1, 0) if layout["planarconfig"] == "separate" else scene
    tags = [] if nodata is None else [(NODATA, "s", 0, nodata, True)]
    tifffile.imwrite(
        folder / "images" / f"{name}.tif", np.ascontiguousarray(array), extratags=tags, **layout
    )
    tifffile.imwrite(
        folder / "masks" / f"{name}.tif",
        mask,
        photometric="minisblack" if mask.ndim == 2 else "rgb",
    )


def read(folder, **options):
    return GeoTiff(folder / "images", folder / "masks", NAMES, **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pixels_whole_and_in_tiles(tmp_path, layout):
    write(tmp_path, **LAYOUTS[layout])
    reader = read(tmp_path)
    assert (reader.sizes.tolist(), reader.channels, reader.dtype, reader.name(0)) == (
        [[70, 90]],
        5,
        np.uint16,
        "a",
    )
    assert np.array_equal(reader[0]["image"], SCENE)
    assert np.array_equal(reader[0]["mask"], MASK)
    tiles = read(tmp_path, tile_size=(40, 37))
    assert tiles.sizes.tolist() == [[40, 37], [40, 37], [40, 16], [30, 37], [30, 37], [30, 16]]
    assert [tiles.name(i) for i in (0, 2, 4)] == ["a/0_0", "a/0_74", "a/40_37"]
    for i, (y, x) in enumerate((y, x) for y in (0, 40) for x in (0, 37, 74)):
        inside = np.s_[y : y + 40, x : x + 37]
        assert np.array_equal(tiles[i]["image"], SCENE[inside])
        assert np.array_equal(tiles[i]["mask"], MASK[inside])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_the_dtype_is_kept(tmp_path, dtype):
    scene = (SCENE[..., :2] % 200).astype(dtype)
    write(tmp_path, scene)
    assert read(tmp_path)[0]["image"].dtype == dtype
    assert np.array_equal(read(tmp_path)[0]["image"], scene)


def test_different_dtypes_and_wide_ones_become_float32(tmp_path):
    write(tmp_path)
    write(tmp_path, SCENE.astype(np.uint8), name="b")
    reader = read(tmp_path)
    assert reader.dtype == np.float32
    assert np.array_equal(reader[1]["image"], SCENE.astype(np.uint8).astype(np.float32))
    write(tmp_path, SCENE.astype(np.float64) / 7, name="a")
    (tmp_path / "images" / "b.tif").unlink()
    (tmp_path / "masks" / "b.tif").unlink()
    assert np.array_equal(read(tmp_path)[0]["image"], (SCENE / 7).astype(np.float32))


def test_bands_are_chosen_in_order(tmp_path):
    write(tmp_path, **LAYOUTS["planar zlib tiles"])
    reader = read(tmp_path, bands=[3, 0])
    assert reader.channels == 2
    assert np.array_equal(reader[0]["image"], SCENE[..., [3, 0]])
    for bands in ([5], [-1], []):
        with pytest.raises(
            ValueError,
            match=r"bands=.*, but \S*a\.tif has 5 bands\. Pass positions from 0 that every",
        ):
            read(tmp_path, bands=bands)


def test_scenes_without_the_same_bands_are_named(tmp_path):
    write(tmp_path)
    write(tmp_path, SCENE[..., :4], name="b")
    with pytest.raises(ValueError, match=r"bands=None, but .*a\.tif has 5, .*b\.tif has 4 bands"):
        read(tmp_path)
    assert read(tmp_path, bands=[3])[1]["image"].shape == (70, 90, 1)


@pytest.mark.parametrize("layout", ["chunky strips", "planar zlib tiles"])
def test_pixels_without_data_are_ignored(tmp_path, layout):
    scene = SCENE.copy()
    scene[3, 5] = 65535  # every band
    scene[4, 6, :4] = 65535  # all but one
    write(tmp_path, scene, nodata="65535", **LAYOUTS[layout])
    sample = read(tmp_path)[0]
    expected = MASK.copy()
    expected[3, 5] = 255
    assert np.array_equal(sample["mask"], expected)
    assert not sample["image"][3, 5].any()
    assert sample["image"][4, 6].tolist() == [0, 0, 0, 0, SCENE[4, 6, 4]]
    assert read(tmp_path, bands=[0])[0]["mask"][4, 6] == 255


@pytest.mark.parametrize(
    ("nodata", "stored"), [("nan", np.nan), ("-3.4028234663852886e+38", -3.4028235e38)]
)
def test_floating_point_pixels_without_data_are_ignored_and_finite(tmp_path, nodata, stored):
    scene = SCENE.astype(np.float32)
    scene[1, 2] = stored
    scene[9, 9, 2] = np.nan
    write(tmp_path, scene, nodata=nodata)
    sample = read(tmp_path)[0]
    assert np.argwhere(sample["mask"] == 255).tolist() == [[1, 2]]
    assert sample["image"][9, 9, 2] == 0
    assert not sample["image"][1, 2].any()


def test_a_nodata_value_outside_the_dtype_is_ignored(tmp_path):
    write(tmp_path, nodata="-9999")
    assert np.array_equal(read(tmp_path)[0]["mask"], MASK)
    write(tmp_path, nodata="none")
    assert np.array_equal(read(tmp_path)[0]["mask"], MASK)


def test_masks_can_be_png_and_their_values_are_translated(tmp_path):
    write(tmp_path)
    (tmp_path / "masks" / "a.tif").unlink()
    Image.fromarray(np.array([0, 10, 20], np.uint8)[MASK]).save(tmp_path / "masks" / "a.png")
    reader = read(tmp_path, mask_values={10: 0, 20: 2}, ignore_value=0, tile_size=(64, 64))
    assert np.array_equal(reader[1]["mask"], np.array([255, 0, 2])[MASK[:64, 64:]])
    with pytest.raises(ValueError, match=r"a\.png at row 64, column 0 contains values .*: 10"):
        read(tmp_path, tile_size=(64, 64))[2]


def test_black_and_white_masks_are_two_classes(tmp_path):
    write(tmp_path, mask=(MASK // 2) * np.uint8(255))
    folders = tmp_path / "images", tmp_path / "masks"
    for tile_size in (None, (64, 64)):
        reader = GeoTiff(*folders, ["land", "town"], tile_size=tile_size)
        assert reader.mask_values == {0: 0, 255: 1}
        assert np.array_equal(reader[0]["mask"], MASK[: tile_size and 64, : tile_size and 64] // 2)
    with pytest.raises(ValueError, match=r"GeoTiff: mask_values=.* contains the ids 5\."):
        read(tmp_path, mask_values={0: 0, 255: 5})


def test_floating_point_masks_must_be_whole_numbers(tmp_path):
    write(tmp_path, mask=MASK.astype(np.float32))
    assert np.array_equal(read(tmp_path)[0]["mask"], MASK)
    write(tmp_path, mask=MASK + np.float32(0.5))
    with pytest.raises(
        ValueError, match=r"a\.tif at row 0, column 0 contains values that are not whole"
    ):
        read(tmp_path)[0]


def test_overviews_are_ignored_and_more_pages_rejected(tmp_path):
    write(tmp_path)
    with tifffile.TiffWriter(tmp_path / "images" / "a.tif") as file:
        file.write(SCENE, **CHUNKY)
        file.write(SCENE[::2, ::2], subfiletype=1, **CHUNKY)
    assert np.array_equal(read(tmp_path)[0]["image"], SCENE)
    tifffile.imwrite(
        tmp_path / "images" / "a.tif", np.moveaxis(SCENE, -1, 0), photometric="minisblack"
    )
    with pytest.raises(ValueError, match=r"a\.tif has 5 pages of depth 1. Save a single page"):
        read(tmp_path)


def test_scenes_and_masks_must_pair(tmp_path):
    write(tmp_path)
    write(tmp_path, name="b", mask=MASK[:, :-1])
    with pytest.raises(
        ValueError, match=r"b\.tif is 90 x 70, but its mask .*b\.tif is 89 x 70 pixels"
    ):
        read(tmp_path)
    write(tmp_path, name="b", mask=np.stack([MASK, MASK, MASK], -1))
    with pytest.raises(ValueError, match=r"b\.tif has 3 bands. Expected one band"):
        read(tmp_path)
    (tmp_path / "masks" / "b.tif").rename(tmp_path / "masks" / "c.tif")
    with pytest.raises(
        ValueError, match=r"(?s)2 problems.*b\.tif has no mask.*c\.tif has no scene"
    ):
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="contains no image"):
        GeoTiff(tmp_path / "empty", tmp_path / "masks", NAMES)


def test_tile_sizes_are_checked(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match="tile_size=0 must be a whole number"):
        read(tmp_path, tile_size=(0, 5))


@pytest.mark.parametrize("layout", ["chunky strips", "planar zlib tiles"])
def test_damaged_files_are_named(tmp_path, layout):
    write(tmp_path, **LAYOUTS[layout])
    reader = read(tmp_path, tile_size=(32, 32))
    path = tmp_path / "images" / "a.tif"
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(OSError, match=r"a\.tif is damaged"):
        [reader[i] for i in range(len(reader))]
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.tif cannot be read as a TIFF"):
        read(tmp_path)
