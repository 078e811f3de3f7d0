import numpy as np
import pytest
from PIL import Image

from conftest import draw_sample
from tfseg.data import Folder, find_folders
from tfseg.data.readers.objects import OBJECT_FIELDS
from tfseg.doctor import check

NAMES = ["road", "tree", "car"]
COLORS = {"road": (128, 64, 128), "tree": (0, 200, 10), "car": (0, 10, 200)}
TABLE = np.array([*COLORS.values(), (0, 0, 0)], np.uint8)
IDS = np.array([[0, 1, 1, 2], [2, 2, 0, 3], [1, 0, 0, 0]])  # 3: the ignored color
EXPECTED = np.array([[0, 1, 1, 2], [2, 2, 0, 255], [1, 0, 0, 0]])

DISC_NAMES = ["ground", "disc", "band"]  # of the fixture `folder`


def reader_of(folder, names=DISC_NAMES, **options):
    return Folder(folder / "images", folder / "masks", names, **options)


def test_a_folder_is_read_as_images_and_class_ids(folder):
    reader = reader_of(folder)
    assert (len(reader), reader.num_classes, reader.channels, reader.dtype) == (6, 3, 3, np.uint8)
    assert reader.sizes.tolist() == [[48, 56]] * 6
    assert reader.name(2) == "p2"
    image, mask = draw_sample(2)
    assert np.array_equal(reader[2]["mask"], mask)
    assert np.abs(reader[2]["image"].astype(int) - image).mean() < 10  # JPEG


def test_the_ignored_value_becomes_255(folder):
    reader = reader_of(folder, ["ground", "disc"], ignore_value=2)
    mask = draw_sample(0)[1]
    assert np.array_equal(reader[0]["mask"], np.where(mask == 2, 255, mask))


def test_an_ignored_value_among_the_ids_is_not_a_class(folder):
    mask = draw_sample(0)[1]
    ignored = reader_of(folder, ignore_value=0)[0]["mask"]
    assert np.array_equal(ignored, np.where(mask == 0, 255, mask))
    assert np.array_equal(reader_of(folder, ignore_value=-1)[0]["mask"], mask)


def test_values_are_mapped_to_ids(folder):
    # Cityscapes-like: id 0 is void, classes are 1 and 2
    reader = reader_of(folder, DISC_NAMES, mask_values={1: 0, 2: 1}, ignore_value=0)
    mask = draw_sample(0)[1]
    assert np.array_equal(reader[0]["mask"], np.array([255, 0, 1], np.uint8)[mask])


def rewrite(folder, change):
    for path in (folder / "masks").iterdir():
        Image.fromarray(change(np.asarray(Image.open(path)))).save(path)


@pytest.mark.parametrize("names", [["ground", "disc"], ["disc"]])
def test_black_and_white_masks_are_two_classes(folder, names):
    rewrite(folder, lambda mask: np.where(mask == 1, 255, 0).astype(np.uint8))
    reader = reader_of(folder, names)
    assert reader.mask_values == {0: 0, 255: 1}
    assert np.array_equal(reader[3]["mask"], draw_sample(3)[1] == 1)
    assert reader.label_names[1] == "disc"


def test_black_and_white_is_recognized_even_if_the_first_masks_are_black(folder):
    rewrite(folder, lambda mask: np.zeros_like(mask))
    last = folder / "masks" / "p5.png"
    Image.fromarray(np.where(draw_sample(5)[1] == 1, 255, 0).astype(np.uint8)).save(last)
    assert reader_of(folder, ["ground", "disc"]).mask_values == {0: 0, 255: 1}


def test_255_stays_ignored_if_both_classes_occur(folder):
    rewrite(folder, lambda mask: np.where(mask == 2, 255, mask).astype(np.uint8))
    reader = reader_of(folder, ["ground", "disc"])
    assert reader.mask_values == {0: 0, 1: 1}
    assert np.array_equal(np.unique(reader[3]["mask"]), [0, 1, 255])


def test_values_that_map_to_no_class_are_named(folder):
    with pytest.raises(
        ValueError,
        match=r"p4\.png contains values .* no class: 2 \(classes: 0, 1; ignored: 255\)",
    ):
        reader_of(folder, ["ground", "disc"])[4]


def test_camvid_and_isbi(shared_data):
    folders = shared_data / "camvid/train", shared_data / "camvid/trainannot"
    camvid = Folder(*folders, [str(i) for i in range(11)], ignore_value=11)
    assert (len(camvid), camvid.channels) == (367, 3)
    assert camvid[0]["mask"].max() == 255
    isbi = Folder(
        shared_data / "isbi2012_em/image", shared_data / "isbi2012_em/label", ["membrane", "cell"]
    )
    assert (len(isbi), isbi.channels, isbi.mask_values) == (24, 1, {0: 0, 255: 1})


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_folder_is_read_smaller(folder, shrink):
    reader = reader_of(folder)
    whole, smaller = reader[1], reader.read(1, shrink)
    assert (
        smaller["image"].shape[:2] == smaller["mask"].shape == (-(-48 // shrink), -(-56 // shrink))
    )
    assert (smaller["image"].dtype, smaller["mask"].dtype) == (np.uint8, np.uint8)
    blocks = whole["image"].reshape(48 // shrink, shrink, 56 // shrink, shrink, 3).mean((1, 3))
    assert np.abs(smaller["image"] - blocks).mean() < 4  # the noise has a std of 12
    assert np.array_equal(
        smaller["mask"], whole["mask"][shrink // 2 :: shrink, shrink // 2 :: shrink]
    )
    assert np.array_equal(reader.read(1)["image"], whole["image"])


def test_numbered_objects_are_read_smaller(folder):
    rewrite(folder, lambda mask: mask.astype(np.uint16) * 300)
    reader = reader_of(folder, ["thing"], instances=True)
    whole, smaller = reader[0], reader.read(0, 4)
    assert np.array_equal(smaller["boxes"], whole["boxes"] / 4)
    assert np.array_equal(smaller["classes"], whole["classes"])
    assert np.array_equal(smaller["instances"], whole["instances"][2::4, 2::4])
    assert np.array_equal(smaller["mask"], smaller["instances"] > 0)


@pytest.fixture
def write(tmp_path):
    """Write masks and random images of their sizes; return the two folders."""

    def write(**masks):
        for name in ("images", "masks"):
            (tmp_path / name).mkdir(exist_ok=True)
        for stem, mask in masks.items():
            height, width = mask.size[::-1] if isinstance(mask, Image.Image) else mask.shape[:2]
            rng = np.random.default_rng(len(stem))
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(image).save(tmp_path / "images" / f"{stem}.png")
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
        reader = Folder(*folders, NAMES, colors=colors, ignore_value=(0, 0, 0))
        for index in range(3):
            mask = reader[index]["mask"]
            assert mask.dtype == np.uint8
            assert np.array_equal(mask, EXPECTED), reader.name(index)
        assert np.array_equal(reader.palette, TABLE[:3])
    assert np.array_equal(reader.subset([1]).palette, TABLE[:3])
    assert check(reader).class_pixels.tolist() == [15, 9, 9]


def test_a_single_class_needs_a_color_for_the_background(write):
    folders = write(a=np.array([[[9, 9, 9], [255, 0, 0]]], np.uint8))
    reader = Folder(*folders, ["road"], colors={"road": (255, 0, 0), "background": (9, 9, 9)})
    assert reader[0]["mask"].tolist() == [[0, 1]]
    assert reader.palette.tolist() == [[9, 9, 9], [255, 0, 0]]


def test_a_gray_file_among_colored_masks_is_read_by_its_color(write):
    # PNG optimizers save a completely black RGB mask as gray
    folders = write(a=np.zeros((2, 2), np.uint8))
    reader = Folder(*folders, NAMES, colors=COLORS, ignore_value=(0, 0, 0))
    assert (reader[0]["mask"] == 255).all()


def test_unknown_colors_are_named_with_the_nearest_known_color(write):
    mask = TABLE[IDS]
    mask[0, 0], mask[1, :2] = (130, 64, 120), (0, 0, 100)
    reader = Folder(*write(a=mask), NAMES, colors=COLORS)
    message = (
        r"a\.png contains colors that map to no class: "
        r"\(0, 0, 100\) on 2 pixels \(nearest: \(0, 10, 200\), 'car'\); "
        r"\(0, 0, 0\) on 1 pixel \(nearest: .*\); "
        r"\(130, 64, 120\) on 1 pixel \(nearest: \(128, 64, 128\), 'road'\)\. "
        r"Add the color to `colors`, name it as `ignore_value`"
    )
    with pytest.raises(ValueError, match=message):
        reader[0]
    near_void = TABLE[IDS] + np.uint8(1) * (IDS == 3)[..., None].astype(np.uint8)
    with pytest.raises(
        ValueError,
        match=r"contains colors that map to no class: \(1, 1, 1\).*\(0, 0, 0\), 'ignored'",
    ):
        Folder(*write(a=near_void), NAMES, colors=COLORS, ignore_value=(0, 0, 0))[0]


def test_many_unknown_colors_are_probably_soft_edges(write):
    mask = np.arange(7 * 3, dtype=np.uint8).reshape(1, 7, 3)
    with pytest.raises(
        ValueError, match=r"\) on 1 pixel .*; and 3 more colors\. That many colors .* resized"
    ):
        Folder(*write(a=mask), NAMES, colors=COLORS)[0]


def test_masks_without_colors_are_rejected(write, tmp_path):
    images, masks = write(a=IDS.astype(np.uint16))
    with pytest.raises(ValueError, match=r"a\.png contains uint16 values, expected 8-bit colors"):
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
            "without a color: tree, car; colors of unknown classes: tram",
        ),
        ([(1, 2, 3)], r"got 1 colors for 3 classes \(road, tree, car\)"),
        ([(1, 2, 3), (4, 5, 6), (1, 2, 3)], r"'road' and 'car' both have \(1, 2, 3\)"),
        (
            [(1, 2, 3), (4, 5, 256), (7, 8, 9)],
            r"colors: tree: \(4, 5, 256\) is not a color.*255",
        ),
        ([(1, 2, 3), (4, 5), (7, 8, 9)], r"colors: tree: \(4, 5\) is not a color"),
        ([(1, 2, 3), (4, 5, 0.5), (7, 8, 9)], r"colors: tree: \(4, 5, 0\.5\) is not a color"),
    ],
)
def test_colors_are_checked(write, colors, message):
    with pytest.raises(ValueError, match=message):
        Folder(*write(a=TABLE[IDS]), NAMES, colors=colors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colors": COLORS, "mask_values": {0: 0}}, "got mask_values and colors"),
        ({"colors": COLORS, "instances": True}, "got colors and instances"),
        (
            {"colors": COLORS, "ignore_value": 11},
            r"ignore_value=11 does not go with `colors`.*\(0, 0, 0\)",
        ),
        ({"ignore_value": (0, 0, 0)}, r"ignore_value=\(0, 0, 0\) is not a value of a mask"),
        ({"mask_values": {4: 3, 5: 0}}, r"contains the ids 3\. Expected 0 to 2 for 3 classes"),
        (
            {"instances": True},
            r"one class of objects, but class_names are road, tree, car.*\[\"background\", name\]",
        ),
    ],
)
def test_contradicting_arguments_are_rejected(write, options, message):
    with pytest.raises(ValueError, match=message):
        Folder(*write(a=TABLE[IDS]), NAMES, **options)


def test_the_reader_has_the_palette_that_all_files_share(write):
    ids = np.minimum(IDS, 2)
    folders = write(a=in_palette(ids, TABLE), b=in_palette(ids.T, TABLE[:3]))
    assert np.array_equal(Folder(*folders, NAMES).palette, TABLE[:3])
    assert np.array_equal(Folder(*folders, NAMES)[1]["mask"], ids.T)
    # values on disk differ from class ids: 2 is road, 0 is tree
    assert np.array_equal(
        Folder(*folders, ["road", "tree"], mask_values={2: 0, 0: 1}).palette, TABLE[[2, 0]]
    )
    assert Folder(*folders, NAMES, mask_values={0: 0, 1: 1}).palette is None  # no value for 2


@pytest.mark.parametrize(
    "other",
    [
        in_palette(np.minimum(IDS, 2), TABLE[::-1]),  # another palette
        in_palette(np.minimum(IDS, 1), TABLE[:2]),  # too short
        np.minimum(IDS, 2).astype(np.uint8),  # none
    ],
)
def test_there_is_no_palette_if_files_differ(write, other):
    reader = Folder(*write(a=in_palette(np.minimum(IDS, 2), TABLE), b=other), NAMES)
    assert reader.palette is None
    assert reader[1]["mask"].max() <= 2


def test_a_ramp_of_grays_does_not_count_as_a_palette(write):
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
    assert reader.fields == ("image", *OBJECT_FIELDS) == tuple(reader[0])
    assert reader.object_names == ["nucleus"]
    assert reader.label_names == ["background", "nucleus"]
    sample = reader[0]
    assert sample["instances"].tolist() == [[0, 3, 3, 0], [0, 0, 3, 1], [2, 0, 0, 1]]
    assert sample["mask"].tolist() == [[0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]
    assert sample["boxes"].tolist() == [[3, 1, 4, 3], [0, 2, 1, 3], [1, 0, 3, 2]]
    assert sample["classes"].tolist() == [0, 0, 0]
    assert sample["areas"].tolist() == [2, 1, 3]
    kinds = [sample[name].dtype for name in ("mask", "instances", "boxes", "classes")]
    assert kinds == [np.uint8, np.int32, np.float32, np.int32]


def test_an_image_without_objects(write):
    sample = Folder(*write(a=np.zeros((2, 3), np.uint8)), ["nucleus"], instances=True)[0]
    assert (sample["boxes"].shape, sample["classes"].shape, sample["instances"].max()) == (
        (0, 4),
        (0,),
        0,
    )


def test_objects_need_positive_numbers_and_cannot_be_ignored(write):
    images, masks = write(a=OBJECTS.astype(np.uint16))
    with pytest.raises(ValueError, match=r"ignore_value=3 does not go with instances=True"):
        Folder(images, masks, ["nucleus"], ignore_value=3, instances=True)
    (masks / "a.png").unlink()
    Image.fromarray((-OBJECTS).astype(np.int32)).save(masks / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif contains the negative value -900"):
        Folder(images, masks, ["nucleus"], instances=True)[0]


def test_sixteen_bit_images_are_read_as_floats(write):
    images, masks = write(a=np.minimum(IDS, 2).astype(np.uint8))
    deep = np.random.default_rng(0).integers(0, 65536, (3, 4)).astype(np.uint16)
    Image.fromarray(deep).save(images / "a.png")
    reader = Folder(images, masks, NAMES)
    assert (reader.channels, reader.dtype) == (1, np.float32)
    assert np.array_equal(reader[0]["image"][..., 0], deep)


@pytest.mark.parametrize(
    "names", [("images", "labels"), ("JPEGImages", "SegmentationClass"), ("train", "trainannot")]
)
def test_the_folders_of_a_dataset_are_found_by_their_usual_names(tmp_path, names):
    for name in (*names, "other"):
        (tmp_path / name).mkdir()
    assert find_folders(tmp_path) == tuple(tmp_path / name for name in names)


def test_folders_with_other_names_must_be_passed(tmp_path):
    (tmp_path / "images").mkdir()
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            FileNotFoundError, match=r"images and masks, images and labels, .*Pass both folders"
        ):
            find_folders(root)
