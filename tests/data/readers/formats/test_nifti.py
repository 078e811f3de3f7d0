import struct
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pytest

from tfseg.data.readers.formats.nifti import Nifti
from tfseg.data.readers.formats.volume import Volume
from tfseg.doctor import check, diagnose

NAMES = ["nothing", "liver", "tumor"]
RNG = np.random.default_rng(0)
VOXELS = RNG.integers(-900, 900, (4, 5, 6)).astype(np.int16)  # to the right, the front, the crown
LABELS = RNG.integers(0, 3, (4, 5, 6)).astype(np.uint8)
AFFINE = np.array([[2, 0, 0, -3], [0, 1.5, 0, -4], [0, 0, 3, 10], [0, 0, 0, 1]], float)


def write(
    folder,
    voxels=VOXELS,
    labels=LABELS,
    name="p1",
    suffix=".nii.gz",
    axes="RAS",
    mask_axes=None,
    scale=None,
):
    """Save a volume and its mask with their axes in the order of a code such as "LPS"."""
    for part, array, code in (("images", voxels, axes), ("masks", labels, mask_axes or axes)):
        (folder / part).mkdir(exist_ok=True)
        image = nibabel.Nifti1Image(array, AFFINE)
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(AFFINE), nibabel.orientations.axcodes2ornt(code)
        )
        image = image.as_reoriented(turn)
        if scale and part == "images":
            image.header.set_slope_inter(*scale)
        nibabel.save(image, folder / part / f"{name}{suffix}")


def read(folder, **options):
    return Nifti(folder / "images", folder / "masks", NAMES, **options)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAR", "AIL"])
def test_slices_do_not_depend_on_the_order_of_the_axes(tmp_path, axes, suffix):
    write(tmp_path, axes=axes, suffix=suffix)
    reader = read(tmp_path)
    assert len(reader) == 6
    assert reader.sizes.tolist() == [[5, 4]] * 6
    assert (reader.channels, reader.dtype, reader.name(3)) == (1, np.int16, "p1/003")
    # The front is at the top and the right at the right end: row r is y = 4 - r, column c is x = c.
    expected = [[VOXELS[x, y, 3] for x in range(4)] for y in (4, 3, 2, 1, 0)]
    assert reader[3]["image"][..., 0].tolist() == expected
    assert reader[3]["mask"].tolist() == [
        [LABELS[x, y, 3] for x in range(4)] for y in (4, 3, 2, 1, 0)
    ]
    assert reader[3]["image"].dtype == np.int16
    canonical = nibabel.as_closest_canonical(nibabel.load(tmp_path / "images" / f"p1{suffix}"))
    assert np.array_equal(np.asarray(canonical.dataobj), VOXELS)


def test_a_mask_can_have_other_axes_than_its_volume(tmp_path):
    write(tmp_path, axes="LPS", mask_axes="SRA")
    assert read(tmp_path)[2]["mask"].tolist() == [
        [LABELS[x, y, 2] for x in range(4)] for y in (4, 3, 2, 1, 0)
    ]


def test_sagittal_and_coronal_slices_have_the_crown_at_the_top(tmp_path):
    write(tmp_path, axes="PIR")
    sagittal, coronal = read(tmp_path, axis=0), read(tmp_path, axis=1)
    assert (len(sagittal), sagittal.sizes[0].tolist(), len(coronal), coronal.sizes[0].tolist()) == (
        4,
        [6, 5],
        5,
        [6, 4],
    )
    assert sagittal[1]["image"][..., 0].tolist() == [
        [VOXELS[1, y, z] for y in range(5)] for z in (5, 4, 3, 2, 1, 0)
    ]
    assert coronal[1]["image"][..., 0].tolist() == [
        [VOXELS[x, 1, z] for x in range(4)] for z in (5, 4, 3, 2, 1, 0)
    ]
    with pytest.raises(ValueError, match="axis=3 is unknown"):
        read(tmp_path, axis=3)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_the_scale_of_the_header_is_applied(tmp_path, suffix):
    write(tmp_path, scale=(0.5, -100), suffix=suffix, axes="LPS")
    path = tmp_path / "images" / f"p1{suffix}"
    stored = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()
    reader = read(tmp_path)
    assert reader.dtype == np.float32
    image = reader[3]["image"][..., 0]
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, np.rot90(stored[..., 3]))
    np.testing.assert_allclose(image, np.rot90(VOXELS[..., 3] * 0.5 - 100))


@pytest.mark.parametrize("suffix", [".NII.GZ", ".Nii", ".nii.GZ"])
def test_upper_case_suffixes_are_read(tmp_path, suffix):
    write(tmp_path, suffix=suffix.lower())
    for part in ("images", "masks"):
        (tmp_path / part / f"p1{suffix.lower()}").rename(tmp_path / part / f"p1{suffix}")
        (tmp_path / part / f"._p1{suffix}").write_bytes(b"\0\5\x16\7")
    reader = read(tmp_path)
    assert reader.name(3) == "p1/003"
    assert reader[3]["image"][..., 0].tolist() == np.rot90(VOXELS[..., 3]).tolist()


@pytest.mark.parametrize("part", ["images", "masks"])
@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_an_affine_that_places_no_voxel_is_named(tmp_path, part, value):
    write(tmp_path, suffix=".nii")
    path = tmp_path / part / "p1.nii"
    header = bytearray(path.read_bytes())
    for row in range(3):  # the second column of the sform
        struct.pack_into("<f", header, 280 + 16 * row + 4, value)
    path.write_bytes(header)
    with pytest.raises(ValueError, match=rf"{part}/p1\.nii has the affine .*{value:g}.*sform"):
        read(tmp_path)


def test_scaled_masks_that_are_not_whole_are_named_once_per_file(tmp_path):
    write(tmp_path)
    image = nibabel.Nifti1Image(LABELS, AFFINE)
    image.header.set_slope_inter(1.0001, 0)
    nibabel.save(image, tmp_path / "masks" / "p1.nii.gz")
    with pytest.raises(
        ValueError, match=r"masks/p1\.nii\.gz .*1\.0001.*scl_slope is 1\.0001"
    ) as error:
        check(read(tmp_path))
    assert "problems" not in str(error.value)
    finding = diagnose(read(tmp_path)).errors[0]
    assert finding.message.count("scl_slope") == 1
    assert len(finding.files) == 6
    image.header.set_slope_inter(2, -1)
    nibabel.save(image, tmp_path / "masks" / "p1.nii.gz")
    with pytest.raises(ValueError, match="map to no class: -1"):
        read(tmp_path)[0]
    image.header.set_slope_inter(1, 0)
    nibabel.save(
        nibabel.Nifti1Image(LABELS.astype(np.float64), AFFINE), tmp_path / "masks" / "p1.nii.gz"
    )
    assert read(tmp_path)[2]["mask"].tolist() == np.rot90(LABELS[..., 2]).tolist()


def test_all_volumes_get_one_dtype(tmp_path):
    write(tmp_path)
    write(tmp_path, VOXELS.astype(np.uint8), name="p2")
    reader = read(tmp_path)
    assert reader.dtype == np.float32
    assert (reader[7]["image"].dtype, reader.name(7)) == (np.float32, "p2/001")
    write(tmp_path, VOXELS.astype(np.float64), name="p1")
    assert read(tmp_path)[0]["image"].dtype == np.float32


def test_big_endian_values_are_converted(tmp_path):
    write(tmp_path)
    image = nibabel.Nifti1Image(VOXELS.astype(">i2"), AFFINE, nibabel.Nifti1Header(endianness=">"))
    image.header.set_data_dtype(">i2")
    nibabel.save(image, tmp_path / "images" / "p1.nii.gz")
    reader = read(tmp_path)
    assert reader.dtype == np.dtype("=i2")
    assert np.array_equal(reader[5]["image"][..., 0], np.rot90(VOXELS[..., 5]))


def test_modalities_are_channels(tmp_path):
    write(tmp_path)
    (tmp_path / "images").rename(tmp_path / "t1")
    write(tmp_path, VOXELS[::-1].copy(), axes="LPS", mask_axes="RAS")
    reader = Nifti([tmp_path / "t1", tmp_path / "images"], tmp_path / "masks", NAMES)
    assert reader.channels == 2
    image = reader[4]["image"]
    assert np.array_equal(image[..., 0], np.rot90(VOXELS[..., 4]))
    assert np.array_equal(image[..., 1], np.rot90(VOXELS[::-1, :, 4]))
    (tmp_path / "t1" / "p1.nii.gz").rename(tmp_path / "t1" / "p2.nii.gz")
    with pytest.raises(
        ValueError, match=r"(?s)4 problems.*p2\.nii\.gz has no file 'p2\.nii\.gz' in .*images"
    ):
        Nifti([tmp_path / "t1", tmp_path / "images"], tmp_path / "masks", NAMES)


def test_a_fourth_axis_contains_channels(tmp_path):
    write(tmp_path, np.stack([VOXELS, VOXELS + 1, VOXELS + 2], axis=-1))
    reader = read(tmp_path)
    assert reader.channels == 3
    assert np.array_equal(
        reader[4]["image"], np.rot90(np.stack([VOXELS + i for i in range(3)], axis=-1)[:, :, 4])
    )
    write(tmp_path, name="p2")
    with pytest.raises(ValueError, match=r"p2\.nii\.gz has 1 channels, but .*p1\.nii\.gz has 3"):
        read(tmp_path)


def test_values_are_translated_and_must_be_whole_numbers(tmp_path):
    write(tmp_path, labels=np.array([0, 7, 9], np.float32)[LABELS])
    reader = read(tmp_path, mask_values={7: 1, 9: 2}, ignore_value=0)
    assert np.array_equal(reader[0]["mask"], np.rot90(np.array([255, 1, 2])[LABELS[..., 0]]))
    with pytest.raises(ValueError, match=r"p1\.nii\.gz contains values that map to no class: 7, 9"):
        read(tmp_path)[0]
    write(tmp_path, labels=LABELS + np.float32(0.25))
    with pytest.raises(ValueError, match=r"masks/p1\.nii\.gz contains values that are not whole"):
        read(tmp_path)[0]


def test_black_and_white_masks_are_two_classes(tmp_path):
    write(tmp_path, labels=(LABELS // 2) * np.uint8(255))
    reader = Nifti(tmp_path / "images", tmp_path / "masks", ["nothing", "tumor"])
    assert reader.mask_values == {0: 0, 255: 1}
    assert set(np.unique(reader[0]["mask"])) == {0, 1}
    with pytest.raises(ValueError, match=r"Nifti: mask_values=.* contains the ids 5\."):
        read(tmp_path, mask_values={0: 0, 255: 5})


def test_empty_slices_can_be_skipped(tmp_path):
    labels = LABELS.copy()
    labels[..., [0, 4]] = 0
    labels[0, 0, 4] = 255
    write(tmp_path, labels=labels)
    reader = read(tmp_path, skip_empty=True)
    assert [reader.name(i) for i in range(len(reader))] == ["p1/001", "p1/002", "p1/003", "p1/005"]
    assert np.array_equal(reader[3]["mask"], np.rot90(labels[..., 5]))
    assert len(read(tmp_path)) == 6


def test_slices_of_a_volume_can_be_kept_together(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path, name=name)
    train, val = read(tmp_path).split(0.34, groups=lambda name: name.rpartition("/")[0])
    assert (len(train), len(val)) == (12, 6)
    assert len({val.name(i)[0] for i in range(6)}) == 1


def test_a_volume_is_decoded_once_for_all_its_slices_and_threads(tmp_path, monkeypatch):
    write(tmp_path)
    decoded = []
    load = Volume.load
    monkeypatch.setattr(
        Volume, "load", lambda self: decoded.append(self.path.parent.name) or load(self)
    )
    reader = read(tmp_path)
    with ThreadPoolExecutor(6) as pool:
        samples = list(pool.map(reader.__getitem__, range(6)))
    assert sorted(decoded) == ["images", "masks"]
    assert all(np.array_equal(samples[k]["mask"], np.rot90(LABELS[..., k])) for k in range(6))


def test_grids_must_match(tmp_path):
    write(tmp_path, labels=LABELS[:, :-1])
    with pytest.raises(
        ValueError, match=r"p1\.nii\.gz has \(4, 5, 6\) voxels .*p1\.nii\.gz has \(4, 4, 6\)"
    ):
        read(tmp_path)
    write(tmp_path)
    moved = AFFINE.copy()
    moved[1, 3] += 1.5 * 0.6
    nibabel.save(nibabel.Nifti1Image(LABELS, moved), tmp_path / "masks" / "p1.nii.gz")
    with pytest.raises(
        ValueError, match=r"p1\.nii\.gz and .*p1\.nii\.gz are up to 0\.6 voxels apart"
    ):
        read(tmp_path)
    moved[1, 3] = AFFINE[1, 3] + 1.5 * 0.4
    nibabel.save(nibabel.Nifti1Image(LABELS, moved), tmp_path / "masks" / "p1.nii.gz")
    assert len(read(tmp_path)) == 6
    nibabel.save(
        nibabel.Nifti1Image(LABELS, np.diag([-1.0, -1, 1, 1])), tmp_path / "masks" / "p1.nii.gz"
    )
    with pytest.raises(ValueError, match="voxels apart in space"):
        read(tmp_path)


def test_volumes_and_masks_must_pair(tmp_path):
    write(tmp_path)
    write(tmp_path, name="p2")
    (tmp_path / "masks" / "p2.nii.gz").rename(tmp_path / "masks" / "p3.nii.gz")
    with pytest.raises(
        ValueError, match=r"(?s)2 problems.*p2\.nii\.gz has no.*p3\.nii\.gz has no.*rename"
    ):
        read(tmp_path)
    write(tmp_path, name="p1", suffix=".nii")
    with pytest.raises(ValueError, match=r"p1\.nii and .*p1\.nii\.gz have the same name"):
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="contains no volume"):
        Nifti(tmp_path / "empty", tmp_path / "masks", NAMES)
    with pytest.raises(FileNotFoundError, match="no folder"):
        Nifti(tmp_path / "gone", tmp_path / "masks", NAMES)


def test_damaged_and_invalid_files_are_named(tmp_path):
    write(
        tmp_path,
        RNG.integers(0, 99, (40, 50, 60)).astype(np.int16),
        np.zeros((40, 50, 60), np.uint8),
    )
    path = tmp_path / "images" / "p1.nii.gz"
    reader = read(tmp_path)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(OSError, match=r"p1\.nii\.gz is damaged"):
        reader[0]
    path.write_bytes(b"not a volume")
    with pytest.raises(ValueError, match=r"p1\.nii\.gz cannot be read as a NIfTI"):
        read(tmp_path)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5), np.int16), AFFINE), path)
    with pytest.raises(ValueError, match=r"p1\.nii\.gz has dtype int16 and shape \(4, 5\)"):
        read(tmp_path)
    write(tmp_path, labels=np.stack([LABELS, LABELS], axis=-1))
    with pytest.raises(ValueError, match=r"p1\.nii\.gz has 2 values per voxel. Expected one"):
        read(tmp_path)
