"""Keep the georeference of a GeoTIFF in the labels predicted for it."""

from pathlib import Path

import numpy as np

from tfseg.files import SOFTWARE, TIFF_SOFTWARE_TAG, atomic_write

# GeoTIFF's tags (OGC 19-008r4) and their types: pixel scale, tie points, transformation, keys
DOUBLE, SHORT, ASCII = 12, 3, 2
GEO_TAGS = {33550: DOUBLE, 33922: DOUBLE, 34264: DOUBLE, 34735: SHORT, 34736: DOUBLE, 34737: ASCII}
ORIENTATION = 274
TIFF = (".tif", ".tiff")


def georeference(file) -> dict | None:
    """Return the {tag: value} of a GeoTIFF that place it on the map; None for other files."""
    from PIL import Image

    if Path(file).suffix.lower() not in TIFF:
        return None
    try:
        with Image.open(file) as image:
            tags = {tag: image.tag_v2[tag] for tag in GEO_TAGS if tag in image.tag_v2}
            is_upright = image.tag_v2.get(ORIENTATION, 1) == 1
    except Image.DecompressionBombError:  # too large for Pillow
        return None
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, AttributeError):
        return None  # whoever reads the image reports what is wrong
    # the labels are upright: those of a turned image would need another transformation
    return tags if tags and is_upright else None


def write_geotiff(file, labels, tags: dict) -> None:
    """Write class ids as a GeoTIFF, whole or not at all.

    Args:
        file: path that ends in .tif.
        labels: (H, W) uint8 or uint16.
        tags: what `georeference` returned.
    """
    from PIL import Image
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2()
    directory[TIFF_SOFTWARE_TAG] = SOFTWARE
    for tag, value in tags.items():
        directory.tagtype[tag] = GEO_TAGS[tag]
        directory[tag] = value
    with atomic_write(file) as path:
        Image.fromarray(np.asarray(labels)).save(
            path, tiffinfo=directory, compression="tiff_deflate"
        )
