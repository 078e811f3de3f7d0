"""The doctor's report: dataset statistics and findings, as tables for the terminal and as JSON."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tfseg.checks import ignore_index_for
from tfseg.data.readers.image_files import read_image, read_mask
from tfseg.doctor.findings import plural, size_text

SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
COLUMN_FORMATS = {
    "pixels": "{:,}",
    "fraction": "{:.2%}",
    "images": "{}",
    "objects": "{}",
    "weight": "{:.4f}",
}
NO_CLASS = -1  # in `Report.load`: neither a class id nor the ignored id
FILES_SHOWN = 4
CLASSES_SHOWN = 40


@dataclass
class ClassRow:
    """Statistics of a class: pixels, images and objects with it, weight by median frequency."""

    name: str
    pixels: int
    images: int
    objects: int
    weight: float


@dataclass
class Report:
    """The state of a dataset.

    Attributes:
        images, val_images: number of readable training and validation images.
        sizes: list of the distinct (height, width), ascending by the longer side.
        channels: number of channels of the training images.
        normalization: (mean, std), each a list with one number per channel, over all training
            pixels; for a model's `normalization=`.
        classes: list of `ClassRow` over the training images.
        ignored_pixels: number of pixels that are unlabeled or have a value without a class.
        findings: list of `Finding`: errors, then warnings, then notes.
        samples: {name: Sample}.
        mask_values: {value on disk: class id}.
        ignore_value: value on disk of unlabeled pixels.
        objects: `ObjectStatistics` of the training images, or `NumberedObjects` if their masks
            number objects; None without objects.
        with_weights: whether class weights are shown; models of objects take none.
    """

    images: int
    val_images: int
    sizes: list
    channels: int
    normalization: tuple
    classes: list
    ignored_pixels: int
    findings: list
    samples: dict
    mask_values: dict
    ignore_value: int
    objects: object = None
    with_weights: bool = True

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
        """List with one weight per class, by median frequency, for a loss's `class_weights=`."""
        return [round(row.weight, 4) for row in self.classes]

    def verdict(self) -> str:
        """Return "no problems found", or the numbers of errors, warnings and notes."""
        counts = Counter(finding.severity for finding in self.findings)
        parts = [plural(counts[kind], kind) for kind in SEVERITY_STYLES if counts[kind]]
        return ", ".join(parts) or "no problems found"

    def to_dict(self) -> dict:
        """Return the report as JSON-compatible values; the keys stay the same across versions."""
        mean, std = self.normalization
        total = max(sum(row.pixels for row in self.classes), 1)
        return {
            "images": self.images,
            "val_images": self.val_images,
            "smallest": list(self.sizes[0]) if self.sizes else None,
            "largest": list(self.sizes[-1]) if self.sizes else None,
            "channels": self.channels,
            "normalization": {"mean": mean, "std": std},
            "ignored_pixels": self.ignored_pixels,
            "classes": [
                {"id": i, **asdict(row), "fraction": row.pixels / total}
                for i, row in enumerate(self.classes)
            ],
            "objects": None if self.objects is None else asdict(self.objects),
            "findings": [asdict(finding) for finding in self.findings],
        }

    def save(self, file: str | Path):
        """Write the report to a JSON file."""
        text = json.dumps(self.to_dict(), indent=1)
        Path(file).write_text(text + "\n", encoding="utf-8")

    def facts(self) -> dict:
        """Return {label: text} of the dataset; texts with "=" are code to paste."""
        mean, std = self.normalization
        mean = [round(value, 2) for value in mean]
        std = [round(value, 2) for value in std]
        images = str(self.images)
        if self.val_images:
            images = f"{self.images} training, {self.val_images} validation"
        channel_names = {0: "-", 1: "1 (gray)", 3: "3 (RGB)"}
        objects = {} if self.objects is None else self.objects.facts()
        loss = {}
        if self.with_weights:
            loss["loss argument"] = f"class_weights={self.class_weights}"
        return {
            "images": images,
            "size": self._size_range(),
            "channels": channel_names.get(self.channels, str(self.channels)),
            **objects,
            "model argument": f"normalization=({mean}, {std})",
            **loss,
        }

    def class_columns(self) -> list[str]:
        """Return the names of the columns of the class table, fields of `ClassRow` and more."""
        shown = {name: True for name in COLUMN_FORMATS}
        shown["pixels"] = shown["fraction"] = self.has_pixels
        shown["objects"] = any(row.objects for row in self.classes)
        shown["weight"] = self.with_weights
        return [name for name in COLUMN_FORMATS if shown[name]]

    @property
    def has_pixels(self) -> bool:
        """Whether labels are masks, and not only boxes."""
        return any(row.pixels for row in self.classes) or self.ignored_pixels > 0

    def _size_range(self):
        if not self.sizes:
            return "-"
        if len(self.sizes) == 1:
            return size_text(self.sizes[0])
        smallest, largest = size_text(self.sizes[0]), size_text(self.sizes[-1])
        return f"{smallest} to {largest}, {len(self.sizes)} sizes"

    def load(self, name: str):
        """Read a sample again.

        Args:
            name: one of a finding's `files`.

        Returns:
            (image, labels, boxes); each is None if the sample has none or it cannot be read.
            image: (H, W, C).
            labels: (H, W) class ids, 255 where ignored (65535 with more than 255 classes) and
            `NO_CLASS` for values without a class;
                or the (H, W, C) colors of a mask that contains no ids.
            boxes: (N, 4).
        """
        sample = self._find_sample(name)
        if sample is None:  # a second file with the same stem belongs to no sample
            return _read_or_none(read_image, name), None, None
        if sample.source is not None:
            reader, index = sample.source
            arrays = _read_or_none(reader.__getitem__, index) or {}
            return arrays.get("image"), arrays.get("mask"), arrays.get("boxes")
        image = None if sample.image is None else _read_or_none(read_image, sample.image)
        return image, self._load_mask(sample), None

    def _find_sample(self, name):
        if name in self.samples:
            return self.samples[name]
        return next((s for s in self.samples.values() if name == str(s.mask)), None)

    def _load_mask(self, sample):
        if sample.mask is None:
            return None
        values = None if sample.labels is None else _read_or_none(read_mask, sample.mask)
        if values is None:
            return _read_or_none(read_image, sample.mask)
        return self._class_ids(values)

    def _class_ids(self, values):
        found, positions = np.unique(values, return_inverse=True)
        table = {self.ignore_value: ignore_index_for(len(self.classes)), **self.mask_values}
        ids = np.array([table.get(value, NO_CLASS) for value in found.tolist()], np.int32)
        return ids[positions].reshape(values.shape)

    def __str__(self):
        lines = [f"{self.verdict()}; images: {self.facts()['images']}"]
        lines += [f"{f.severity} {f.kind}: {f.message} {f.fix}" for f in self.findings]
        return "\n".join(lines)

    def tables(self):
        """Return what to print with `rich`: the dataset, its classes and the findings."""
        findings = [_paragraph(finding) for finding in self.findings]
        return [self._facts_table(), self._class_table(), *findings]

    def _facts_table(self):
        from rich.table import Table
        from rich.text import Text

        table = Table(show_header=False, box=None)
        for label, text in self.facts().items():
            table.add_row(Text(label, style="bold"), Text(text, overflow="fold"))
        return table

    def _class_table(self):
        from rich.table import Table
        from rich.text import Text

        columns = self.class_columns()
        table = Table("id", "class")
        for column in columns:
            table.add_column(column, justify="right")
        for row in self.to_dict()["classes"][:CLASSES_SHOWN]:
            cells = [COLUMN_FORMATS[column].format(row[column]) for column in columns]
            table.add_row(str(row["id"]), Text(row["name"]), *cells)
        notes = []
        if self.has_pixels:
            notes.append(f"{self.ignored_pixels:,} unlabeled pixels")
        if self.with_weights:
            notes.append("weight: median frequency / frequency")
        if len(self.classes) > CLASSES_SHOWN:
            notes.append(f"{len(self.classes) - CLASSES_SHOWN} more classes")
        table.caption = "; ".join(notes) or None
        return table


def short_path(name: str) -> str:
    """Return the last two parts of a path: its folder and its file name."""
    return "/".join(Path(name).parts[-2:])


def _paragraph(finding):
    from rich.text import Text

    parts = [
        (f"{finding.severity} ", SEVERITY_STYLES[finding.severity]),
        (finding.kind, "bold"),
        f"  {finding.message}",
    ]
    if finding.files:
        files = ", ".join(short_path(name) for name in finding.files[:FILES_SHOWN])
        if len(finding.files) > FILES_SHOWN:
            files += f" and {len(finding.files) - FILES_SHOWN} more"
        parts.append((f"\n  {files}", "dim"))
    return Text.assemble(*parts, (f"\n  {finding.fix}\n", "green"))


def _read_or_none(read, source):
    try:
        return read(source)
    except (OSError, ValueError):
        return None
