"""What the doctor reports: figures and findings, as tables for the terminal and as JSON."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers.image_files import read_image, read_mask

COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}
COLUMNS = {"pixels": "{:,}", "share": "{:.2%}", "images": "{}", "objects": "{}", "weight": "{:.4f}"}
NO_CLASS = 256  # in `Report.image`; no class id, and not the ignored one
FILES_SHOWN = 4
CLASSES_SHOWN = 40


@dataclass
class ClassRow:
    """A class: its name, its pixels, the images with it, its objects, its weight by median frequency."""

    name: str
    pixels: int
    pictures: int
    objects: int
    weight: float


@dataclass
class Report:
    """The state of a dataset.

    Attributes:
        images, val_images: numbers of images to train and to validate on.
        sizes: list of the (height, width) that occur, ascending by the longer side.
        channels: of the images to train on.
        normalization: (mean, deviation), one number a channel over all pixels to train on: for a model's
            `normalization=`.
        classes: list of ClassRow, of the images to train on.
        ignored_pixels: pixels without a label, or with a value that is no class.
        findings: list of Finding, errors first, then warnings, then notes.
        samples: {name: Sample}.
        table: {value on disk: class id}.
        ignore: the value on disk without a label.
    """

    pictures: int
    val_pictures: int
    sizes: list
    channels: int
    normalization: tuple
    classes: list
    ignored_pixels: int
    findings: list
    samples: dict
    table: dict
    ignore: int

    @property
    def errors(self):
        """The findings that stop training."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def class_names(self):
        """The names of the class ids 0, 1, ..."""
        return [row.name for row in self.classes]

    @property
    def class_weights(self):
        """The weights by median frequency, for a loss's `class_weights=`: list of one number a class."""
        return [round(row.weight, 4) for row in self.classes]

    def verdict(self):
        """Return the outcome in a few words: "nothing found" or the numbers of errors, warnings and notes."""
        counts = Counter(finding.severity for finding in self.findings)
        said = [f"{n} {kind}{'s' * (n > 1)}" for kind in COLOURS if (n := counts[kind])]
        return ", ".join(said) or "nothing found"

    def to_dict(self):
        """Return the report as JSON takes it; the keys stay the same from version to version."""
        mean, deviation = self.normalization
        total = max(sum(row.pixels for row in self.classes), 1)
        return {
            "images": self.pictures,
            "val_images": self.val_pictures,
            "smallest": list(self.sizes[0]) if self.sizes else None,
            "largest": list(self.sizes[-1]) if self.sizes else None,
            "channels": self.channels,
            "normalization": {"mean": mean, "std": deviation},
            "ignored_pixels": self.ignored_pixels,
            "classes": [
                {"id": i, **asdict(row), "share": row.pixels / total}
                for i, row in enumerate(self.classes)
            ],
            "findings": [asdict(finding) for finding in self.findings],
        }

    def save(self, path):
        """Write the report as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    def facts(self):
        """Return {what: text} of the dataset, the last two ready to paste."""
        mean, deviation = ([round(value, 2) for value in values] for values in self.normalization)
        small, large = (
            (f"{w} x {h}" for h, w in (self.sizes[0], self.sizes[-1])) if self.sizes else ("-", "-")
        )
        return {
            "images": f"{self.pictures} to train on, {self.val_pictures} to validate on"
            if self.val_pictures
            else str(self.pictures),
            "pixels": small if small == large else f"{small} to {large}, {len(self.sizes)} sizes",
            "channels": {0: "-", 1: "1 (gray)", 3: "3 (RGB)"}.get(
                self.channels, str(self.channels)
            ),
            "to paste": f"normalization=({mean}, {deviation})",
            "and": f"class_weights={self.class_weights}",
        }

    def picture(self, name):
        """Read a sample again.

        Args:
            name: one of a finding's `files`.

        Returns:
            (image, labels, boxes), each None where there is none or it cannot be read:
            (H, W, C); (H, W) class ids, 255 where ignored and `NO_CLASS` for any other value, or (H, W, C) of a mask
            that is an image; (N, 4).
        """
        masked = (sample for sample in self.samples.values() if name == str(sample.mask))
        sample = self.samples.get(name) or next(masked, None)
        if sample is None:  # a file of another's name, that has no part
            return _tried(read_image, name), None, None
        if sample.source is not None:
            reader, index = sample.source
            read = _tried(reader.__getitem__, index) or {}
            return read.get("image"), read.get("mask"), read.get("boxes")
        image = None if sample.image is None else _tried(read_image, sample.image)
        if sample.mask is None:
            return image, None, None
        values = None if sample.labels is None else _tried(read_mask, sample.mask)
        return image, _tried(read_image, sample.mask) if values is None else self._ids(values), None

    def _ids(self, values):
        found, positions = np.unique(values, return_inverse=True)
        table = {self.ignore: IGNORE_INDEX, **self.table}
        return np.array([table.get(value, NO_CLASS) for value in found.tolist()], np.uint16)[
            positions
        ].reshape(values.shape)

    def __str__(self):
        lines = [f"{self.verdict()}: {self.facts()['pictures']} images"]
        lines += [f"{f.severity} {f.kind}: {f.message} {f.fix}" for f in self.findings]
        return "\n".join(lines)

    def tables(self):
        """Return what to print with `rich`: the dataset, its classes and the findings."""
        from rich.table import Table
        from rich.text import Text

        facts = Table(show_header=False, box=None)
        for what, text in self.facts().items():
            facts.add_row(Text(what, style="bold"), Text(text, overflow="fold"))
        shown = [
            column
            for column in COLUMNS
            if column != "objects" or any(row.objects for row in self.classes)
        ]
        classes = Table("id", "class")
        for column in shown:
            classes.add_column(column, justify="right")
        for row in self.to_dict()["classes"][:CLASSES_SHOWN]:
            classes.add_row(
                str(row["id"]),
                Text(row["name"]),
                *(COLUMNS[column].format(row[column]) for column in shown),
            )
        classes.caption = (
            f"{self.ignored_pixels:,} pixels without a label; weight: median frequency / frequency"
        )
        if len(self.classes) > CLASSES_SHOWN:
            classes.caption += f"; {len(self.classes) - CLASSES_SHOWN} more classes"
        return [facts, classes, *map(_paragraph, self.findings)]


def short(name):
    """Return a path's last two parts, which tell the folder and the file."""
    return "/".join(Path(name).parts[-2:])


def _paragraph(finding):
    from rich.text import Text

    parts = [
        (f"{finding.severity} ", COLOURS[finding.severity]),
        (finding.kind, "bold"),
        f"  {finding.message}",
    ]
    if finding.files:
        parts.append((f"\n  {', '.join(map(short, finding.files[:FILES_SHOWN]))}", "dim"))
        parts.append(
            (
                f" and {len(finding.files) - FILES_SHOWN} more"
                * (len(finding.files) > FILES_SHOWN),
                "dim",
            )
        )
    return Text.assemble(*parts, (f"\n  {finding.fix}\n", "green"))


def _tried(read, what):
    try:
        return read(what)
    except (OSError, ValueError):
        return None
