"""Losses for segmentation: registered Keras losses, each over a plain function of the same name."""

from tfseg.losses.base import SegmentationLoss
from tfseg.losses.compose import CompositeLoss
from tfseg.losses.pixel import CrossEntropy, cross_entropy
from tfseg.losses.region import Dice, dice

LOSSES = {"cross_entropy": CrossEntropy, "dice": Dice}

__all__ = [
    "LOSSES",
    "CompositeLoss",
    "CrossEntropy",
    "Dice",
    "SegmentationLoss",
    "cross_entropy",
    "dice",
]
