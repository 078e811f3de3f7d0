"""Readers: sequences of labeled samples from folders, arrays and the formats of public datasets."""

from tfseg.checks import label_names
from tfseg.data.readers.arrays import Arrays
from tfseg.data.readers.base import Reader
from tfseg.data.readers.folder import Folder, find_folders
from tfseg.data.readers.formats import (
    Cityscapes,
    Coco,
    CocoPanoptic,
    GeoTiff,
    LabelMe,
    Nifti,
    Tfds,
    TFRecords,
    Voc,
    VocXml,
    Yolo,
    write_tfrecords,
)
from tfseg.data.readers.image_files import read_header, read_image, read_mask
from tfseg.data.readers.image_listing import image_files
from tfseg.data.readers.instance_masks import InstanceMasks
from tfseg.data.readers.open_objects import open_objects

__all__ = [
    "Arrays",
    "Cityscapes",
    "Coco",
    "CocoPanoptic",
    "Folder",
    "GeoTiff",
    "InstanceMasks",
    "LabelMe",
    "Nifti",
    "Reader",
    "TFRecords",
    "Tfds",
    "Voc",
    "VocXml",
    "Yolo",
    "find_folders",
    "image_files",
    "label_names",
    "open_objects",
    "read_header",
    "read_image",
    "read_mask",
    "write_tfrecords",
]
