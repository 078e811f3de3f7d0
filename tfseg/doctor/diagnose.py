"""The doctor: read every file once and report everything that is wrong with a dataset."""

import warnings
from collections.abc import Callable
from pathlib import Path

from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers.base import Reader
from tfseg.data.readers.file_names import same_form
from tfseg.data.readers.folder import Folder
from tfseg.data.readers.image_listing import image_files, images_of_dataset, passed_over
from tfseg.data.readers.mask_layouts import only_subfolders, require_two_folders
from tfseg.doctor.dataset_report import ClassRow, Report
from tfseg.doctor.duplicate_findings import duplicate_findings
from tfseg.doctor.file_findings import file_findings, left_out_files, too_few_images
from tfseg.doctor.label_findings import label_findings
from tfseg.doctor.label_mapping import (
    class_weights,
    count_classes,
    infer_mapping,
    reader_mapping,
)
from tfseg.doctor.measure import channel_statistics, measure_all, measure_files, measure_sample
from tfseg.doctor.numbered_objects import NumberedObjects, as_one_class, numbered_statistics
from tfseg.doctor.object_findings import object_findings, object_statistics
from tfseg.doctor.reader_findings import reader_findings, stored_turn

SEVERITIES = ("error", "warning", "note")  # in the order of the report


def diagnose(
    data,
    class_names: list[str] | None = None,
    val=None,
    ignore_value: int = IGNORE_INDEX,
    mask_values: dict | None = None,
    track: Callable = lambda samples, total: samples,
) -> Report:
    """Examine a dataset in any state and report what is wrong with it.

    Faulty files do not raise: each becomes a `Finding` with a fix.

    Args:
        data: (image folder, mask folder), or a `Reader`. Folders may be in a state that `Folder`
            refuses, except with a folder of masks per class or per image, which `Folder` opens.
        class_names: see `Folder`; None counts every value in the masks as a class. Not for a
            reader, which has its own.
        val: validation data of the same kind as `data`, or None. It is searched for images that
            are also in `data`.
        ignore_value, mask_values: see `Folder`. Not for a reader.
        track: wraps the iteration to show progress; called with the samples and their number.

    Returns:
        Report.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: invalid class names, images and masks in one folder, or arguments that a reader
            defines itself.

    Example:
        >>> import tfseg
        >>> report = tfseg.doctor.diagnose(("photos", "labels"), ["background", "leaf"])
        >>> report.errors
        []
        >>> [(row.name, row.pixels, row.images) for row in report.classes]
        [('background', 9984, 4), ('leaf', 2304, 4)]
    """
    are_folders = not isinstance(data, Reader)
    if are_folders and class_names is not None and only_subfolders(Path(data[1])):
        data, val = _as_readers(data, val, class_names, ignore_value, mask_values)
        samples = measure_all(_measure_reader, _reader_items(data, val), track)
        mapping = reader_mapping(samples, data)
    elif isinstance(data, Reader):
        if class_names is not None or mask_values is not None or ignore_value != IGNORE_INDEX:
            raise ValueError(
                "diagnose: got a reader and class_names, ignore_value or mask_values. A reader "
                "defines these itself; remove the arguments."
            )
        samples = measure_all(_measure_reader, _reader_items(data, val), track)
        mapping = reader_mapping(samples, data)
    else:
        samples = measure_all(_measure_paths, _path_items(data, val), track)
        mapping = infer_mapping(samples, class_names, ignore_value, mask_values)
    findings = file_findings(samples) + duplicate_findings(samples)
    if isinstance(data, Reader):
        findings += reader_findings(samples, data, val)
    if are_folders:
        findings += too_few_images(samples)
    if not isinstance(data, Reader):
        findings += left_out_files(_left_out(*data) + ([] if val is None else _left_out(*val)))
    # The ids of a validation reader with other classes would be counted as those of `data`.
    is_comparable = all(finding.kind != "class_names_differ" for finding in findings)
    labeled = [sample for sample in samples if is_comparable or not sample.val]
    findings += label_findings(labeled, mapping)
    objects = object_statistics(samples)
    findings += object_findings(samples, objects)
    if any(finding.kind == "numbered_objects" for finding in findings):
        objects = numbered_statistics(samples, mapping)
        mapping = as_one_class(mapping)
    return _report(samples, mapping, findings, objects)


def _left_out(images, masks):
    """Return sentences about the files of two folders that are not read."""
    return passed_over(images, masks=masks) + passed_over(masks)


def _report(samples, mapping, findings, objects):
    train = [sample for sample in samples if not sample.val]
    readable = [sample for sample in samples if sample.size is not None]
    sizes = {sample.size for sample in readable}
    counts = count_classes(train, mapping)
    weights = class_weights(counts.pixels, counts.shown_pixels)
    rows = [
        ClassRow(
            name=name,
            pixels=int(counts.pixels[i]),
            images=int(counts.images[i]),
            objects=int(counts.objects[i]),
            weight=float(weights[i]),
        )
        for i, name in enumerate(mapping.names)
    ]
    return Report(
        images=sum(not sample.val for sample in readable),
        val_images=sum(sample.val for sample in readable),
        sizes=sorted(sizes, key=lambda size: (max(size), size)),
        channels=max((sample.channels or 0 for sample in train), default=0),
        normalization=channel_statistics(train),
        classes=rows,
        ignored_pixels=counts.ignored,
        findings=sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)),
        # reversed, so that of two samples with one name the first is kept
        samples={sample.name: sample for sample in reversed(samples)},
        mask_values=mapping.mask_values,
        ignore_value=mapping.ignore_value,
        objects=objects,
        with_weights=bool(counts.pixels.any()) and not isinstance(objects, NumberedObjects),
    )


def _as_readers(folders, val, class_names, ignore_value, mask_values):
    """Open folders whose masks are in subfolders: one folder per class, or one per image."""
    options = {"ignore_value": ignore_value, "mask_values": mask_values}
    train = Folder(*folders, class_names, **options)
    return train, None if val is None else Folder(*val, class_names, **options)


def _reader_items(data, val):
    """Return (reader, index, is validation) for every sample."""
    if val is None:
        return [(data, index, False) for index in range(len(data))]
    if not isinstance(val, Reader):
        raise ValueError(
            "diagnose: data is a reader, but val is not. Pass readers for both or folders for both."
        )
    train_items = [(data, index, False) for index in range(len(data))]
    return train_items + [(val, index, val is not data) for index in range(len(val))]


def _measure_reader(item):
    reader, index, is_val = item
    sample = measure_sample(reader, index)
    sample.source = reader, index
    sample.reader_orientation = stored_turn(reader.image_path(index))
    sample.val = is_val
    if is_val:  # the training reader may use the same name
        sample.name = f"val: {sample.name}"
        sample.faults = [(kind, sample.name, text) for kind, _, text in sample.faults]
    return sample


def _path_items(data, val):
    images, masks = data
    require_two_folders(Path(images), Path(masks))
    items = _pair_files(Path(images), Path(masks), False)
    if val is None:
        return items
    images, masks = val
    return items + _pair_files(Path(images), Path(masks), True)


def _pair_files(image_folder, mask_folder, is_val):
    """Pair images and masks by file stem.

    Returns:
        list of (image, mask, is validation, [(kept file, other file with the same stem)]); the
        image or the mask may be None.
    """
    same_stem = {}
    with warnings.catch_warnings():  # files that are left out become a finding
        warnings.simplefilter("ignore")
        image_paths = images_of_dataset(image_folder, mask_folder)
        mask_paths = image_files(mask_folder)
    images = _files_by_stem(image_paths, same_stem)
    masks = _files_by_stem(mask_paths, same_stem)
    return [
        (images.get(stem), masks.get(stem), is_val, same_stem.get(stem, []))
        for stem in sorted(images | masks)
    ]


def _files_by_stem(paths, same_stem):
    """Return {stem: file}; add further files with a stem to `same_stem`."""
    files = {}
    for path in paths:
        stem = same_form(path.stem)
        if stem in files:
            same_stem.setdefault(stem, []).append((files[stem], path))
        else:
            files[stem] = path
    return files


def _measure_paths(item):
    image, mask, is_val, same_stem = item
    sample = measure_files(image, mask, is_val)
    for kept, path in same_stem:
        text = f"{kept} and {path} have the same name"
        sample.faults.append(("same_name", str(path), text))
    return sample
