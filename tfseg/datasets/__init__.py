"""Named datasets, ready as readers."""

from tfseg.datasets.bccd import bccd
from tfseg.datasets.brain_tissue import brain_tissue
from tfseg.datasets.camvid import camvid
from tfseg.datasets.coco64 import coco64
from tfseg.datasets.dsb2018 import dsb2018
from tfseg.datasets.isbi2012 import isbi2012

DATASETS = {
    "bccd": bccd,
    "brain_tissue": brain_tissue,
    "camvid": camvid,
    "coco64": coco64,
    "dsb2018": dsb2018,
    "isbi2012": isbi2012,
}

__all__ = ["DATASETS", "bccd", "brain_tissue", "camvid", "coco64", "dsb2018", "isbi2012"]
