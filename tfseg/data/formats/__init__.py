"""Readers of the formats in which segmentation datasets come, one a file.

Each keeps the contract of `tfseg.data.Reader`: the check, the pipeline, the splits and the metrics work on it.
"""

from tfseg.data.formats.cityscapes import Cityscapes
from tfseg.data.formats.coco import Coco
from tfseg.data.formats.coco_panoptic import CocoPanoptic
from tfseg.data.formats.geotiff import GeoTiff
from tfseg.data.formats.nifti import Nifti
from tfseg.data.formats.tfds import Tfds
from tfseg.data.formats.tfrecord import TFRecords, write_tfrecords
from tfseg.data.formats.voc import Voc
from tfseg.data.formats.yolo import Yolo

__all__ = [
    "Cityscapes",
    "Coco",
    "CocoPanoptic",
    "GeoTiff",
    "Nifti",
    "Tfds",
    "TFRecords",
    "Voc",
    "Yolo",
    "write_tfrecords",
]
