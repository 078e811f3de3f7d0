"""The tags of a TIFF file that say how its pixels are stored; nothing is decoded."""

import os
import struct
from dataclasses import dataclass

from tfseg.data.readers.orientation import is_sideways, valid_orientation

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = 0, 1, 2, 3  # values of the photometric tag
REDUCED_OR_MASK = 1 | 4  # bits of the subfile type: an overview, or a transparency mask
ALPHA = (1, 2, 999)  # values of the extra samples tag; 999 is Corel Draw's

SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
ORIENTATION, BANDS, STRIP_BYTES, PLANAR, TILE_BYTES = 274, 277, 279, 284, 325
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339
TAGS = (
    *(SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, BANDS),
    *(STRIP_BYTES, PLANAR, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT),
)
INTEGER_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # TIFF type: struct code
# The sample formats. 4 is "undefined", which is read as unsigned.
KINDS = {1: "uint", 2: "int", 3: "float", 4: "uint", 5: "complex", 6: "complex"}
MAX_PAGES = 10000


@dataclass(frozen=True)
class TiffHeader:
    """How the first page of a TIFF is stored.

    Attributes:
        size: (height, width), upright.
        orientation: 1 to 8.
        kind: "uint", "int", "float" or "complex".
        bits: bits per value; 0 if the bands differ.
        bands: number of bands, with alpha.
        photometric: what the values stand for, such as `RGB`.
        extra: kinds of the bands after the colors; empty if the file does not say.
        is_planar: whether each band is stored by itself.
        compression: number of the compression, 1 for none.
        big_endian: whether the first byte of a value is the highest.
        is_sparse: whether tiles or strips without data were left out.
        pages: number of pages that are not overviews or masks of another page.
    """

    size: tuple[int, int]
    orientation: int
    kind: str
    bits: int
    bands: int
    photometric: int
    extra: tuple
    is_planar: bool
    compression: int
    big_endian: bool
    is_sparse: bool
    pages: int

    @property
    def dtype_name(self) -> str:
        """Name of the values' type, such as "uint16"."""
        return f"{self.kind}{self.bits or ' of different sizes'}"

    @property
    def has_alpha(self) -> bool:
        """Whether the band after gray or RGB is alpha. Not every program says so of RGBA."""
        if self.extra:
            return self.extra[0] in ALPHA
        return self.photometric == RGB and self.bands == 4

    @property
    def colors(self) -> int:
        """Number of bands without alpha."""
        return self.bands - int(self.has_alpha)


def read_tiff_header(path) -> TiffHeader | None:
    """Return the header of a TIFF or BigTIFF; None for other files and for damaged headers.

    Raises:
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            big_endian = file.read(2) == b"MM"
            pages = _pages(file)
        except (struct.error, KeyError, ValueError, OverflowError):
            return None
    if not pages:
        return None
    main = [tags for tags in pages[1:] if not tags.get(SUBFILE_TYPE, (0,))[0] & REDUCED_OR_MASK]
    return _header(pages[0], 1 + len(main), big_endian)


def _header(tags, pages, big_endian):
    """Return the TiffHeader of a page's tags; None if it has no size."""
    if WIDTH not in tags or HEIGHT not in tags:
        return None
    bands = tags.get(BANDS, (1,))[0]
    bits = set(tags.get(BITS, (1,))[:bands])
    formats = set(tags.get(SAMPLE_FORMAT, (1,))[:bands])
    same = len(bits) == len(formats) == 1
    height, width = tags[HEIGHT][0], tags[WIDTH][0]
    orientation = valid_orientation(tags.get(ORIENTATION, (1,))[0])
    return TiffHeader(
        size=(width, height) if is_sideways(orientation) else (height, width),
        orientation=orientation,
        kind=KINDS.get(min(formats, default=1), "uint"),
        bits=min(bits) if same else 0,
        bands=bands,
        photometric=tags.get(PHOTOMETRIC, (WHITE_IS_ZERO,))[0],
        extra=tags.get(EXTRA_SAMPLES, ()),
        is_planar=tags.get(PLANAR, (1,))[0] == 2 and bands > 1,
        compression=tags.get(COMPRESSION, (1,))[0],
        big_endian=big_endian,
        is_sparse=0 in tags.get(STRIP_BYTES, ()) + tags.get(TILE_BYTES, ()),
        pages=pages,
    )


def _pages(file):
    """Return [{tag: values}] of all pages; empty if the file is not a TIFF."""
    file.seek(0)
    start = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None:
        return []
    version = struct.unpack(order + "H", start[2:4])[0]
    if version not in (42, 43):
        return []
    is_big = version == 43
    code = order + ("Q" if is_big else "I")
    offset = struct.unpack(code, start[8:16] if is_big else start[4:8])[0]
    pages, visited = [], set()
    while offset and offset not in visited and len(pages) < MAX_PAGES:
        visited.add(offset)
        tags, offset = _read_page(file, offset, order, is_big, only_type=bool(pages))
        pages.append(tags)
    return pages


def _read_page(file, offset, order, is_big, only_type):
    """Return ({tag: tuple of integers}, offset of the next page, 0 for none)."""
    entry = struct.Struct(order + ("HHQ8s" if is_big else "HHI4s"))
    count_code, next_code = order + ("Q" if is_big else "H"), order + ("Q" if is_big else "I")
    file.seek(offset)
    count = struct.unpack(count_code, file.read(struct.calcsize(count_code)))[0]
    entries = file.read(count * entry.size)
    following = struct.unpack(next_code, file.read(struct.calcsize(next_code)))[0]
    tags = {}
    for start in range(0, len(entries), entry.size):
        tag, kind, number, value = entry.unpack_from(entries, start)
        if tag in ((SUBFILE_TYPE,) if only_type else TAGS) and kind in INTEGER_TYPES and number:
            tags[tag] = _values(file, order, INTEGER_TYPES[kind], number, value)
    return tags, following


def _values(file, order, code, number, value):
    """Return a tag's integers: `value` contains them, or the offset where they are stored."""
    size = struct.calcsize("<" + code) * number
    if size > len(value):
        offset = struct.unpack(order + ("Q" if len(value) == 8 else "I"), value)[0]
        if offset + size > os.fstat(file.fileno()).st_size:
            raise ValueError("a tag's values lie outside the file")
        file.seek(offset)
        value = file.read(size)
    return struct.unpack(f"{order}{number}{code}", value[:size])
