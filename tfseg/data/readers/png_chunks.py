"""The chunks of PNG files, for metadata that Pillow refuses or reads only after decoding."""

import io
import struct
import zlib
from typing import NamedTuple

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


class PngLayout(NamedTuple):
    """What the header of a PNG says, and where its pixels start.

    Attributes:
        width, height: in pixels.
        bits: per channel, or per index into the palette.
        color_type: 0 gray, 2 RGB, 3 palette, 4 gray with alpha, 6 RGB with alpha.
        interlace: 1 if rows are stored in seven passes, else 0.
        is_animated: whether there are several frames.
        palette: red, green and blue of each index, one byte each; empty if there is none.
        start: position of the first chunk of pixels.
    """

    width: int
    height: int
    bits: int
    color_type: int
    interlace: int
    is_animated: bool
    palette: bytes
    start: int

    def head(self) -> bytes:
        """Return the start of a PNG without metadata, for the chunks of pixels to follow."""
        has_palette = self.color_type == 3
        return self._start(self.color_type) + (self._full_palette() if has_palette else b"")

    def head_of_values(self) -> bytes:
        """Return the same for a PNG in which the indices of a palette become gray levels."""
        return self._start(0 if self.color_type == 3 else self.color_type)

    def _start(self, color_type):
        sizes = self.width, self.height, self.bits, color_type, 0, 0, self.interlace
        return SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", *sizes))

    def _full_palette(self):
        """Return the chunk of the palette; colors that it lacks are black, as Pillow reads them."""
        length = 3 * 2**self.bits
        return _chunk(b"PLTE", self.palette[:length].ljust(length, b"\0"))


def _chunk(kind, data):
    content = kind + data
    return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))


def read_layout(path) -> PngLayout | None:
    """Return the layout of a PNG, or None if it is not one or is damaged before its pixels."""
    with open(path, "rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return None
        header, is_animated, palette = None, False, b""
        for kind, length in _chunks(file):
            if kind == b"IHDR" and length == 13:
                content = file.read(length)
                if len(content) < length:
                    return None
                header = struct.unpack(">IIBBBBB", content)
            if kind == b"PLTE":
                palette = file.read(length)
            is_animated |= kind == b"acTL"
            if kind == b"IDAT" and header is not None:
                width, height, bits, color_type, _, _, interlace = header
                return PngLayout(
                    width=width,
                    height=height,
                    bits=bits,
                    color_type=color_type,
                    interlace=interlace,
                    is_animated=is_animated,
                    palette=palette,
                    start=file.tell() - 8,
                )
    return None


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
