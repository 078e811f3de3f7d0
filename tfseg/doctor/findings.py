"""`Finding`, the unit of a doctor's report, and helpers that word its messages."""

from dataclasses import dataclass, field

from tfseg.data.readers.problems import MOST


@dataclass
class Finding:
    """One finding about a dataset.

    Attributes:
        kind: identifier such as "no_mask"; it stays the same across versions.
        severity: "error" if training refuses the data, "warning" if training runs but results may
            suffer, "note" if tfseg handles the case by itself.
        files: paths of the affected files, or sample names of a reader.
        message: what was found.
        fix: what to do about it.
    """

    kind: str
    severity: str
    files: list = field(default_factory=list)
    message: str = ""
    fix: str = ""


def faults_of_kind(samples, kind: str):
    """Return the names and the texts of all recorded faults of one kind, as two lists."""
    found = [fault for sample in samples for fault in sample.faults if fault[0] == kind]
    names = [name for _, name, _ in found]
    texts = [text for _, _, text in found]
    return names, texts


def image_names(samples):
    """Return the names of the samples."""
    return [sample.name for sample in samples]


def mask_names(samples):
    """Return the paths of the samples' masks; the sample's name if the mask is in memory."""
    return [str(sample.mask or sample.name) for sample in samples]


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: "1 mask", "2 masks"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def semicolon_list(texts, limit: int = MOST) -> str:
    """Return up to `limit` texts separated by semicolons, and the number of omitted ones."""
    texts = list(texts)
    text = "; ".join(texts[:limit])
    return f"{text} and {len(texts) - limit} more" if len(texts) > limit else text


def size_text(size) -> str:
    """Return (height, width) as "width x height"."""
    height, width = size
    return f"{width} x {height}"
