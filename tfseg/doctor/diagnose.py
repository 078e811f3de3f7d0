"""The check of a dataset before training, and the doctor: every file is read once, and all that is wrong is said."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers.base import Reader, format_problems
from tfseg.data.readers.image_files import image_files
from tfseg.doctor.dataset_report import ClassRow, Report
from tfseg.doctor.file_findings import file_findings
from tfseg.doctor.label_findings import label_findings
from tfseg.doctor.label_mapping import class_figures, class_weights, own_reading, reading
from tfseg.doctor.measure import measure_all, measure_files, measure_sample


@dataclass
class Summary:
    """What a dataset holds.

    Attributes:
        count: number of samples.
        class_pixels: labeled pixels of each of the reader's `label_names`.
        ignored_pixels: pixels without a label.
        mean, deviation: a channel, over all pixels of all images.
        class_weights: one for each of the reader's `label_names`, by median frequency, for a loss's `class_weights=`.
    """

    count: int
    class_pixels: np.ndarray
    ignored_pixels: int
    mean: list
    deviation: list
    class_weights: list


def check(reader, track=lambda samples, total: samples, at_least=2, classes=None):
    """Read every sample once.

    Args:
        reader: a `Reader`.
        track: wraps the iteration to show progress; called with the samples and their number.
        at_least: how many samples must have a labeled pixel or an object; training takes two, evaluation one.
        classes: how many the masks must show; None for as many.

    Returns:
        Summary.

    Raises:
        ValueError: a sample cannot be read, a mask holds values that are no class, or fewer than
            `at_least` samples have a labeled pixel, or classes one. Every file at fault is named.
    """
    samples = measure_all(
        lambda index: measure_sample(reader, index, False), range(len(reader)), track
    )
    problems = [text for sample in samples for _, _, text in sample.faults]
    if problems:
        raise ValueError(format_problems(problems))
    usable = sum(
        bool(
            (sample.labels is not None and (sample.labels.values != IGNORE_INDEX).any())
            or sample.classes is not None
        )
        for sample in samples
    )
    if usable < at_least:
        raise ValueError(
            f"Samples with a labeled pixel: {usable} of {len(reader)}; at least {at_least} are needed. "
            "Add labeled images, or check which value is ignored."
        )
    pixels, _, shown, _, ignored = class_figures(samples, own_reading(samples, reader))
    found = [name for name, number in zip(reader.label_names, pixels, strict=True) if number]
    if "mask" in reader.fields and len(found) < (at_least if classes is None else classes):
        raise ValueError(
            f"All labeled pixels are of the class {' or '.join(map(repr, found)) or 'none'}; {ignored} pixels are "
            "ignored. Training needs two classes. Check the values in the masks, and which of them is ignored: 255, if "
            "nothing else was said. Folders of two classes that hold nothing but 0 and 255 are understood."
        )
    weights = class_weights(pixels, shown).tolist()
    return Summary(len(reader), pixels, ignored, *_mean_and_deviation(samples), weights)


def diagnose(
    data,
    class_names=None,
    val=None,
    ignore=IGNORE_INDEX,
    mask_values=None,
    track=lambda samples, total: samples,
):
    """Examine a dataset, whatever its state; nothing is raised for what is wrong with its files.

    Args:
        data: (folder of images, folder of masks), also such that `Folder` refuses; or a `Reader`.
        class_names: as of `Folder`; None takes every value in the masks for a class. A reader has its own.
        val: the data to validate on, of the same kind, or None: it is searched for images of the other.
        ignore, mask_values: as of `Folder`.
        track: wraps the iteration to show progress; called with the samples and their number.

    Returns:
        Report.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: arguments that a reader answers itself, or class names that cannot be.
    """
    if isinstance(data, Reader):
        if class_names is not None or mask_values is not None or ignore != IGNORE_INDEX:
            raise ValueError(
                "diagnose: a reader has class_names, ignore and mask_values of its own. Leave them out."
            )
        samples = measure_all(_measure_reader, _indices(data, val), track)
        read = own_reading(samples, data)
    else:
        items = _paired(*map(Path, data)) + (
            [] if val is None else _paired(*map(Path, val), val=True)
        )
        samples = measure_all(_measure_paths, items, track)
        read = reading(samples, class_names, ignore, mask_values)
    findings = file_findings(samples) + label_findings(samples, read)
    return _report(samples, read, findings)


def _report(samples, read, findings):
    train = [sample for sample in samples if not sample.val]
    pixels, pictures, shown, objects, ignored = class_figures(train, read)
    weights = class_weights(pixels, shown)
    rows = [
        ClassRow(
            name, *(int(figure[i]) for figure in (pixels, pictures, objects)), float(weights[i])
        )
        for i, name in enumerate(read.names)
    ]
    order = {"error": 0, "warning": 1, "note": 2}
    return Report(
        pictures=sum(sample.size is not None for sample in train),
        val_pictures=sum(sample.size is not None and sample.val for sample in samples),
        sizes=sorted(
            {sample.size for sample in samples if sample.size}, key=lambda size: (max(size), size)
        ),
        channels=max((sample.channels or 0 for sample in train), default=0),
        normalization=_mean_and_deviation(train),
        classes=rows,
        ignored_pixels=ignored,
        findings=sorted(findings, key=lambda finding: order[finding.severity]),
        samples={sample.name: sample for sample in reversed(samples)},
        table=read.table,
        ignore=read.ignore,
    )


def _indices(data, val):
    if val is not None and not isinstance(val, Reader):
        raise ValueError(
            "diagnose: data is a reader, val is not. Pass a reader for both, or folders for both."
        )
    return [
        (reader, i, reader is not data)
        for reader in (data, val)
        if reader is not None
        for i in range(len(reader))
    ]


def _measure_reader(item):
    reader, index, val = item
    sample = measure_sample(reader, index)
    sample.source, sample.val = (reader, index), val
    if val:  # two readers may use one name
        sample.name = f"val: {sample.name}"
        sample.faults = [(kind, sample.name, text) for kind, _, text in sample.faults]
    return sample


def _measure_paths(item):
    image, mask, val, twins = item
    sample = measure_files(image, mask, val)
    sample.faults += [
        ("same_name", str(path), f"{kept} and {path} bear the same name") for kept, path in twins
    ]
    return sample


def _paired(images, masks, val=False):
    """List (image, mask, val, [(file, another of that name)]) by file stem; either file may be None."""
    first, second, twins = {}, {}, {}
    for folder, files in ((images, first), (masks, second)):
        for path in image_files(folder):
            if path.stem in files:
                twins.setdefault(path.stem, []).append((files[path.stem], path))
            else:
                files[path.stem] = path
    return [
        (first.get(stem), second.get(stem), val, twins.get(stem, []))
        for stem in sorted(first | second)
    ]


def _mean_and_deviation(samples):
    """Return two lists of one number a channel; gray images among colored ones count in all channels."""
    measured = [sample.moments for sample in samples if sample.moments is not None]
    if not measured:
        return [], []
    sums = np.zeros((3, max(moments.shape[1] for moments in measured)))
    for moments in measured:
        sums += moments
    mean = sums[1] / sums[0]
    return mean.tolist(), np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 1e-6)).tolist()
