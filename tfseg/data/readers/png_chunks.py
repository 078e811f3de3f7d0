"""The chunks of PNG files, for metadata that Pillow refuses or reads only after decoding."""

import io
import struct

from PIL import Image

from tfseg.data.readers.orientation import ORIENTATION_TAG, UPRIGHT, valid_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def is_png(path) -> bool:
    """Return whether a file starts like a PNG."""
    with open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def without_metadata(path) -> io.BytesIO | None:
    """Return a PNG file without the chunks that do not describe pixels; None if it is not a PNG.

    Pillow refuses text and color profiles above 1 MB, and metadata with a wrong checksum, although
    the pixels of such files are sound.
    """
    with open(path, "rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return None
        parts = [SIGNATURE]
        for kind, length in _chunks(file):
            if kind in PIXEL_CHUNKS:
                data = file.read(length + 4)  # with the checksum
                parts.append(struct.pack(">I", length) + kind + data)
    return io.BytesIO(b"".join(parts))


def png_orientation(path) -> int:
    """Return the orientation in a PNG's EXIF data, 1 to 8; 1 if there is none.

    The pixels of a PNG are read as stored: few programs write this, and few apply it.
    """
    with open(path, "rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return UPRIGHT
        for kind, length in _chunks(file):
            if kind == b"eXIf":
                return _exif_orientation(file.read(length))
    return UPRIGHT


def _exif_orientation(data):
    exif = Image.Exif()
    try:
        exif.load(b"Exif\0\0" + data)
        return valid_orientation(exif.get(ORIENTATION_TAG, UPRIGHT))
    except (SyntaxError, ValueError, struct.error):  # damaged EXIF data
        return UPRIGHT


def _chunks(file):
    """Yield (kind, length) of each chunk, with the file at the start of the chunk's data."""
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        start = file.tell()
        yield kind, length
        file.seek(start + length + 4)
