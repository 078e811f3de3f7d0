"""From image files to batches: readers, augmentation and the pipeline."""

from tfseg.data.augment import Augment
from tfseg.data.instance_targets import center_targets, star_targets
from tfseg.data.loading import reading_error
from tfseg.data.memory_limits import batch_for, window_for
from tfseg.data.pipeline import pipeline
from tfseg.data.readers import (
    Arrays,
    Cityscapes,
    Coco,
    CocoPanoptic,
    Folder,
    GeoTiff,
    InstanceMasks,
    LabelMe,
    Nifti,
    Reader,
    Tfds,
    TFRecords,
    Voc,
    VocXml,
    Yolo,
    find_folders,
    image_files,
    label_names,
    open_objects,
    read_header,
    read_image,
    read_mask,
    write_tfrecords,
)
from tfseg.data.resize import Resize

__all__ = [
    "Arrays",
    "Augment",
    "Cityscapes",
    "Coco",
    "CocoPanoptic",
    "Folder",
    "GeoTiff",
    "InstanceMasks",
    "LabelMe",
    "Nifti",
    "Reader",
    "Resize",
    "TFRecords",
    "Tfds",
    "Voc",
    "VocXml",
    "Yolo",
    "batch_for",
    "center_targets",
    "find_folders",
    "image_files",
    "label_names",
    "open_objects",
    "pipeline",
    "read_header",
    "read_image",
    "read_mask",
    "reading_error",
    "star_targets",
    "window_for",
    "write_tfrecords",
]
