"""From images on disk to batches: readers, the check before training, augmentation, pipeline."""

from tfseg.data.augment import Augment
from tfseg.data.doctor import Summary, check, diagnose
from tfseg.data.files import image_files, read_header, read_image, read_mask
from tfseg.data.findings import Finding
from tfseg.data.folder import Folder, find_folders
from tfseg.data.formats import (
    Cityscapes,
    Coco,
    CocoPanoptic,
    GeoTiff,
    Nifti,
    Tfds,
    TFRecords,
    Voc,
    Yolo,
    write_tfrecords,
)
from tfseg.data.loading import reading_error
from tfseg.data.pipeline import pipeline
from tfseg.data.readers import Arrays, Reader, label_names
from tfseg.data.report import Report
from tfseg.data.resize import Resize
from tfseg.data.windows import batch_for, corners, window_for

__all__ = [
    "Arrays",
    "Augment",
    "Cityscapes",
    "Coco",
    "CocoPanoptic",
    "Finding",
    "Folder",
    "GeoTiff",
    "Nifti",
    "Reader",
    "Report",
    "Resize",
    "Summary",
    "Tfds",
    "TFRecords",
    "Voc",
    "Yolo",
    "batch_for",
    "check",
    "corners",
    "diagnose",
    "find_folders",
    "label_names",
    "image_files",
    "pipeline",
    "read_header",
    "read_image",
    "read_mask",
    "reading_error",
    "window_for",
    "write_tfrecords",
]
