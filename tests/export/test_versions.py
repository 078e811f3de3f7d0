import threading

import pytest

from tfseg.export.versions import next_version


def test_versions_count_up_from_the_highest(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "x9").mkdir()
    (tmp_path / "9²").mkdir()
    (tmp_path / "²").mkdir()
    version = next_version(tmp_path, lambda folder: (folder / "a").write_text("1"))
    assert version == tmp_path / "8"
    assert (version / "a").read_text() == "1"
    assert version.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_nothing(error, tmp_path):
    def fail(folder):
        (folder / "a").write_text("1")
        raise error

    with pytest.raises(error):
        next_version(tmp_path / "name", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays(tmp_path):
    with pytest.raises(ZeroDivisionError):
        next_version(tmp_path, lambda folder: 1 / 0)
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_have_numbers_of_their_own(tmp_path):
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
