"""Losses for segmentation: registered Keras losses over plain functions of what `Target` reads."""

from tfseg.losses.base import PixelLoss, RegionLoss, SegmentationLoss
from tfseg.losses.boundary import Boundary, CLDice, HausdorffDistance
from tfseg.losses.compose import AtOutputSize, CompositeLoss, deep_supervision
from tfseg.losses.lovasz import Lovasz
from tfseg.losses.pixel import BinaryCrossEntropy, CrossEntropy, Focal, TopK
from tfseg.losses.region import MCC, Dice, FocalTversky, GeneralizedDice, Jaccard, Tversky
from tfseg.losses.target import Target

LOSSES = {
    "binary_cross_entropy": BinaryCrossEntropy,
    "boundary": Boundary,
    "cl_dice": CLDice,
    "cross_entropy": CrossEntropy,
    "dice": Dice,
    "focal": Focal,
    "focal_tversky": FocalTversky,
    "generalized_dice": GeneralizedDice,
    "hausdorff_distance": HausdorffDistance,
    "jaccard": Jaccard,
    "lovasz": Lovasz,
    "mcc": MCC,
    "topk": TopK,
    "tversky": Tversky,
}

__all__ = [
    "LOSSES",
    "AtOutputSize",
    "BinaryCrossEntropy",
    "Boundary",
    "CLDice",
    "CompositeLoss",
    "CrossEntropy",
    "Dice",
    "Focal",
    "FocalTversky",
    "GeneralizedDice",
    "HausdorffDistance",
    "Jaccard",
    "Lovasz",
    "MCC",
    "PixelLoss",
    "RegionLoss",
    "SegmentationLoss",
    "Target",
    "TopK",
    "Tversky",
    "deep_supervision",
]
