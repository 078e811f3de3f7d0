import numpy as np
import pytest
from PIL import Image

from tfseg.data import InstanceMasks

VALUES = np.array([[0, 900, 900, 0], [0, 0, 900, 5], [300, 0, 0, 5]], np.uint16)


@pytest.fixture
def folders(tmp_path):
    for name in ("images", "masks", "names"):
        (tmp_path / name).mkdir()
    Image.fromarray(np.full((3, 4, 3), 9, np.uint8)).save(tmp_path / "images" / "a.jpg")
    Image.fromarray(VALUES).save(tmp_path / "masks" / "a.png")
    return tmp_path


def read(folder, text=None, names=("leaf", "stem")):
    if text is None:
        return InstanceMasks(folder / "images", folder / "masks", names)
    (folder / "names" / "a.txt").write_text(text)
    return InstanceMasks(folder / "images", folder / "masks", names, folder / "names")


def test_every_value_is_an_object(folders):
    reader = InstanceMasks(folders / "images", folders / "masks")
    assert reader.object_names == ["object"]
    assert reader.class_names == ["background", "object"]
    sample = reader[0]
    assert sample["instances"].tolist() == [[0, 3, 3, 0], [0, 0, 3, 1], [2, 0, 0, 1]]
    assert sample["mask"].tolist() == (VALUES > 0).astype(int).tolist()
    assert sample["boxes"].tolist() == [[3, 1, 4, 3], [0, 2, 1, 3], [1, 0, 3, 2]]
    assert sample["areas"].tolist() == [2, 1, 3]
    assert (reader.name(0), reader.image_path(0).name) == ("a", "a.jpg")


def test_objects_have_the_class_of_their_line(folders):
    reader = read(folders, "5 stem\n\n900 leaf\n300 stem")
    sample = reader[0]
    assert sample["classes"].tolist() == [1, 1, 0]
    assert sample["mask"].tolist() == [[0, 1, 1, 0], [0, 0, 1, 2], [2, 0, 0, 2]]
    before = reader.version_key(0)
    assert before != read(folders, "5 leaf\n900 leaf\n300 stem").version_key(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"got 2 class names \(leaf, stem\), but nothing says which object"),
        ("5 root", r"a\.txt:1: the object 5 has the class 'root', but the classes are leaf, stem"),
        ("5 leaf\nleaf", r"a\.txt:2: 'leaf' is not a line 'value name'"),
        ("0 leaf", "'0 leaf' is not a line 'value name'"),
        ("5 leaf\n5 stem", r"a\.txt:2: the object 5 is listed twice"),
    ],
)
def test_faulty_categories_are_named(folders, text, message):
    with pytest.raises(ValueError, match=message):
        read(folders, text)


def test_objects_in_only_one_file_are_named(folders):
    with pytest.raises(ValueError, match=r"a\.png has objects that are not in .*a\.txt: 300, 900"):
        read(folders, "5 leaf")[0]
    with pytest.raises(ValueError, match=r"a\.txt has objects that are not in .*a\.png: 7"):
        read(folders, "5 leaf\n300 leaf\n900 leaf\n7 leaf")[0]


def test_missing_files_are_named(folders):
    with pytest.raises(ValueError, match=r"There is no file '.*a\.txt'\. Every mask needs one"):
        InstanceMasks(folders / "images", folders / "masks", ["leaf"], folders / "names")
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        InstanceMasks(folders / "images", folders / "masks", ["leaf"], folders / "gone")
    (folders / "masks" / "a.png").rename(folders / "masks" / "b.png")
    with pytest.raises(ValueError, match=r"a\.jpg has no mask 'a\.png'"):
        InstanceMasks(folders / "images", folders / "masks")
