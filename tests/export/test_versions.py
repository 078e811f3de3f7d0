import threading

import pytest

from tfseg.export.versions import next_version


def test_the_next_version_follows_the_highest_number(tmp_path):
    for name in ("7", "x9", "9²", "²"):
        (tmp_path / name).mkdir()
    version = next_version(tmp_path, lambda folder: (folder / "a").write_text("1"))
    assert version == tmp_path / "8"
    assert (version / "a").read_text() == "1"
    assert version.stat().st_mode & 0o777 == 0o755


def test_no_number_exists_before_the_version_is_complete(tmp_path):
    # what a kill at the end of `write` would leave behind
    names = []
    next_version(tmp_path, lambda folder: names.extend(p.name for p in tmp_path.iterdir()))
    assert len(names) == 1
    assert not names[0].isdecimal()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(error, tmp_path):
    def fail(folder):
        (folder / "a").write_text("1")
        raise error

    with pytest.raises(error):
        next_version(tmp_path / "name", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_an_existing_folder(tmp_path):
    with pytest.raises(ZeroDivisionError):
        next_version(tmp_path, lambda folder: 1 / 0)
    assert tmp_path.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_simultaneous_exports_get_different_numbers(tmp_path):
    barrier = threading.Barrier(8)
    found = []

    def write(folder):
        (folder / "a").write_text("1")
        barrier.wait()

    threads = [
        threading.Thread(target=lambda: found.append(next_version(tmp_path, write)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in found) == [str(i) for i in range(1, 9)]
