import unicodedata

import pytest

from tfseg.data.readers.file_names import FileFinder


@pytest.mark.parametrize(
    ("on_disk", "wanted"),
    [
        ("a.png", "a.png"),
        ("a.JPG", "a.jpg"),
        ("sub/a.png", "sub\\a.png"),
        ("Sub/a.png", "sub/A.png"),
        (unicodedata.normalize("NFD", "m\xfcller.png"), "m\xfcller.png"),
        (
            unicodedata.normalize("NFC", "m\xfcller.png"),
            unicodedata.normalize("NFD", "m\xfcller.png"),
        ),
        ("a.png", "images\\a.png"),  # relative to the folder above
        ("sub/a.png", "C:\\data\\Images\\sub\\a.png"),
        ("sub/a.png", "/home/me/images/old/images/sub/a.png"),
    ],
)
def test_files_are_found_under_other_spellings(tmp_path, on_disk, wanted):
    path = tmp_path / "images" / on_disk
    path.parent.mkdir(parents=True)
    path.touch()
    found = FileFinder().find(tmp_path / "images", wanted)
    assert found.is_file()
    assert found.samefile(path)


def test_the_exact_name_takes_precedence_and_ambiguous_ones_are_not_found(tmp_path):
    for name in ("a.png", "A.png", "b.PNG", "B.png"):
        (tmp_path / name).touch()
    finder = FileFinder()
    assert finder.find(tmp_path, "A.png").name == "A.png"
    assert not finder.find(tmp_path, "b.png").exists()
    assert finder.find(tmp_path, "other/b.png") == tmp_path / "other/b.png"
