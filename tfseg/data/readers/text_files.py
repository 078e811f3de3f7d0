"""Text files of labels and lists, in any of the Unicode encodings."""

import json
from pathlib import Path


def read_text(path: Path) -> str:
    """Return the content of a text file in UTF-8, UTF-16 or UTF-32.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file has another encoding, or is not text.
    """
    data = Path(path).read_bytes()
    try:
        return data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} cannot be read as text ({error}). Save it as text in UTF-8."
        ) from error


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, see `read_text`."""
    return read_text(path).splitlines()
