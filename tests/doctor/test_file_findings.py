"""Plant one fault in the files of a clean folder: the doctor finds exactly this fault."""

import re
import shutil

import numpy as np
import pytest
from clean_folder import (
    NAMES,
    change_masks,
    diagnose_folder,
    draw_clean,
    single_finding,
    write_clean,
)
from PIL import Image

from tfseg.data import Folder
from tfseg.doctor import diagnose


def test_clean_folders_have_no_findings(clean):
    assert diagnose_folder(clean).findings == []
    assert diagnose_folder(clean, None).findings == []
    assert diagnose_folder(clean).verdict() == "no problems found"
    val = write_clean(clean / "val", 3, first=6, suffix=".jpg")
    assert diagnose_folder(clean, val=(val / "images", val / "masks")).findings == []


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def save_as(path, suffix, image=None, **options):
    (image or Image.open(path)).save(path.with_suffix(suffix), **options)
    path.unlink()


def rename_masks(folder):
    for mask in list((folder / "masks").iterdir()):
        mask.rename(mask.with_stem(f"seg-{mask.stem}_mask"))


def rotate(folder, orientation, transpose=None):
    """Give p1 an EXIF orientation, as of a rotated camera, and transpose its mask."""
    exif = Image.Exif()
    exif[0x112] = orientation
    save_as(folder / "images" / "p1.png", ".jpg", exif=exif, quality=95)
    path = folder / "masks" / "p1.png"
    with Image.open(path) as pil_image:
        mask = pil_image.copy()
    if transpose is not None:
        mask = mask.transpose(transpose)
    mask.save(path)


def add_palettes(folder, palette_of):
    for path in (folder / "masks").iterdir():
        mask = Image.open(path).copy()
        mask.putpalette(palette_of(path))
        mask.save(path)


def convert_to_16_bit(folder, pattern="*"):
    for path in (folder / "images").glob(pattern):
        gray = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 257
        Image.fromarray(gray).save(path)


def convert_to_gray(folder, pattern="*"):
    for path in (folder / "images").glob(pattern):
        Image.open(path).convert("L").save(path)


def one_16_bit_image(folder):
    convert_to_gray(folder)
    convert_to_16_bit(folder, "p1.png")


def same_name(folder):
    Image.fromarray(draw_clean(20)[0]).save(folder / "images" / "p1.bmp")


def copy(folder):
    for part in ("images", "masks"):
        shutil.copy(folder / part / "p1.png", folder / part / "twin.png")


def copy_with_other_mask(folder):
    copy(folder)
    change_masks(folder, lambda mask: mask[::-1].copy(), "twin.png")


def copy_as_jpeg(folder):
    copy(folder)
    save_as(folder / "images" / "twin.png", ".jpg", quality=60)


def enlarge(folder):
    image, mask = draw_clean(1, 320, 400)
    Image.fromarray(image).save(folder / "images" / "p1.png")
    Image.fromarray(mask).save(folder / "masks" / "p1.png")


def turn_png(folder):
    exif = Image.Exif()
    exif[0x112] = 3
    path = folder / "images" / "p1.png"
    image = Image.open(path).copy()
    image.save(path, exif=exif)


def scale_images(folder):
    for path in (folder / "images").iterdir():
        gray = np.asarray(Image.open(path).convert("L")).astype(np.float32)
        save_as(path, ".tif", Image.fromarray(gray / gray.max()))


PALETTES = [(0, 0, 0, 255, 0, 0, 0, 255, 0), (255, 0, 0, 0, 0, 0, 0, 255, 0)]

# {name: (plant, (severity, files, message, fix))}; the name starts with the kind of the finding
FAULTS = {
    "unreadable": (
        lambda f: (f / "images" / "p1.png").write_text("junk"),
        ("error", ["images/p1.png"], r"p1\.png cannot be read as an image", "Remove the file"),
    ),
    "unreadable mask": (
        lambda f: (f / "masks" / "p2.png").write_bytes(b""),
        ("error", ["masks/p2.png"], r"p2\.png is empty", "Remove the file"),
    ),
    "truncated": (
        lambda f: truncate(f / "images" / "p1.png"),
        ("error", ["images/p1.png"], r"p1\.png is damaged", "Copy the file again"),
    ),
    "truncated mask": (
        lambda f: truncate(f / "masks" / "p1.png"),
        ("error", ["masks/p1.png"], r"masks/p1\.png is damaged", "Copy the file again"),
    ),
    "refused": (
        lambda f: save_as(
            f / "masks" / "p1.png", ".tif", Image.fromarray(np.full((64, 80), 0.5, np.float32))
        ),
        ("error", ["masks/p1.tif"], "values that are not whole numbers", "message"),
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
            r"images/p1\.bmp and .*images/p1\.png have the same name",
            "Keep one",
        ),
    ),
    "size_mismatch": (
        lambda f: change_masks(f, lambda mask: mask[::2, ::2].copy(), "p1.png"),
        ("error", ["masks/p1.png"], "image 80 x 64, mask 40 x 32", "NEAREST"),
    ),
    "transposed": (
        lambda f: change_masks(f, lambda mask: mask.T.copy(), "p1.png"),
        (
            "error",
            ["masks/p1.png"],
            "height and width swapped: image 80 x 64, mask 64 x 80",
            "ROTATE_90",
        ),
    ),
    "exif_rotation with wrong masks": (
        lambda f: rotate(f, 6),
        (
            "error",
            ["images/p1.jpg"],
            "upright, but their masks fit the pixels as stored",
            "ROTATE_270",
        ),
    ),
    "exif_rotation by 180 degrees": (
        lambda f: rotate(f, 3),
        ("warning", ["images/p1.jpg"], "cannot be determined from the size", "ROTATE_180"),
    ),
    "exif_rotation with upright masks": (
        lambda f: rotate(f, 8, Image.Transpose.ROTATE_90),
        (
            "note",
            ["images/p1.jpg"],
            "turns images upright, and their masks fit",
            "No action needed",
        ),
    ),
    "exif_rotation of a PNG": (
        turn_png,
        ("note", ["images/p1.png"], "1 PNG image with an EXIF orientation", "exif_transpose"),
    ),
    "scaled_images": (
        scale_images,
        (
            "warning",
            None,
            r"^6 images with values from 0\.[0-9]+ to 1, expected 0\.\.255",
            "normalization",
        ),
    ),
    "left_out_files in subfolders": (
        lambda f: shutil.copytree(f / "masks", f / "masks" / "more"),
        ("warning", None, "masks' has subfolders with images, .*: more", "--recursive"),
    ),
    "left_out_files of a phone": (
        lambda f: (f / "images" / "IMG_1.HEIC").write_bytes(b"x"),
        ("warning", None, r"1 files in formats that are not read: IMG_1\.HEIC", "Convert"),
    ),
    "lossy_masks": (
        lambda f: save_as(f / "masks" / "p1.png", ".jpg"),
        ("error", ["masks/p1.jpg"], "1 mask in JPEG format: lossy", "PNG"),
    ),
    "palette_masks": (
        lambda f: add_palettes(f, lambda path: (0, 0, 0, 128, 0, 0, 0, 128, 0)),
        (
            "note",
            None,
            r"^6 masks with a palette: .* \(0 = \(0, 0, 0\), 1 = \(128, 0, 0\), 2 = \(0, 128",
            "No action needed",
        ),
    ),
    "palette_masks that differ": (
        lambda f: add_palettes(f, lambda path: PALETTES[path.stem == "p3"]),
        (
            "warning",
            None,
            r"index 0, 1 has several colors, such as \(0, 0, 0\), \(255, 0, 0\)",
            "colors=",
        ),
    ),
    "mixed_channels": (
        lambda f: convert_to_gray(f, "p1.png"),
        ("warning", ["images/p1.png"], "1 gray image and 5 color images", "channels=1"),
    ),
    "mixed_depth": (
        one_16_bit_image,
        (
            "warning",
            ["images/p1.png"],
            "1 image with more than 8 bits per channel and 5 images with 8",
            "257",
        ),
    ),
    "deep_images": (
        convert_to_16_bit,
        (
            "note",
            None,
            "^6 images with more than 8 bits per channel and values from [0-9]+ to [0-9]{5}: ",
            "normalization",
        ),
    ),
    "resolution_spread": (
        enlarge,
        ("warning", ["images/p0.png", "images/p1.png"], "from 80 x 64 to 400 x 320", "one scale"),
    ),
    "duplicates": (
        copy,
        (
            "warning",
            ["images/p1.png", "images/twin.png"],
            r"^1 image with identical copies: p1\.png = twin\.png\.$",
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
        copy_as_jpeg,
        (
            "warning",
            ["images/p1.png", "images/twin.jpg"],
            r"2 of 7 images are nearly identical.*p1\.png = twin\.jpg.* video",
            "groups=",
        ),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_planted_fault_is_found(clean, fault):
    plant, (severity, files, message, fix) = FAULTS[fault]
    plant(clean)
    finding = single_finding(diagnose_folder(clean))
    assert (finding.kind, finding.severity) == (fault.split()[0], severity)
    if files is not None:
        assert finding.files == [str(clean / name) for name in files]
    assert re.search(message, finding.message), finding.message
    assert re.search(fix, finding.fix), finding.fix


@pytest.mark.parametrize(
    "fault", [name for name, (_, expected) in FAULTS.items() if expected[0] == "error"]
)
def test_training_refuses_what_the_doctor_calls_an_error(clean, fault):
    FAULTS[fault][0](clean)

    def read_all():
        reader = Folder(clean / "images", clean / "masks", NAMES)
        return [reader[index] for index in range(len(reader))]

    with pytest.raises((ValueError, OSError)):
        read_all()


def test_masks_with_a_prefix_get_a_command_that_renames_them(clean):
    rename_masks(clean)
    report = diagnose_folder(clean)
    assert [finding.kind for finding in report.findings] == ["no_mask", "no_image"]
    assert report.findings[0].fix.startswith("for f in pathlib.Path(")
    exec(f"import pathlib\n{report.findings[0].fix}")
    assert diagnose_folder(clean).findings == []


def test_masks_of_another_prefix_get_a_command_that_renames_them(clean):
    for folder, prefix in (("images", "image_"), ("masks", "mask_")):
        for path in list((clean / folder).iterdir()):
            path.rename(path.with_stem(path.stem.replace("p", prefix)))
    exec(f"import pathlib\n{diagnose_folder(clean).findings[0].fix}")
    assert {path.name for path in (clean / "masks").iterdir()} == {
        f"image_{number}.png" for number in range(6)
    }
    assert diagnose_folder(clean).findings == []


def test_images_and_masks_in_one_folder_are_refused(clean):
    for path in list((clean / "masks").iterdir()):
        path.rename(clean / "images" / f"{path.stem}_mask.png")
    with pytest.raises(ValueError, match="the same folder.*mask_suffix='_mask'"):
        diagnose((clean / "images", clean / "images"), NAMES)


def test_a_single_image_cannot_be_split(tmp_path):
    folder = write_clean(tmp_path, 1)
    assert single_finding(diagnose_folder(folder)).kind == "too_few_images"
    val = write_clean(tmp_path / "val", 2, first=1)
    report = diagnose_folder(folder, val=(val / "images", val / "masks"))
    assert report.errors == []


def test_names_that_look_the_same_are_the_same(tmp_path):
    folder = write_clean(tmp_path, 2)
    (folder / "images" / "p1.png").rename(folder / "images" / "\u00e9.png")
    (folder / "masks" / "p1.png").rename(folder / "masks" / "e\u0301.png")  # as macOS writes it
    assert diagnose_folder(folder).findings == []


def test_masks_in_a_folder_per_class_or_per_image_are_examined(tmp_path):
    folder = write_clean(tmp_path, 1)
    masks = folder / "masks"
    (masks / "p0").mkdir()
    (masks / "p0.png").rename(masks / "p0" / "0.png")
    report = diagnose_folder(folder)
    assert [finding.kind for finding in report.errors] == ["too_few_images"]
    assert all(row.pixels for row in report.classes)
    shutil.rmtree(masks / "p0")
    (masks / "wall").mkdir()
    Image.fromarray(np.eye(64, 80, dtype=np.uint8)).save(masks / "wall" / "p0.png")
    assert diagnose_folder(folder).classes[1].pixels == 64


def test_the_proposed_rotation_is_right(clean):
    rotate(clean, 6)
    f = clean / "masks" / "p1.png"
    exec(
        single_finding(diagnose_folder(clean)).fix.split(": ", 1)[1],
        {"PIL": __import__("PIL.Image"), "f": f},
    )
    assert [finding.severity for finding in diagnose_folder(clean).findings] == ["note"]
    # orientation 6: turn the stored image to the right
    upright = np.rot90(draw_clean(1)[1], -1)
    assert np.array_equal(np.asarray(Image.open(f)), upright)


def test_copies_of_training_images_in_validation_are_leakage(clean):
    val = write_clean(clean / "val", 2, first=6)
    shutil.copy(clean / "images" / "p1.png", val / "images" / "p6.png")
    Image.open(clean / "images" / "p4.png").save(val / "images" / "p7.jpg", quality=50)
    (val / "images" / "p7.png").unlink()
    finding = single_finding(diagnose_folder(clean, val=(val / "images", val / "masks")))
    assert (finding.kind, finding.severity) == ("leakage", "warning")
    assert (
        "2 of 2 validation images are also training images (1 identical, 1 nearly identical)"
        in finding.message
    )
    pairs = ["images/p1.png", "val/images/p6.png", "images/p4.png", "val/images/p7.jpg"]
    assert finding.files == [str(clean / name) for name in pairs]


def test_camvid_has_near_duplicates_but_no_leakage(shared_data):
    readers = []
    for part in ("train", "val"):
        images, masks = shared_data / "camvid" / part, shared_data / "camvid" / f"{part}annot"
        names = [f"class {i}" for i in range(11)]
        reader = Folder(images, masks, names, ignore_value=11)
        readers.append(reader.subset(range(0, len(reader), 2)))
    report = diagnose(readers[0], val=readers[1])
    kinds = [finding.kind for finding in report.findings]
    assert kinds == ["near_duplicates", "near_duplicates", "class_imbalance"]
    train, val = report.findings[:2]
    assert "video frames" in train.message
    # Both parts show one drive. The frames of val follow each other closely, those of train are 30
    # frames apart. The nearest frames of the two parts differ by more than 6 bits.
    assert (len(train.files), len(val.files)) == (20, 50)
    assert "50 of 51 validation images are nearly identical" in val.message


def test_frames_of_camvid_on_both_sides_are_leakage(shared_data, tmp_path):
    # hold out every other frame of the val part, as a random split would
    frames, masks = (
        sorted((shared_data / "camvid" / name).iterdir()) for name in ("val", "valannot")
    )
    for start, side in ((0, "train"), (1, "held")):
        for part, files in (("images", frames), ("masks", masks)):
            (tmp_path / side / part).mkdir(parents=True)
            for path in files[start:30:2]:
                shutil.copy(path, tmp_path / side / part)
    sides = [(tmp_path / side / "images", tmp_path / side / "masks") for side in ("train", "held")]
    report = diagnose(sides[0], val=sides[1], ignore_value=11)
    leakage = next(finding for finding in report.findings if finding.kind == "leakage")
    assert "15 of 15 validation images" in leakage.message
