"""Classes without names: from the folders that a person would have."""

import re

import numpy as np
import pytest
from PIL import Image

from tfseg.doctor.guessed_classes import guess_classes


def write(folder, *masks, mode="L"):
    """Write an image per mask; a mask is a list of the values of its pixels in a row."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, values in enumerate(masks):
        mask = Image.fromarray(np.array([values], np.uint8))
        if mode == "P":
            mask.putpalette([0, 0, 0, 9, 9, 9, 200, 0, 0])
        mask.save(folder / "masks" / f"p{index}.png")
        Image.new("RGB", mask.size).save(folder / "images" / f"p{index}.png")
    return folder / "images", folder / "masks"


@pytest.mark.parametrize(
    ("masks", "options", "names", "reason"),
    [
        (([0, 0], [0, 1]), {}, "background, foreground", "the masks contain 0 and 1"),
        (([0, 0], [0, 255]), {}, "background, foreground", "the masks contain 0 and 255"),
        (([0, 1], [1, 255]), {}, "background, foreground", "0 and 1; 255 is ignored"),
        (([0, 1], [2, 3]), {}, "class_0, class_1, class_2, class_3", "the masks contain 0 to 3"),
        (([0, 1], [2, 9]), {"ignore_value": 9}, "class_0, class_1, class_2", "9 is ignored"),
        # no pixel of class_3
        (([0, 1], [2, 4]), {}, "class_0, class_1, class_2, class_3, class_4", "0, 1, 2, 4"),
        (
            ([0, 50],),
            {"mask_values": {0: 0, 50: 1}},
            "background, foreground",
            "--mask-values 0, 1",
        ),
        (([7, 8],), {"colors": {"b": (1, 2, 3), "a": (4, 5, 6)}}, "b, a", "those of --colors"),
    ],
)
def test_names_by_values(tmp_path, masks, options, names, reason):
    guess = guess_classes(*write(tmp_path, *masks), **options)
    assert ", ".join(guess.names) == names
    assert reason in guess.reason
    assert str(guess) == f"Class names: {names} ({guess.reason})."


def test_validation_masks_count_too(tmp_path):
    val = write(tmp_path / "val", [2, 2])
    assert len(guess_classes(*write(tmp_path, [0, 1]), val).names) == 3


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (([0, 128],), "pass --mask-values 0=0,128=1; if they are class ids, pass --class-names"),
        (([1, 2],), "pass --mask-values 1=0,2=1"),
        (([0, 50], [100, 255]), "from 0: 0, 50, 100. If .* pass --mask-values 0=0,50=1,100=2;"),
        (([0, 0], [255, 0, 255, 0])[:1], "a single class .*the masks contain 0\\)"),
        (([7, 255],), "a single class .*contain 7; 255 is ignored.*--ignore-value"),
        (([*range(0, 250, 5)],), "from 0: there are 50 from 0 to 245, .*`tfseg doctor`"),
        (([*range(10)], [*range(8)]), "number objects: .* up to 9.* `--task instances --labels "),
        (
            ([[0, 0, 0], [9, 8, 7]],),
            "colors instead of class ids.* --colors class_0=0/0/0,class_1=9/8/7 ",
        ),
        (([[i, i, 3] for i in range(50)],), "contain 50 colors, as photographs have"),
    ],
)
def test_what_cannot_be_decided_names_the_option(tmp_path, masks, message):
    with pytest.raises(ValueError, match=message):
        guess_classes(*write(tmp_path, *masks))


@pytest.mark.parametrize("place", ["masks", "images", "."])
def test_a_file_beside_the_masks_has_the_names(tmp_path, place):
    folders = write(tmp_path, [0, 1], [2, 255])
    file = tmp_path / place / "classes.txt"
    file.write_text("soil\nleaf\nstem\nfruit\n")
    guess = guess_classes(*folders)
    assert (guess.names, guess.reason) == (["soil", "leaf", "stem", "fruit"], f"from {file}")
    file.write_text("leaf\nstem\n")  # of the objects
    assert guess_classes(*folders).names == ["background", "leaf", "stem"]
    file.write_text("background\nleaf\n")
    with pytest.raises(ValueError, match=r"names 2 classes .* contain the class ids 0, 1, 2\."):
        guess_classes(*folders)


def test_masks_of_0_and_255_have_the_names_of_a_file(tmp_path):
    folders = write(tmp_path, [0, 255])
    (tmp_path / "classes.txt").write_text("leaf\n")
    assert guess_classes(*folders).names == ["background", "leaf"]


def test_a_file_with_colors_suits_masks_of_colors_and_of_ids(tmp_path):
    (tmp_path / "labelmap.txt").write_text("sky:0,0,9::\nvoid:0,0,0::\nroad:9,9,9::\n")
    guess = guess_classes(*write(tmp_path, [[0, 0, 9], [9, 9, 9]], [[0, 0, 0], [9, 9, 9]]))
    assert guess.colors == {"sky": (0, 0, 9), "road": (9, 9, 9)}
    assert (guess.names, guess.ignored_color) == (["sky", "road"], (0, 0, 0))
    assert "with their colors; void is ignored" in guess.reason
    guess = guess_classes(*write(tmp_path, [0, 1], [0, 2]))
    assert (guess.names, guess.colors) == (["sky", "void", "road"], None)


@pytest.mark.parametrize("name", ["Void", "unlabel" + "led"])
def test_colors_without_a_label_have_usual_names(tmp_path, name):
    (tmp_path / "labelmap.txt").write_text(f"sky:0,0,9::\nroad:9,9,9::\n{name}:0,0,0::\n")
    guess = guess_classes(*write(tmp_path, [[0, 0, 9], [9, 9, 9]]))
    assert (guess.names, guess.ignored_color) == (["sky", "road"], (0, 0, 0))


def test_a_palette_belongs_to_colors_only_if_all_are_in_the_file(tmp_path):
    file = tmp_path / "labelmap.txt"
    file.write_text("a:0,0,0::\nb:200,0,0::\nc:9,9,9::\n")
    folders = write(tmp_path, [0, 1], [0, 2], mode="P")
    assert guess_classes(*folders).colors == {"a": (0, 0, 0), "b": (200, 0, 0), "c": (9, 9, 9)}
    file.write_text("a:0,0,0::\nb:9,9,9::\nc:200,0,1::\n")
    guess = guess_classes(*folders)
    assert (guess.names, guess.colors) == (["a", "b", "c"], None)


def test_folders_of_masks_are_those_of_classes_or_of_images(tmp_path):
    images, masks = write(tmp_path, [0, 1], [1, 1])
    for index, name in enumerate(("p0", "p1")):
        (masks / name).mkdir()
        (masks / f"p{index}.png").rename(masks / name / "m.png")
    assert guess_classes(images, masks).names == ["background", "foreground"]
    for name, label in (("p0", "leaf"), ("p1", "background")):
        (masks / name).rename(masks / label)
    guess = guess_classes(images, masks)
    assert guess.names == ["background", "leaf"]
    assert re.search("from the folders in .*masks", guess.reason)


def test_a_damaged_mask_is_left_to_the_check(tmp_path):
    images, masks = write(tmp_path, [0, 1], [1, 1])
    (masks / "p1.png").write_bytes((masks / "p1.png").read_bytes()[:40])
    assert guess_classes(images, masks).names == ["background", "foreground"]
