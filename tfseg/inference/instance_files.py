"""The results of instance models for images: label maps, overlays, outlines and tables."""

import csv
import json
import os
import time
from pathlib import Path

import numpy as np

from tfseg import viz
from tfseg.files import SOFTWARE, atomic_write, write_png
from tfseg.inference.georeference import georeference, write_geotiff
from tfseg.inference.object_table import TABLE_COLUMNS, object_table
from tfseg.inference.outlines import outlines_geojson

PNG_OBJECTS = 2**16 - 1  # the highest number in a 16-bit PNG
SECONDS_BETWEEN_SAVES = 30
OBJECT_COLUMNS = ("image", "number", "class", "score", *TABLE_COLUMNS[1:])


def instance_files(stem: Path, has_stuff: bool = False) -> list[Path]:
    """Return the files that `write_instances` writes, beside the label map.

    Args:
        stem: folder and beginning of the names.
        has_stuff: whether stuff is predicted, too.
    """
    names = ["overlay.png", "outlines.geojson", *(["labels.png"] if has_stuff else [])]
    return [_file(stem, name) for name in names]


def existing_map(stem: Path) -> Path:
    """Return the label map of an image: the PNG file, or the TIFF file if there is only that."""
    png, tiff = _file(stem, "instances.png"), _file(stem, "instances.tif")
    return tiff if tiff.is_file() and not png.is_file() else png


def write_instances(
    stem: Path, image_file: Path, image, found: dict, class_names, label_names=None
) -> None:
    """Write the objects of an image; each file whole or not at all, the label map last.

    NAME_instances.png has 16 bits and contains the numbers of the objects; with more than 65,535
    objects it is NAME_instances.tif with 32 bits, which a GeoTIFF also gets, with its georeference.
    NAME_overlay.png shows the outlines, and NAME_outlines.geojson contains them. With stuff, the
    overlay shows it, too, and NAME_labels.png has the class ids of all pixels.

    Args:
        stem: folder and beginning of the names.
        image_file: file of the image.
        image: (H, W, C).
        found: dict of "instances", "scores" and "classes", see
            `tfseg.inference.predict_instances`.
        class_names: names of the object categories.
        label_names: names in the order of the ids in masks, of a model that predicts stuff; None
            for others.
    """
    instances, classes = found["instances"], found["classes"]
    if label_names is not None:
        drawn = viz.draw_panoptic(image, instances, found["mask"], label_names)
        ids = found["mask"].astype(np.uint8 if len(label_names) <= 255 else np.uint16)
        write_png(_file(stem, "labels.png"), ids)
    else:
        drawn = viz.draw_instances(image, instances, classes if len(class_names) > 1 else None)
    write_png(_file(stem, "overlay.png"), drawn)
    colors = viz.palette(len(class_names))
    outlined = outlines_geojson(instances, classes, found["scores"], class_names, colors)
    with atomic_write(_file(stem, "outlines.geojson")) as path:
        path.write_text(json.dumps({**outlined, "software": SOFTWARE}) + "\n", encoding="utf-8")
    tags = georeference(image_file)
    if tags is not None or len(classes) > PNG_OBJECTS:
        write_geotiff(_file(stem, "instances.tif"), instances.astype(np.int32), tags or {})
    if len(classes) <= PNG_OBJECTS:
        write_png(_file(stem, "instances.png"), instances.astype(np.uint16))


def _file(stem, name):
    return stem.with_name(f"{stem.name}_{name}")


class ObjectTables:
    """counts.csv, with the number of objects of each image, and objects.csv, with every object.

    The columns of counts.csv are "image", "objects" and, with several classes, one per class. Those
    of objects.csv are "image", "number" (the value in the label map), "class", "score", and the
    measurements of `tfseg.inference.object_table`.

    Use it as a context manager: the files are written now and then, and when the block ends, also
    by an error or an interrupt. They are written whole or not at all.

    Args:
        folder: folder of the two files, which is created.
        class_names: names of the object categories.
        keep: keep the images that the files already have, and add to them.

    Raises:
        FileExistsError: a file exists, and tfseg did not write it.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> found = {"instances": np.array([[0, 1, 1]]), "scores": np.array([0.9]),
        ...          "classes": np.array([0])}
        >>> with tfseg.inference.ObjectTables("scores", ["nucleus"]) as tables:
        ...     tables.add("leaf0.png", np.zeros((1, 3, 3)), found)
        >>> open("scores/counts.csv").read().splitlines()
        ['image,objects', 'leaf0.png,1']
    """

    def __init__(self, folder, class_names: list[str], keep: bool = False):
        self._names = list(class_names)
        self._counts, self._objects = Path(folder) / "counts.csv", Path(folder) / "objects.csv"
        per_class = self._names if len(self._names) > 1 else []
        self._columns = ("image", "objects", *per_class)
        counts = _read_own(self._counts, self._columns)
        objects = _read_own(self._objects, OBJECT_COLUMNS)
        self._rows = {}  # name of the image: (row of counts.csv, rows of objects.csv)
        if keep and counts is not None and objects is not None:
            for row in counts:
                self._rows[row[0]] = row, []
            for row in objects:
                if row[0] in self._rows:
                    self._rows[row[0]][1].append(row)
        self._saved_at = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.save()

    def __contains__(self, image_file) -> bool:
        """Whether the tables have an image."""
        return str(image_file) in self._rows

    def add(self, image_file, image, found: dict) -> None:
        """Add the objects of an image.

        Args:
            image_file: path of the image.
            image: (H, W, C).
            found: see `write_instances`.
        """
        name, classes = str(image_file), np.asarray(found["classes"], int)
        counts = [name, len(classes)]
        if len(self._names) > 1:
            counts += np.bincount(classes, minlength=len(self._names)).tolist()
        table = object_table(image, found["instances"])
        columns = [table[column].tolist() for column in TABLE_COLUMNS[1:]]
        rows = []
        for number, *values in zip(table["number"].tolist(), *columns, strict=True):
            score = round(float(found["scores"][number - 1]), 6)
            values = [_rounded(value) for value in values]
            rows.append([name, number, self._names[classes[number - 1]], score, *values])
        self._rows[name] = counts, rows
        if time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self.save()

    @property
    def total(self) -> int:
        """The number of objects of all images."""
        return sum(int(counts[1]) for counts, _ in self._rows.values())

    def save(self) -> None:
        """Write the files."""
        _write(self._counts, self._columns, (counts for counts, _ in self._rows.values()))
        rows = (row for _, rows in self._rows.values() for row in rows)
        _write(self._objects, OBJECT_COLUMNS, rows)
        self._saved_at = time.monotonic()


def _rounded(value):
    return round(value, 4) if isinstance(value, float) else value


def _write(file, columns, rows):
    with atomic_write(file) as path, path.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(columns)
        writer.writerows(rows)


def _read_own(file, columns):
    """Return the rows of a table with these columns; None if there is no file."""
    if not os.path.lexists(file):
        return None
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            header, *rows = csv.reader(opened)
        is_own = tuple(header) == tuple(columns) and all(len(r) == len(columns) for r in rows)
    except (OSError, ValueError, csv.Error):
        is_own = False
    if is_own:
        return rows
    raise FileExistsError(
        f"{file}: it is not a table of tfseg for these classes, which would replace it. Choose "
        "another folder for the results with --out, or move it away."
    )
