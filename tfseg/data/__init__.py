"""From pictures on disk to batches: readers, the check before training, augmentation, pipeline."""

from tfseg.data.augment import Augment
from tfseg.data.doctor import Summary, check
from tfseg.data.files import picture_files, read_header, read_image, read_mask
from tfseg.data.folder import Folder
from tfseg.data.pipeline import pipeline
from tfseg.data.readers import Arrays, Reader, label_names

__all__ = [
    "Arrays",
    "Augment",
    "Folder",
    "Reader",
    "Summary",
    "check",
    "label_names",
    "picture_files",
    "pipeline",
    "read_header",
    "read_image",
    "read_mask",
]
