import warnings

import numpy as np
import pytest
from PIL import Image

from tfseg.data import Folder, image_files
from tfseg.doctor import diagnose
from tfseg.files import write_png

NAMES = ["background", "leaf", "stem"]
LEAF = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], np.uint8)
STEM = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], np.uint8)
BOTH = np.where(STEM, 2, LEAF)  # where they overlap, the later class


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def save_image(path):
    save(path, np.zeros((*LEAF.shape, 3), np.uint8))


def test_a_folder_of_masks_per_class(tmp_path):
    for name in ("a", "b"):
        save_image(tmp_path / "images" / f"{name}.jpg")
    save(tmp_path / "masks" / "leaf" / "a.png", LEAF * 255)
    save(tmp_path / "masks" / "stem" / "a.png", STEM)
    save(tmp_path / "masks" / "stem" / "b.png", STEM * 255)
    reader = Folder(tmp_path / "images", tmp_path / "masks", NAMES)
    assert np.array_equal(reader[0]["mask"], BOTH)
    assert np.array_equal(reader[1]["mask"], STEM * 2)
    assert reader[0]["mask"].dtype == np.uint8
    swapped = Folder(tmp_path / "images", tmp_path / "masks", ["background", "stem", "leaf"])
    assert np.array_equal(swapped[0]["mask"], np.where(LEAF, 2, STEM))
    assert swapped.version_key(0) != reader.version_key(0)
    with pytest.raises(ValueError, match="a folder of masks per class.*Remove ignore_value"):
        Folder(tmp_path / "images", tmp_path / "masks", NAMES, mask_values={0: 0, 255: 1})
    save(tmp_path / "masks" / "leaf" / "b.png", LEAF * 100 + STEM * 50)
    with pytest.raises(ValueError, match=r"b\.png contains the values 50, 100, 150\. A mask in"):
        Folder(tmp_path / "images", tmp_path / "masks", NAMES)[1]


def test_folders_of_other_classes_are_named(tmp_path):
    save_image(tmp_path / "images" / "a.jpg")
    save(tmp_path / "masks" / "leaf" / "a.png", LEAF)
    save(tmp_path / "masks" / "flower" / "a.png", LEAF)
    with pytest.raises(
        FileNotFoundError,
        match=r"contains no image, but the folders flower, leaf\..*background, leaf, stem.*\(a\)",
    ):
        Folder(tmp_path / "images", tmp_path / "masks", NAMES)


def test_several_masks_in_a_folder_per_image(tmp_path):
    save_image(tmp_path / "images" / "a.jpg")
    save_image(tmp_path / "images" / "b.jpg")
    save(tmp_path / "masks" / "a" / "0.png", LEAF)
    save(tmp_path / "masks" / "a" / "1.png", STEM * 2)
    save(tmp_path / "masks" / "b" / "0.png", STEM)
    folders = tmp_path / "images", tmp_path / "masks"
    assert np.array_equal(Folder(*folders, NAMES)[0]["mask"], BOTH)
    objects = Folder(*folders, ["leaf"], instances=True)[0]
    assert np.array_equal(objects["instances"], BOTH)
    assert objects["boxes"].tolist() == [[1, 0, 3, 2], [2, 1, 4, 3]]


def test_masks_beside_their_images_have_a_suffix(tmp_path):
    folder = tmp_path / "all"
    for name in ("benign (1)", "benign (2)"):
        save_image(folder / f"{name}.png")
    save(folder / "benign (1)_mask.png", LEAF * 255)
    save(folder / "benign (1)_mask_1.png", STEM * 255)
    save(folder / "benign (2)_mask.png", STEM * 255)
    reader = Folder(folder, folder, ["lesion"], mask_suffix="_mask")
    assert [reader.name(i) for i in range(len(reader))] == ["benign (1)", "benign (2)"]
    assert np.array_equal(reader[0]["mask"], LEAF | STEM)
    assert np.array_equal(reader[1]["mask"], STEM)
    with pytest.raises(ValueError, match=r"same folder.*pass mask_suffix='_mask'"):
        Folder(folder, folder, ["lesion"])
    with pytest.raises(FileNotFoundError, match=r"contains no mask.*mask_suffix='_seg'"):
        Folder(folder, folder, ["lesion"], mask_suffix="_seg")


@pytest.mark.parametrize("pattern", ["masks/a/{}.png", "masks/a_mask_{}.png"])
def test_masks_of_an_image_are_stacked_by_number(tmp_path, pattern):
    save_image(tmp_path / "images" / "a.jpg")
    save(tmp_path / pattern.format(10), LEAF * 2)  # above mask 2, though "10" < "2" as text
    save(tmp_path / pattern.format(2), LEAF)
    suffix = "_mask" if "_mask" in pattern else None
    reader = Folder(tmp_path / "images", tmp_path / "masks", NAMES, mask_suffix=suffix)
    assert np.array_equal(reader[0]["mask"], LEAF * 2)


def test_masks_with_a_suffix_in_their_own_folder(tmp_path):
    save_image(tmp_path / "images" / "a.jpg")
    save(tmp_path / "masks" / "a_mask.gif", LEAF * 255)
    reader = Folder(tmp_path / "images", tmp_path / "masks", ["car"], mask_suffix="_mask")
    assert np.array_equal(reader[0]["mask"], LEAF)


@pytest.fixture
def nested(tmp_path):
    for name in ("a", "more/b", "more/deep/c", ".hidden/d"):
        save_image(tmp_path / "images" / f"{name}.png")
        save(tmp_path / "masks" / f"{name}.png", LEAF)
    return tmp_path / "images", tmp_path / "masks"


def test_subfolders_are_read_by_choice(nested):
    reader = Folder(*nested, NAMES, recursive=True)
    assert [reader.name(i) for i in range(len(reader))] == ["a", "more/b", "more/deep/c"]
    assert np.array_equal(reader[2]["mask"], LEAF)
    assert reader.image_path(1) == nested[0] / "more" / "b.png"
    assert reader.select(["more/b"]).name(0) == "more/b"
    (nested[1] / "more" / "b.png").unlink()
    with pytest.raises(ValueError, match=r"b\.png has no mask 'more/b\.png' in \S*masks\n"):
        Folder(*nested, NAMES, recursive=True)


def test_linked_subfolders_are_read_and_loops_end(nested, tmp_path):
    for folder in nested:
        (folder / "linked").symlink_to(folder / ".hidden")
        (folder / "more" / "loop").symlink_to(folder)
    reader = Folder(*nested, NAMES, recursive=True)
    assert [reader.name(i) for i in range(len(reader))] == [
        "a",
        "linked/d",
        "more/b",
        "more/deep/c",
    ]


@pytest.mark.parametrize("recursive", [False, True])
def test_masks_in_a_subfolder_of_the_images_are_not_images(tmp_path, recursive):
    save_image(tmp_path / "a.jpg")
    save(tmp_path / "masks" / "a.png", LEAF)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Folder(tmp_path, tmp_path / "masks", NAMES, recursive=recursive)) == 1
    with pytest.warns(
        UserWarning, match=r"which are left out: masks\. Pass one of them to read it\.$"
    ):
        image_files(tmp_path)  # as `predict` does, which has no --recursive


def test_results_of_tfseg_among_the_images_are_left_out(tmp_path):
    save_image(tmp_path / "photos" / "a.jpg")
    write_png(tmp_path / "photos" / "a_labels.png", LEAF)
    write_png(tmp_path / "masks" / "a.png", LEAF)  # masks may be predictions
    folders = tmp_path / "photos", tmp_path / "masks"
    message = "photos' contains 1 results of tfseg, which are not read as images"
    with pytest.warns(UserWarning, match=message):
        assert len(Folder(*folders, NAMES)) == 1
    (finding,) = [f for f in diagnose(folders, NAMES).findings if f.kind == "left_out_files"]
    assert message in finding.message
    assert "no_mask" not in {f.kind for f in diagnose(folders, NAMES).findings}


def test_subfolders_with_images_are_not_left_out_silently(nested):
    with pytest.warns(UserWarning, match=r"has subfolders with images.*: more\. Pass.*recursive"):
        assert len(Folder(*nested, NAMES)) == 1
    (nested[0] / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"contains no image.*subfolders.*: more\."):
        Folder(*nested, NAMES)
