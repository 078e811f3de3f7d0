import shutil
from dataclasses import replace

import numpy as np
import pytest
from object_files import voc_boxes
from PIL import Image

from tfseg.training import TrainConfig, open_like, open_readers

from .conftest import NAMES


def config(folder, **changes):
    values = {
        "images": folder / "images",
        "masks": folder / "masks",
        "class_names": NAMES,
        "val_fraction": 0.3,
        "out": "run",
        **changes,
    }
    return TrainConfig(**values)


def names(reader):
    return [reader.name(index) for index in range(len(reader))]


class Facts:
    """What `open_readers` needs of a run."""

    def __init__(self, train, val):
        self.train_names, self.val_names = names(train), names(val)
        self.mask_values, self.channels = train.mask_values, train.channels


def repaint(folder, change):
    for path in folder.iterdir():
        Image.fromarray(change(np.asarray(Image.open(path))).astype(np.uint8)).save(path)


def test_the_split_depends_on_fraction_and_seed(folder):
    train, val = open_readers(config(folder))
    assert (len(train), len(val)) == (4, 2)  # 0.3 * 6 = 1.8
    assert sorted(names(train) + names(val)) == [f"p{i}" for i in range(6)]
    assert names(open_readers(config(folder))[1]) == names(val)
    splits = {tuple(names(open_readers(config(folder, seed=seed))[1])) for seed in range(6)}
    assert len(splits) > 1


def test_groups_stay_together_and_the_run_keeps_them(folder, tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("image,pair\n" + "".join(f"p{i}.jpg,{i // 2}\n" for i in range(6)))
    by_table = config(folder, groups=f"{table}:pair")
    train, val = open_readers(by_table)
    assert len(train) == 4
    assert {int(name[1]) // 2 for name in names(val)} == {int(names(val)[0][1]) // 2}
    table.unlink()
    again = open_readers(by_table, Facts(train, val))
    assert [names(reader) for reader in again] == [names(train), names(val)]
    with pytest.raises(FileNotFoundError, match="no table of groups"):
        open_readers(by_table)


def test_a_fold_has_its_part_of_the_samples(folder):
    parts = [open_readers(config(folder, folds=3, fold=fold)) for fold in (1, 2, 3)]
    assert sorted(name for _, val in parts for name in names(val)) == [f"p{i}" for i in range(6)]
    for train, val in parts:
        assert sorted(names(train) + names(val)) == [f"p{i}" for i in range(6)]
        assert len(val) == 2


def test_a_run_keeps_its_samples_when_the_folder_grows(folder):
    train, val = open_readers(config(folder))
    facts = Facts(train, val)
    for part, suffix in (("images", "jpg"), ("masks", "png")):
        source = folder / part / f"p0.{suffix}"
        (folder / part / f"a9.{suffix}").write_bytes(source.read_bytes())
    again = open_readers(config(folder), facts)
    assert [names(reader) for reader in again] == [names(train), names(val)]
    (folder / "images" / f"{names(val)[0]}.jpg").unlink()
    (folder / "masks" / f"{names(val)[0]}.png").unlink()
    with pytest.raises(ValueError, match=rf"1 of the run's images are missing: {names(val)[0]}. R"):
        open_readers(config(folder), facts)


def test_masks_of_black_and_white_mean_the_same_in_validation(folder):
    repaint(folder / "masks", lambda mask: np.where(mask == 1, 255, 0))
    # the validation masks are all black: by themselves their values would be taken for class ids
    (folder / "val").mkdir()
    for part in ("images", "masks"):
        (folder / "val" / part).mkdir()
    for index in range(2):
        Image.new("RGB", (8, 8)).save(folder / "val" / "images" / f"v{index}.png")
        mask = np.zeros((8, 8), np.uint8)
        mask[0, 0] = 255 * index
        Image.fromarray(mask).save(folder / "val" / "masks" / f"v{index}.png")
    val_folders = {"val_images": folder / "val/images", "val_masks": folder / "val/masks"}
    train, val = open_readers(config(folder, class_names=["ground", "disc"], **val_folders))
    assert train.mask_values == val.mask_values == {0: 0, 255: 1}
    assert (len(train), len(val)) == (6, 2)
    assert np.bincount(val[1]["mask"].ravel()).tolist() == [63, 1]


def test_gray_and_ignored_values(folder):
    train, _ = open_readers(config(folder, gray=True, ignore_value=2))
    assert train.channels == 1
    assert set(np.unique(train[0]["mask"])) == {0, 1, 255}
    train, _ = open_readers(config(folder, mask_values={0: 0, 1: 1, 2: 0}))
    assert set(np.unique(train[0]["mask"])) == {0, 1}


def test_colored_masks_in_subfolders(folder):
    colors = np.array([(1, 2, 3), (4, 5, 6), (7, 8, 9), (0, 0, 0)])
    repaint(folder / "masks", lambda mask: colors[np.where(mask == 2, 3, mask)])
    for part in ("images", "masks"):
        (folder / part / "more").mkdir()
        for path in sorted((folder / part).glob("p[345].*")):
            path.rename(path.parent / "more" / path.name)
    table = dict(zip(NAMES, colors.tolist(), strict=False))
    options = {"colors": table, "ignore_value": (0, 0, 0), "recursive": True}
    train, val = open_readers(config(folder, **options))
    assert sorted(names(train) + names(val)) == ["more/p3", "more/p4", "more/p5", "p0", "p1", "p2"]
    assert set(np.unique(train[0]["mask"])) == {0, 1, 255}
    folders = folder / "images", folder / "masks"
    other = open_like(train, *folders, (0, 0, 0), None, config(folder, **options))
    assert np.array_equal(other.select([train.name(0)])[0]["mask"], train[0]["mask"])


def test_images_of_more_bits_than_the_training_images_are_refused(folder, tmp_path):
    train, _ = open_readers(config(folder))
    deep = tmp_path / "deep"
    deep.mkdir()
    for index in range(6):
        gray = np.asarray(Image.open(folder / "images" / f"p{index}.jpg").convert("L"))
        Image.fromarray(gray.astype(np.uint16) * 257).save(deep / f"p{index}.png")
    with pytest.raises(ValueError, match="more than 8 bits per channel, but the training images"):
        open_like(train, deep, folder / "masks", 255, train.mask_values)
    # the reverse may be a part of a mixed set
    mixed = replace_dtype(train, np.float32)
    assert len(open_like(mixed, folder / "images", folder / "masks", 255, None)) == 6


def replace_dtype(reader, dtype):
    reader.dtype = np.dtype(dtype)
    return reader


def test_a_voc_folder_is_validated_on_its_list_val(tmp_path):
    voc_boxes(tmp_path)
    images = tmp_path / "JPEGImages"
    shutil.copy(images / "a.png", images / "b.png")
    shutil.copy(tmp_path / "Annotations" / "a.xml", tmp_path / "Annotations" / "b.xml")
    lists = tmp_path / "ImageSets" / "Main"
    (lists / "train.txt").write_text("a\nb")
    objects = TrainConfig(task="detect", images=images, labels=tmp_path, val_fraction=0.5, out="r")
    assert len(open_readers(objects)[0]) == 1  # no list: one image is split off
    assert len(open_readers(replace(objects, groups="[ab]"))[0]) == 1
    with pytest.raises(ValueError, match="'a' gives no group for 1 of 2 names: b"):
        open_readers(replace(objects, groups="a"))
    (lists / "val.txt").write_text("b")
    (lists / "train.txt").write_text("a")
    train, val = open_readers(objects)
    assert (names(train), names(val)) == (["a"], ["b"])
    with pytest.raises(ValueError, match=r"groups='.' contradicts '.*', which lists the images"):
        open_readers(replace(objects, groups="."))


def test_without_folders_readers_are_needed(folder):
    with pytest.raises(ValueError, match="images=None names no folder"):
        open_readers(replace(config(folder), images=None, masks=None))
