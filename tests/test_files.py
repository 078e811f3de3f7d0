import pytest

from tfseg.files import atomic_write, remove_leftovers


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
