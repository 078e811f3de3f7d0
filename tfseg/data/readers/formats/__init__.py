"""Readers of the common formats of segmentation datasets, one per file.

Each follows the contract of `tfseg.data.Reader`, so that checks, pipeline, splits and metrics work
with it.
"""

from tfseg.data.readers.formats.cityscapes import Cityscapes
from tfseg.data.readers.formats.coco import Coco
from tfseg.data.readers.formats.coco_panoptic import CocoPanoptic
from tfseg.data.readers.formats.geotiff import GeoTiff
from tfseg.data.readers.formats.labelme import LabelMe
from tfseg.data.readers.formats.nifti import Nifti
from tfseg.data.readers.formats.tfds import Tfds
from tfseg.data.readers.formats.tfrecord import TFRecords, write_tfrecords
from tfseg.data.readers.formats.voc import Voc
from tfseg.data.readers.formats.voc_folder import VocXml
from tfseg.data.readers.formats.yolo import Yolo

__all__ = [
    "Cityscapes",
    "Coco",
    "CocoPanoptic",
    "GeoTiff",
    "LabelMe",
    "Nifti",
    "Tfds",
    "TFRecords",
    "Voc",
    "VocXml",
    "Yolo",
    "write_tfrecords",
]
