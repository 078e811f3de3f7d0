import numpy as np
import pytest
from PIL import Image

from tfseg.data import Folder, find_folders
from tfseg.doctor import check

NAMES = ["road", "tree", "car"]
COLORS = {"road": (128, 64, 128), "tree": (0, 200, 10), "car": (0, 10, 200)}
TABLE = np.array([*COLORS.values(), (0, 0, 0)], np.uint8)
IDS = np.array([[0, 1, 1, 2], [2, 2, 0, 3], [1, 0, 0, 0]])  # 3: the ignored color
EXPECTED = np.array([[0, 1, 1, 2], [2, 2, 0, 255], [1, 0, 0, 0]])


@pytest.fixture
def write(tmp_path):
    """Write masks and random images of their sizes; return the two folders."""

    def write(**masks):
        for name in ("images", "masks"):
            (tmp_path / name).mkdir(exist_ok=True)
        for stem, mask in masks.items():
            height, width = mask.size[::-1] if isinstance(mask, Image.Image) else mask.shape[:2]
            picture = np.random.default_rng(len(stem)).integers(
                0, 256, (height, width, 3), np.uint8
            )
            Image.fromarray(picture).save(tmp_path / "images" / f"{stem}.png")
            mask = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
            mask.save(tmp_path / "masks" / f"{stem}.png")
        return tmp_path / "images", tmp_path / "masks"

    return write


def in_palette(ids, colors):
    image = Image.fromarray(ids.astype(np.uint8))
    image.putpalette(np.asarray(colors, np.uint8).ravel().tolist())
    return image


def test_colors_stand_for_classes(write):
    alpha = np.dstack([TABLE[IDS], np.full(IDS.shape, 40, np.uint8)])
    folders = write(rgb=TABLE[IDS], rgba=alpha, p=in_palette(3 - IDS, TABLE[::-1]))
    for colors in (COLORS, dict(reversed(COLORS.items())), list(COLORS.values()), TABLE[:3]):
        reader = Folder(*folders, NAMES, colors=colors, ignore=(0, 0, 0))
        for index in range(3):
            mask = reader[index]["mask"]
            assert mask.dtype == np.uint8
            assert np.array_equal(mask, EXPECTED), reader.name(index)
        assert np.array_equal(reader.palette, TABLE[:3])
    assert np.array_equal(reader.subset([1]).palette, TABLE[:3])
    assert check(reader).class_pixels.tolist() == [15, 9, 9]


def test_a_single_class_has_a_color_for_the_background_too(write):
    folders = write(a=np.array([[[9, 9, 9], [255, 0, 0]]], np.uint8))
    reader = Folder(*folders, ["road"], colors={"road": (255, 0, 0), "background": (9, 9, 9)})
    assert reader[0]["mask"].tolist() == [[0, 1]]
    assert reader.palette.tolist() == [[9, 9, 9], [255, 0, 0]]


def test_a_gray_file_among_colored_masks_is_read_by_its_color(write):
    # a PNG optimizer saves a mask that is black all over so
    reader = Folder(*write(a=np.zeros((2, 2), np.uint8)), NAMES, colors=COLORS, ignore=(0, 0, 0))
    assert (reader[0]["mask"] == 255).all()


def test_colors_of_no_class_are_told_with_the_nearest(write):
    mask = TABLE[IDS]
    mask[0, 0], mask[1, :2] = (130, 64, 120), (0, 0, 100)
    reader = Folder(*write(a=mask), NAMES, colors=COLORS)
    message = (
        r"a\.png holds colors that stand for no class: \(0, 0, 100\) on 2 pixels \(nearest: \(0, 10, 200\), 'car'\); "
        r"\(0, 0, 0\) on 1 pixel \(nearest: .*\); \(130, 64, 120\) on 1 pixel \(nearest: \(128, 64, 128\), 'road'\)\. "
        r"Add the color to `colors`, name it as `ignore`"
    )
    with pytest.raises(ValueError, match=message):
        reader[0]
    near_void = TABLE[IDS] + np.uint8(1) * (IDS == 3)[..., None].astype(np.uint8)
    with pytest.raises(
        ValueError,
        match=r"holds a color that stands for no class: \(1, 1, 1\).*\(0, 0, 0\), 'ignored'",
    ):
        Folder(*write(a=near_void), NAMES, colors=COLORS, ignore=(0, 0, 0))[0]


def test_many_strange_colors_are_those_of_soft_edges(write):
    mask = np.arange(7 * 3, dtype=np.uint8).reshape(1, 7, 3)
    with pytest.raises(
        ValueError, match=r"\) on 1 pixel .*; and 3 more colors\. So many come of a mask .* resized"
    ):
        Folder(*write(a=mask), NAMES, colors=COLORS)[0]


def test_masks_that_hold_no_colors(write, tmp_path):
    images, masks = write(a=IDS.astype(np.uint16))
    with pytest.raises(ValueError, match=r"a\.png holds uint16 numbers, not colors of 8 bit"):
        Folder(images, masks, NAMES, colors=COLORS)[0]
    (masks / "a.png").unlink()
    Image.fromarray(TABLE[IDS]).save(masks / "a.jpg")
    with pytest.raises(
        ValueError, match=r"a\.jpg is a JPEG used as a mask: lossy.*Save masks as PNG"
    ):
        Folder(images, masks, NAMES, colors=COLORS)[0]


@pytest.mark.parametrize(
    ("colors", "message"),
    [
        (
            {"road": (1, 2, 3), "tram": (4, 5, 6)},
            "Without a color: tree, car; colors of no class: tram",
        ),
        ([(1, 2, 3)], r"1 came for 3 classes \(road, tree, car\)"),
        ([(1, 2, 3), (4, 5, 6), (1, 2, 3)], r"'road' and 'car' both have \(1, 2, 3\)"),
        ([(1, 2, 3), (4, 5, 256), (7, 8, 9)], r"colors: tree: \(4, 5, 256\) is no color.*0\.\.255"),
        ([(1, 2, 3), (4, 5), (7, 8, 9)], r"colors: tree: \(4, 5\) is no color"),
        ([(1, 2, 3), (4, 5, 0.5), (7, 8, 9)], r"colors: tree: \(4, 5, 0\.5\) is no color"),
    ],
)
def test_colors_are_checked(write, colors, message):
    with pytest.raises(ValueError, match=message):
        Folder(*write(a=TABLE[IDS]), NAMES, colors=colors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colors": COLORS, "mask_values": {0: 0}}, "mask_values and colors came"),
        ({"colors": COLORS, "instances": True}, "colors and instances came"),
        ({"colors": COLORS, "ignore": 11}, r"ignore=11 came with `colors`.*\(0, 0, 0\)"),
        ({"ignore": (0, 0, 0)}, r"ignore=\(0, 0, 0\) is no value of a mask"),
        (
            {"instances": True},
            r"one class of objects, but class_names are road, tree, car.*\[\"background\", name\]",
        ),
    ],
)
def test_arguments_that_do_not_go_together(write, options, message):
    with pytest.raises(ValueError, match=message):
        Folder(*write(a=TABLE[IDS]), NAMES, **options)


def test_the_palette_that_all_files_hold_is_the_readers(write):
    ids = np.minimum(IDS, 2)
    folders = write(a=in_palette(ids, TABLE), b=in_palette(ids.T, TABLE[:3]))
    assert np.array_equal(Folder(*folders, NAMES).palette, TABLE[:3])
    assert np.array_equal(Folder(*folders, NAMES)[1]["mask"], ids.T)
    # the id of a class stands at another place on disk: 2 is road, 0 is tree
    assert np.array_equal(
        Folder(*folders, ["road", "tree"], mask_values={2: 0, 0: 1}).palette, TABLE[[2, 0]]
    )
    assert Folder(*folders, NAMES, mask_values={0: 0, 1: 1}).palette is None  # no value, no color


@pytest.mark.parametrize(
    "other",
    [
        in_palette(np.minimum(IDS, 2), TABLE[::-1]),  # another palette
        in_palette(np.minimum(IDS, 1), TABLE[:2]),  # too short a one
        np.minimum(IDS, 2).astype(np.uint8),  # none
    ],
)
def test_no_palette_unless_all_agree(write, other):
    reader = Folder(*write(a=in_palette(np.minimum(IDS, 2), TABLE), b=other), NAMES)
    assert reader.palette is None
    assert reader[1]["mask"].max() <= 2


def test_a_ramp_of_grays_is_no_choice_of_colors(write):
    ramp = np.repeat(np.arange(256)[:, None], 3, axis=1)
    assert Folder(*write(a=in_palette(np.minimum(IDS, 2), ramp)), NAMES).palette is None


OBJECTS = np.array(
    [[0, 900, 900, 0], [0, 0, 900, 3], [255, 0, 0, 3]]
)  # gaps; 255 is an object like any other


@pytest.mark.parametrize(
    ("names", "kind"), [(["nucleus"], np.uint16), (["background", "nucleus"], np.int32)]
)
def test_numbered_objects_are_instances(write, names, kind):
    images, masks = write(a=OBJECTS.astype(np.uint16))
    if kind == np.int32:
        (masks / "a.png").unlink()
        Image.fromarray(np.where(OBJECTS == 900, 70000, OBJECTS).astype(kind)).save(masks / "a.tif")
    reader = Folder(images, masks, names, instances=True)
    assert reader.fields == ("image", "mask", "instances", "boxes", "classes") == tuple(reader[0])
    assert reader.label_names == ["background", "nucleus"]
    sample = reader[0]
    assert sample["instances"].tolist() == [[0, 3, 3, 0], [0, 0, 3, 1], [2, 0, 0, 1]]
    assert sample["mask"].tolist() == [[0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]
    assert sample["boxes"].tolist() == [[3, 1, 4, 3], [0, 2, 1, 3], [1, 0, 3, 2]]
    assert sample["classes"].tolist() == [1, 1, 1]
    kinds = [sample[name].dtype for name in ("mask", "instances", "boxes", "classes")]
    assert kinds == [np.uint8, np.int32, np.float32, np.int32]


def test_a_image_without_objects(write):
    sample = Folder(*write(a=np.zeros((2, 3), np.uint8)), ["nucleus"], instances=True)[0]
    assert (sample["boxes"].shape, sample["classes"].shape, sample["instances"].max()) == (
        (0, 4),
        (0,),
        0,
    )


def test_objects_have_positive_numbers_and_ignore_no_part(write):
    images, masks = write(a=OBJECTS.astype(np.uint16))
    with pytest.raises(ValueError, match=r"ignore=3 came with instances=True"):
        Folder(images, masks, ["nucleus"], ignore=3, instances=True)
    (masks / "a.png").unlink()
    Image.fromarray((-OBJECTS).astype(np.int32)).save(masks / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif holds the negative value -900"):
        Folder(images, masks, ["nucleus"], instances=True)[0]


def test_images_of_sixteen_bit_are_floats_of_their_values(write):
    images, masks = write(a=np.minimum(IDS, 2).astype(np.uint8))
    deep = np.random.default_rng(0).integers(0, 65536, (3, 4)).astype(np.uint16)
    Image.fromarray(deep).save(images / "a.png")
    reader = Folder(images, masks, NAMES)
    assert (reader.channels, reader.dtype) == (1, np.float32)
    assert np.array_equal(reader[0]["image"][..., 0], deep)


@pytest.mark.parametrize(
    "names", [("images", "labels"), ("JPEGImages", "SegmentationClass"), ("train", "trainannot")]
)
def test_the_folders_of_a_data_set_are_found_by_their_usual_names(tmp_path, names):
    for name in (*names, "other"):
        (tmp_path / name).mkdir()
    assert find_folders(tmp_path) == tuple(tmp_path / name for name in names)


def test_folders_of_other_names_are_asked_for(tmp_path):
    (tmp_path / "images").mkdir()
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            FileNotFoundError, match=r"images and masks, images and labels, .*Name both folders"
        ):
            find_folders(root)
