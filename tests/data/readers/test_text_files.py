import pytest

from tfseg.data.readers.text_files import read_lines
from tfseg.data.splits import read_names


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_the_encoding_is_found(tmp_path, encoding):
    path = tmp_path / "names.txt"
    path.write_bytes("leaf\r\n\u72d7\n".encode(encoding))
    assert read_lines(path) == ["leaf", "\u72d7"]
    assert read_names(path) == ["leaf", "\u72d7"]


def test_other_encodings_are_refused_by_name(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\u72d7".encode("gb18030"))
    with pytest.raises(ValueError, match=r"names\.txt cannot be read as text .*in UTF-8"):
        read_lines(path)
