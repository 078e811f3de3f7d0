import json

import numpy as np
import pycocotools.mask as coco_mask
import pytest
from PIL import Image

from tfseg.data import LabelMe
from tfseg.doctor import diagnose

SQUARE = [[2, 1], [8, 1], [8, 7], [2, 7]]


def shape(label="cat", points=None, kind="polygon", group=None):
    points = SQUARE if points is None else points
    return {"label": label, "points": points, "shape_type": kind, "group_id": group}


@pytest.fixture
def written(tmp_path):
    """Return a function that writes two images and the shapes of the first, and reads them."""
    for name in ("a", "b"):
        Image.fromarray(np.full((12, 16, 3), ord(name), np.uint8)).save(tmp_path / f"{name}.png")

    def read(*shapes, class_names=None, **content):
        for name, found in (("a", list(shapes)), ("b", [])):
            entry = {"imagePath": f"{name}.png", "shapes": found, "imageWidth": 16, **content}
            (tmp_path / f"{name}.json").write_text(json.dumps(entry))
            content = {}
        return LabelMe(tmp_path, tmp_path, class_names)

    return read


def test_polygons_rectangles_and_circles_are_objects(written):
    circle = shape("sun", [[8, 6], [8, 10]], "circle")  # radius 4
    reader = written(shape("dog"), shape("cat", [[14, 11], [10, 9]], "rectangle"), circle)
    assert reader.class_names == ["background", "cat", "dog", "sun"]
    assert reader.object_names == ["cat", "dog", "sun"]
    assert [reader.name(i) for i in range(2)] == ["a", "b"]
    sample = reader[0]
    assert sample["classes"].tolist() == [1, 0, 2]
    assert sample["boxes"][:2].tolist() == [[2, 1, 8, 7], [10, 9, 14, 11]]
    np.testing.assert_allclose(sample["boxes"][2], [4, 2, 12, 10], atol=0.1)
    regions = [coco_mask.decode(rle) for rle in reader.object_rle(0)]
    assert regions[0].sum() == 36
    y, x = np.mgrid[:12, :16] + 0.5
    disc = np.hypot(x - 8, y - 6) < 4
    assert (regions[2] != disc).sum() <= 8  # pixels that the circle cuts in half
    assert not reader[1]["boxes"].size
    assert reader[1]["mask"].shape == (12, 16)


def test_the_area_of_a_circle_is_that_of_its_polygon():
    from tfseg.data.readers.formats.drawing import polygon_area
    from tfseg.data.readers.formats.labelme_file import Shape, outline

    polygon = outline(Shape("sun", "circle", np.array([[50.0, 60.0], [53.0, 64.0]]), None))
    assert polygon_area(polygon) == pytest.approx(25 * np.pi)


def test_shapes_of_one_group_are_one_object(written):
    second = [[12, 1], [14, 1], [14, 5], [12, 5]]
    reader = written(shape(group=3), shape(points=second, group=3), shape(group=4))
    assert reader[0]["boxes"].tolist() == [[2, 1, 14, 7], [2, 1, 8, 7]]
    assert reader[0]["areas"].tolist() == [44, 36]


def test_other_shapes_are_reported(written):
    reader = written(
        shape(),
        shape("tail", [[1, 1], [5, 5]], "line"),
        shape("__ignore__"),
        shape("_background_"),
        shape("cat", [[1, 1], [3, 3], [5, 5]]),
        shape("cat", [[20, 1], [30, 1], [30, 5]]),
    )
    assert reader.object_names == ["cat"]
    assert reader.dropped == [
        ("a", "tail: a shape of the kind 'line' has no area"),
        ("a", "__ignore__: its label is '__ignore__'"),
        ("a", "_background_: its label is '_background_'"),
        ("a", "cat: its polygon has no area"),
        ("a", "cat: its box from 20, 1 to 30, 5 has no area in the image"),
    ]
    assert len(reader[0]["boxes"]) == 1
    assert "dropped_objects" in [finding.kind for finding in diagnose(reader).findings]


def test_class_names_fix_the_ids(written):
    assert written(shape(), class_names=["dog", "cat"])[0]["classes"].tolist() == [1]
    assert written(shape(), class_names=["background", "cat"]).object_names == ["cat"]
    with pytest.raises(ValueError, match=r"a\.json: it contains an object 'cat', but .* dog\. Add"):
        written(shape(), class_names=["dog"])
    with pytest.raises(ValueError, match="no file in .* has a shape"):
        written()


@pytest.mark.parametrize(
    ("shapes", "content", "message"),
    [
        ([shape(points=SQUARE[:2])], {}, r"shapes\[0\]: the polygon of 'cat' has fewer than 3 .*2"),
        ([shape(points=[[1, 2]], kind="circle")], {}, r"the circle of 'cat' has fewer than 2"),
        (
            [shape(), shape(points=[[1, "x"]])],
            {},
            r"shapes\[1\]: the points of 'cat' are not pairs",
        ),
        ([shape(points=[[1, 2], [3, float("nan")], [5, 6]])], {}, "contain NaN or infinity"),
        ([{"points": SQUARE}], {}, r"shapes\[0\]: it has no label"),
        ([shape()], {"imageWidth": 17}, r"a\.json: the image is 16 x 12 pixels, but .* 17 x 12"),
        ([shape(points=[[0.1, 0.2], [0.5, 0.2], [0.5, 0.9]])], {}, "fractions of the image's size"),
        ([shape()], {"imagePath": "b.png"}, r"a\.json and .*b\.json belong to the same image"),
        ([shape()], {"shapes": None}, r"a\.json is .* Expected a LabelMe file"),
    ],
)
def test_files_that_contradict_themselves_are_named(written, tmp_path, shapes, content, message):
    if content.get("imagePath"):
        Image.new("RGB", (16, 12)).save(tmp_path / "c.png")
        (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match=message):
        written(*shapes, **content)


def test_images_and_files_without_a_partner_are_named(written, tmp_path):
    written(shape())
    Image.new("RGB", (16, 12)).save(tmp_path / "c.png")
    with pytest.warns(UserWarning, match=r"LabelMe: 1 images .* are left out: c\.png"):
        reader = LabelMe(tmp_path, tmp_path)
    assert len(reader) == 2
    (tmp_path / "b.png").unlink()
    with pytest.raises(ValueError, match=r"b\.json has no image 'b\.png' in"):
        LabelMe(tmp_path, tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        LabelMe(tmp_path, tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"contains no \.json file"):
        LabelMe(tmp_path, tmp_path / "empty")
