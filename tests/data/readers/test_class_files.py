import pytest

from tfseg.data.readers.class_files import find_class_file, read_class_file

WITH_COLORS = {
    "class_dict.csv": "name,r,g,b\nVoid,0,0,0\nSign Symbol, 192, 128, 128\n",
    "label_colors.txt": "0 0 0\t\tVoid\n192 128 128 \tSign Symbol\n\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nVoid:0,0,0::\nSign Symbol:192,128,128:a:b\n",
}


@pytest.mark.parametrize("name", WITH_COLORS)
def test_names_and_colors_are_read(tmp_path, name):
    (tmp_path / name).write_text(WITH_COLORS[name])
    classes = read_class_file(find_class_file(tmp_path))
    assert list(classes.items()) == [("Void", (0, 0, 0)), ("Sign Symbol", (192, 128, 128))]


@pytest.mark.parametrize("name", ["classes.txt", "class_names.txt", "labels.txt", "codes.txt"])
def test_a_line_is_a_name(tmp_path, name):
    # LabelMe's first line is the value -1
    (tmp_path / name).write_bytes("__ignore__\r\n_background_\r\n\r\n leaf 2\r\n".encode("utf-16"))
    assert read_class_file(tmp_path / name) == {"_background_": None, "leaf 2": None}


def test_the_first_folder_and_files_with_colors_are_preferred(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    assert find_class_file(first, second) is None
    (second / "class_dict.csv").touch()
    (first / "codes.txt").touch()
    assert find_class_file(first, second) == first / "codes.txt"
    (first / "labelmap.txt").touch()
    assert find_class_file(first, second) == first / "labelmap.txt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got 0 names"),
        ("a\nb\na\n", "contains a name twice"),
        ("background", "Name the object"),
    ],
)
def test_unusable_files_are_named(tmp_path, text, message):
    file = tmp_path / "classes.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"classes\.txt: .*{message}.* pass class_names"):
        read_class_file(file)
