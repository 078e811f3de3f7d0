"""Findings that only a reader knows: objects left out, turned images, other classes than train."""

from tfseg.data.readers.pillow_files import stored_orientation
from tfseg.doctor.findings import Finding, image_names, plural, semicolon_list

EXAMPLES = 3  # quoted in one message


def reader_findings(samples, data, val):
    """Return the findings about readers.

    Args:
        samples: list of `Sample` of both readers.
        data: reader of the training samples.
        val: reader of the validation samples, or None.
    """
    found = list(different_classes(data, val))
    found += dropped_objects(data, "")
    if val is not None and val is not data:
        found += dropped_objects(val, "val: ")
    found += turned_images(samples)
    return found


def different_classes(data, val):
    """Find a validation reader whose class ids mean other classes."""
    if val is None:
        return
    if val.class_names == data.class_names and val.object_names == data.object_names:
        return
    message = (
        f"The class names differ: {', '.join(data.class_names)} for training, but "
        f"{', '.join(val.class_names)} for validation. The same id would mean different classes."
    )
    fix = (
        "Pass the same names in the same order to both readers: class_names=train.class_names. "
        "Readers that take names from their file number the classes by it."
    )
    yield Finding("class_names_differ", "error", [], message, fix)


def dropped_objects(reader, prefix):
    """Find annotations that the reader does not use as objects."""
    if not reader.dropped:
        return
    names = list(dict.fromkeys(f"{prefix}{name}" for name, _ in reader.dropped))
    reasons = [f"{prefix}{name}: {reason}" for name, reason in reader.dropped]
    message = (
        f"{plural(len(reasons), 'annotation')} in {plural(len(names), 'image')} that are not used "
        f"as objects: {semicolon_list(reasons, EXAMPLES)}."
    )
    fix = "Correct these annotations, or ignore this if they are meant to be left out."
    yield Finding("dropped_objects", "warning", names, message, fix)


def turned_images(samples):
    """Find images that EXIF turns: labels may have been made on the pixels as stored."""
    found = [sample for sample in samples if sample.reader_orientation != 1]
    if found:
        message = (
            f"{plural(len(found), 'image')} with an EXIF rotation: tfseg turns images upright "
            "(except PNGs), but whether their labels are upright cannot be determined."
        )
        fix = (
            "Look at an overlay. If the labels are not upright, remove the orientation from the "
            "files: exiftool -Orientation= FILES"
        )
        yield Finding("exif_rotation", "warning", image_names(found), message, fix)


def stored_turn(path) -> int:
    """Return the EXIF orientation of an image file, 1 to 8; 1 if there is none or no file."""
    if path is None:
        return 1
    try:
        return stored_orientation(path)
    except (OSError, ValueError):  # reported where the image is read
        return 1
