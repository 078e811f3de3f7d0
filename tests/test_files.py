import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tfseg.files import (
    atomic_write,
    check_overwrites,
    is_own_result,
    remove_leftovers,
    write_png,
)


def test_a_complete_file_replaces_the_old_one(tmp_path):
    file = tmp_path / "new" / "a.json"
    for text in ("1", "2"):
        with atomic_write(file) as path:
            path.write_text(text)
            assert path.suffix == ".json"
            assert path.parent == file.parent
        assert [p.name for p in file.parent.iterdir()] == ["a.json"]
        assert file.read_text() == text


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_keeps_the_old_file_and_leaves_no_other(error, tmp_path):
    (tmp_path / "a.json").write_text("old")

    def fail_half_way():
        with atomic_write(tmp_path / "a.json") as path:
            path.write_text("half")
            raise error

    with pytest.raises(error):
        fail_half_way()
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_the_old_file_stays_until_the_block_ends(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("old")
    with atomic_write(str(file)) as path:
        path.write_text("new")
        assert file.read_text() == "old"
        with atomic_write(file) as other:
            assert other != path  # two writers do not share it
            other.write_text("other")
    assert file.read_text() == "new"


def test_only_the_leftovers_of_killed_processes_are_removed(tmp_path):
    block = atomic_write(tmp_path / "a.json")
    leftover = block.__enter__()  # never left, as if the process was killed
    leftover.write_text("half")
    kept = {".hidden", "a.json", f"{leftover.name[1:]}", ".0123-a.json"}
    for name in kept:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept
    remove_leftovers(tmp_path / "missing")


def test_results_of_tfseg_are_recognized(tmp_path):
    array = np.arange(6, dtype=np.uint16).reshape(2, 3)
    write_png(tmp_path / "own.png", array)
    assert np.array_equal(Image.open(tmp_path / "own.png"), array)
    text = PngInfo()
    text.add_text("Title", "tfseg")
    text.add_text("Software", "another program")
    Image.fromarray(array).save(tmp_path / "other.png", pnginfo=text)
    Image.fromarray(array).save(tmp_path / "plain.png")
    Image.fromarray(array).save(tmp_path / "own.tif", tiffinfo={305: "tfseg"})
    Image.fromarray(array).save(tmp_path / "other.tif", tiffinfo={305: "another program"})
    Image.fromarray(array).save(tmp_path / "plain.tif")
    (tmp_path / "damaged.png").write_bytes((tmp_path / "own.png").read_bytes()[:20])
    (tmp_path / "empty.png").touch()
    names = {path.name for path in tmp_path.iterdir() if is_own_result(path)}
    assert names == {"own.png", "own.tif"}
    assert not is_own_result(tmp_path)
    assert not is_own_result(tmp_path / "missing.png")


def test_only_results_of_tfseg_are_replaced(tmp_path):
    write_png(tmp_path / "own.png", np.zeros((2, 3), np.uint8))
    check_overwrites([tmp_path / "own.png", tmp_path / "new.png"])
    (tmp_path / "hand.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match=r"hand\.png, .*link\.png: tfseg did not write what"):
        check_overwrites([tmp_path / name for name in ("own.png", "hand.png", "link.png")])
