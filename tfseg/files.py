"""Files that appear whole or not at all, and result files that tfseg recognizes as its own."""

import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOFTWARE = "tfseg"  # in the PNG text and the TIFF tag of this name
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TIFF_SOFTWARE_TAG = 305
FILES_SHOWN = 8


@contextmanager
def atomic_write(file) -> Iterator[Path]:
    """Yield a temporary path in the folder of `file`; rename it to `file` if the block succeeds.

    If the process is killed, the old file or the complete new one is left, never a part. The
    temporary path has the suffix of `file`, since Keras and OpenCV infer the format from it.

    Args:
        file: path to write. Its folder is created if it does not exist.

    Example:
        >>> with atomic_write("scores/run.json") as path:
        ...     _ = path.write_text("{}")
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{uuid.uuid4().hex}-{file.name}")  # unique: threads may write one file
    try:
        yield part
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def remove_leftovers(folder) -> None:
    """Remove the temporary files that `atomic_write` left in a folder if a process was killed.

    Example:
        >>> from tfseg.files import remove_leftovers
        >>> remove_leftovers("scores")
    """
    for path in Path(folder).glob("." + "[0-9a-f]" * 32 + "-*"):
        path.unlink(missing_ok=True)


def write_png(file, array) -> None:
    """Write a result as a PNG with the text "Software: tfseg", whole or not at all.

    Args:
        file: path to write. Its folder is created if it does not exist.
        array: (H, W) uint8 or uint16, or (H, W, 3) uint8.

    Example:
        >>> import numpy as np
        >>> from tfseg.files import is_own_result, write_png
        >>> write_png("scores/a.png", np.zeros((2, 3), np.uint8))
        >>> is_own_result("scores/a.png")
        True
    """
    from PIL import Image  # lazy import: not every command needs Pillow
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Software", SOFTWARE)
    with atomic_write(file) as path:
        Image.fromarray(array).save(path, pnginfo=text)


def is_own_result(file) -> bool:
    """Whether tfseg wrote a PNG or TIFF file as a result; False for all other files."""
    try:
        with open(file, "rb") as opened:
            start = opened.read(8)
            if start == PNG_SIGNATURE:
                return _png_software(opened) == SOFTWARE.encode()
            if start[:4] == b"II*\0":  # little-endian, as tfseg writes
                return _tiff_software(opened, start) == SOFTWARE.encode()
    except (OSError, struct.error):
        pass  # whoever reads the file reports what is wrong
    return False


def check_overwrites(files) -> None:
    """Refuse to replace files that tfseg did not write.

    Raises:
        FileExistsError: some files exist and are not results of tfseg; the message names them.
    """
    foreign = [str(file) for file in files if os.path.lexists(file) and not is_own_result(file)]
    if foreign:
        more = "" if len(foreign) <= FILES_SHOWN else f" and {len(foreign) - FILES_SHOWN} more"
        raise FileExistsError(
            f"{', '.join(foreign[:FILES_SHOWN])}{more}: tfseg did not write what is there, and "
            "would replace it. Choose another folder for the results with --out, or move it away."
        )


def _png_software(opened):
    """Return the text of the "Software" chunk before the pixels of a PNG, else None."""
    while True:
        length, kind = struct.unpack(">I4s", opened.read(8))
        if kind in (b"IDAT", b"IEND"):
            return None
        if kind != b"tEXt":
            opened.seek(length + 4, os.SEEK_CUR)  # and the checksum
            continue
        keyword, _, text = opened.read(length).partition(b"\0")
        if keyword == b"Software":
            return text
        opened.seek(4, os.SEEK_CUR)


def _tiff_software(opened, start):
    """Return the text of the "Software" tag of a TIFF's first page, else None."""
    opened.seek(struct.unpack("<I", start[4:])[0])
    count = struct.unpack("<H", opened.read(2))[0]
    for _ in range(count):
        tag, _, length, offset = struct.unpack("<HHII", opened.read(12))
        if tag == TIFF_SOFTWARE_TAG and length > 4:  # shorter texts are stored in place
            opened.seek(offset)
            return opened.read(length).rstrip(b"\0")
    return None
