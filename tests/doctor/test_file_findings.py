"""One fault is planted in a clean folder, and exactly that is found."""

import re
import shutil

import numpy as np
import pytest
from clean_folder import NAMES, change_masks, draw_clean, found, only, write_clean
from PIL import Image

from tfseg.data import Folder
from tfseg.doctor import diagnose


@pytest.fixture
def clean(tmp_path):
    return write_clean(tmp_path)


def test_clean_folders_have_nothing(clean):
    assert found(clean).findings == []
    assert found(clean, None).findings == []
    assert found(clean).verdict() == "nothing found"
    val = write_clean(clean / "val", 3, first=6, suffix=".jpg")
    assert found(clean, val=(val / "images", val / "masks")).findings == []


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def save_as(path, suffix, image=None, **options):
    (image or Image.open(path)).save(path.with_suffix(suffix), **options)
    path.unlink()


def rename_masks(folder):
    for mask in list((folder / "masks").iterdir()):
        mask.rename(mask.with_stem(f"seg-{mask.stem}_mask"))


def turn(folder, orientation, mask=lambda picture: picture):
    """Store p1 as a camera does that was held in an orientation; its mask as `mask` gives it."""
    exif = Image.Exif()
    exif[0x112] = orientation
    save_as(folder / "images" / "p1.png", ".jpg", exif=exif, quality=95)
    path = folder / "masks" / "p1.png"
    with Image.open(path) as picture:
        mask(picture.copy()).save(path)


def palette_masks(folder, table):
    for path in (folder / "masks").iterdir():
        picture = Image.open(path).copy()
        picture.putpalette(table(path))
        picture.save(path)


def deepen(folder, only="*"):
    for path in (folder / "images").glob(only):
        gray = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 257
        Image.fromarray(gray).save(path)


def all_gray(folder):
    for path in (folder / "images").iterdir():
        Image.open(path).convert("L").save(path)


def same_name(folder):
    Image.fromarray(draw_clean(20)[0]).save(folder / "images" / "p1.bmp")


def copy(folder, name="twin"):
    for part in ("images", "masks"):
        shutil.copy(folder / part / "p1.png", folder / part / f"{name}.png")


def copy_with_other_mask(folder):
    copy(folder)
    change_masks(folder, lambda mask: mask.T.copy().T[::-1].copy(), "twin.png")


def resave(folder):
    copy(folder)
    save_as(folder / "images" / "twin.png", ".jpg", quality=60)


def enlarge(folder):
    image, mask = draw_clean(1, 320, 400)
    Image.fromarray(image).save(folder / "images" / "p1.png")
    Image.fromarray(mask).save(folder / "masks" / "p1.png")


TRANSPOSE = Image.Transpose
ROTATED = [(0, 0, 0, 255, 0, 0, 0, 255, 0), (255, 0, 0, 0, 0, 0, 0, 255, 0)]

# what is planted: (how, severity, files, message, fix)
FAULTS = {
    "unreadable": (
        lambda f: (f / "images" / "p1.png").write_text("junk"),
        ("error", ["images/p1.png"], r"p1\.png cannot be read as an image", "Remove the file"),
    ),
    "unreadable mask": (
        lambda f: (f / "masks" / "p2.png").write_bytes(b""),
        ("error", ["masks/p2.png"], r"p2\.png cannot be read", "Remove the file"),
    ),
    "truncated": (
        lambda f: cut(f / "images" / "p1.png"),
        ("error", ["images/p1.png"], r"p1\.png is damaged", "Copy the file again"),
    ),
    "truncated mask": (
        lambda f: cut(f / "masks" / "p1.png"),
        ("error", ["masks/p1.png"], r"masks/p1\.png is damaged", "Copy the file again"),
    ),
    "refused": (
        lambda f: save_as(
            f / "masks" / "p1.png", ".tif", Image.fromarray(np.ones((64, 80), np.float32))
        ),
        ("error", ["masks/p1.tif"], "holds floating numbers", "message"),
    ),
    "no_mask": (
        lambda f: (f / "masks" / "p1.png").unlink(),
        ("error", ["images/p1.png"], "^1 image without a mask", "Add the missing file"),
    ),
    "no_image": (
        lambda f: (f / "images" / "p1.png").unlink(),
        ("error", ["masks/p1.png"], "^1 mask without an image", "Add the missing file"),
    ),
    "same_name": (
        same_name,
        (
            "error",
            ["images/p1.png"],
            r"images/p1\.bmp and .*images/p1\.png bear the same name",
            "Keep one",
        ),
    ),
    "size_mismatch": (
        lambda f: change_masks(f, lambda mask: mask[::2, ::2].copy(), "p1.png"),
        ("error", ["masks/p1.png"], "80 x 64 with a mask of 40 x 32", "NEAREST"),
    ),
    "transposed": (
        lambda f: change_masks(f, lambda mask: mask.T.copy(), "p1.png"),
        ("error", ["masks/p1.png"], "on its side: 80 x 64 with a mask of 64 x 80", "ROTATE_90"),
    ),
    "exif_rotation against": (
        lambda f: turn(f, 6),
        (
            "error",
            ["images/p1.jpg"],
            "upright, but their masks were drawn on the pixels as stored",
            "ROTATE_270",
        ),
    ),
    "exif_rotation unsure": (
        lambda f: turn(f, 3),
        ("warning", ["images/p1.jpg"], "the same size either way", "ROTATE_180"),
    ),
    "exif_rotation fits": (
        lambda f: turn(f, 8, lambda mask: mask.transpose(TRANSPOSE.ROTATE_90)),
        ("note", ["images/p1.jpg"], "turns images upright, and their masks fit", "Nothing to do"),
    ),
    "lossy_masks": (
        lambda f: save_as(f / "masks" / "p1.png", ".jpg"),
        ("error", ["masks/p1.jpg"], "1 of the masks are JPEG: lossy", "PNG"),
    ),
    "palette_masks": (
        lambda f: palette_masks(f, lambda path: (0, 0, 0, 128, 0, 0, 0, 128, 0)),
        (
            "note",
            None,
            r"^6 masks with a palette: .* \(0 = \(0, 0, 0\), 1 = \(128, 0, 0\), 2 = \(0, 128, 0\)\)",
            "Nothing to do",
        ),
    ),
    "palette_masks that differ": (
        lambda f: palette_masks(f, lambda path: ROTATED[path.stem == "p3"]),
        (
            "warning",
            None,
            r"index 0, 1 stands for several colors, such as \(0, 0, 0\), \(255, 0, 0\)",
            "colors=",
        ),
    ),
    "mixed_channels": (
        lambda f: Image.open(f / "images" / "p1.png").convert("L").save(f / "images" / "p1.png"),
        ("warning", ["images/p1.png"], "1 gray image among 5 images in color", "channels=1"),
    ),
    "mixed_depth": (
        lambda f: (all_gray(f), deepen(f, "p1.png")),
        ("warning", ["images/p1.png"], "1 image of 16 bit or more among 5 of 8", "257"),
    ),
    "deep_images": (deepen, ("note", None, "^6 images of 16 bit or more", "normalization")),
    "resolution_spread": (
        enlarge,
        ("warning", ["images/p0.png", "images/p1.png"], "from 80 x 64 to 400 x 320", "one scale"),
    ),
    "duplicates": (
        copy,
        (
            "warning",
            ["images/p1.png", "images/twin.png"],
            r"once, to the byte: p1\.png = twin\.png\.$",
            "Keep one",
        ),
    ),
    "duplicates that contradict": (
        copy_with_other_mask,
        (
            "warning",
            ["images/p1.png", "images/twin.png"],
            "masks of 1 of them contradict each other",
            "Keep one",
        ),
    ),
    "near_duplicates": (
        resave,
        (
            "warning",
            ["images/p1.png", "images/twin.jpg"],
            r"2 of 7 .*p1\.png = twin\.jpg.* video",
            "groups=",
        ),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_what_is_found(clean, fault):
    plant, (severity, files, message, fix) = FAULTS[fault]
    plant(clean)
    finding = only(found(clean))
    assert (finding.kind, finding.severity) == (fault.split()[0], severity)
    if files is not None:
        assert finding.files == [str(clean / name) for name in files]
    assert re.search(message, finding.message), finding.message
    assert re.search(fix, finding.fix), finding.fix


@pytest.mark.parametrize(
    "fault", [name for name, (_, expected) in FAULTS.items() if expected[0] == "error"]
)
def test_an_error_is_what_training_refuses(clean, fault):
    FAULTS[fault][0](clean)

    def read_all():
        reader = Folder(clean / "images", clean / "masks", NAMES)
        return [reader[index] for index in range(len(reader))]

    with pytest.raises((ValueError, OSError)):
        read_all()


def test_masks_of_other_names_get_a_command_that_renames_them(clean):
    rename_masks(clean)
    report = found(clean)
    assert [finding.kind for finding in report.findings] == ["no_mask", "no_image"]
    assert report.findings[0].fix.startswith("for f in pathlib.Path(")
    exec(f"import pathlib\n{report.findings[0].fix}")
    assert found(clean).findings == []


def test_the_turn_that_is_proposed_is_right(clean):
    turn(clean, 6)
    f = clean / "masks" / "p1.png"
    exec(only(found(clean)).fix.split(": ", 1)[1], {"PIL": __import__("PIL.Image"), "f": f})
    assert [finding.severity for finding in found(clean).findings] == ["note"]
    upright = np.rot90(
        draw_clean(1)[1], -1
    )  # orientation 6: the camera stored the image turned to the left
    assert np.array_equal(np.asarray(Image.open(f)), upright)


def test_images_to_validate_on_are_searched_for_those_to_train_on(clean):
    val = write_clean(clean / "val", 2, first=6)
    shutil.copy(clean / "images" / "p1.png", val / "images" / "p6.png")
    Image.open(clean / "images" / "p4.png").save(val / "images" / "p7.jpg", quality=50)
    (val / "images" / "p7.png").unlink()
    finding = only(found(clean, val=(val / "images", val / "masks")))
    assert (finding.kind, finding.severity) == ("leakage", "warning")
    assert (
        "2 of 2 images to validate on are among those to train on (1 to the byte, 1 nearly)"
        in finding.message
    )
    pairs = ["images/p1.png", "val/images/p6.png", "images/p4.png", "val/images/p7.jpg"]
    assert finding.files == [str(clean / name) for name in pairs]


def test_camvid_is_video_but_its_parts_do_not_overlap(shared_data):
    names = [
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ]
    parts = [
        (shared_data / "camvid" / part, shared_data / "camvid" / f"{part}annot")
        for part in ("train", "val")
    ]
    report = diagnose(parts[0], names, parts[1], ignore=11)
    assert [finding.kind for finding in report.findings] == [
        "near_duplicates",
        "near_duplicates",
        "class_imbalance",
    ]
    train, val = report.findings[:2]
    assert "Frames of a video" in train.message
    # Both are cut from one drive, but val counts its frames by 2, train by 30; the nearest differ by more than 6 bits.
    assert (len(train.files), len(val.files)) == (63, 101)
    assert "101 of 101 images to validate on are nearly alike" in val.message


def test_frames_of_camvid_on_both_sides_are_leakage(shared_data, tmp_path):
    # every other frame of its val part held out, as a random split would
    frames, masks = (
        sorted((shared_data / "camvid" / name).iterdir()) for name in ("val", "valannot")
    )
    for start, side in ((0, "train"), (1, "held")):
        for part, files in (("images", frames), ("masks", masks)):
            (tmp_path / side / part).mkdir(parents=True)
            for path in files[start:30:2]:
                shutil.copy(path, tmp_path / side / part)
    sides = [(tmp_path / side / "images", tmp_path / side / "masks") for side in ("train", "held")]
    report = diagnose(sides[0], val=sides[1], ignore=11)
    leakage = next(finding for finding in report.findings if finding.kind == "leakage")
    assert "15 of 15 images to validate on" in leakage.message
