"""Losses for segmentation: registered Keras losses that add, scale, save and load.

All losses take integer, one-hot or soft targets, 2D images or 3D volumes, and logits of any
precision. Ignored pixels have exactly zero gradient. A perfect prediction has loss 0 under any
class weights. Sample weights, per image or per pixel, work with every loss. With multi_label=True,
each channel is a sigmoid of its own.

Only `ignore_index` is ignored. Any other label outside [0, C), a fractional label, or per-class
values that are not probabilities make the loss NaN, with a finite gradient.

`y_pred` are logits, as the models of this package return them. Keras' own losses expect
probabilities if they are given by name ("categorical_crossentropy"): pass them as objects with
from_logits=True.

`parts` shows which part of a sum drives the training:

    loss = CrossEntropy(class_weights=[1, 5]) + 0.5 * Dice(include_background=False)
    loss.parts(masks, model(images))  # {"cross_entropy": 0.41, "dice": 0.17}

Which loss to add to `CrossEntropy`:

    Problem                                       Loss
    --------------------------------------------  ------------------------------------------------
    small or rare objects                         Dice, Jaccard, Lovasz; for hard pixels Focal, TopK
    misses are worse than false alarms            Tversky(alpha=0.3, beta=0.7): alpha weights false
                                                  positives, beta false negatives
    object sizes differ by orders of magnitude    GeneralizedDice, MCC
    ragged or shifted outlines                    0.1 * Boundary(), 0.01 * HausdorffDistance()
    vessels, roads or membranes break apart       CLDice

Instead of `CrossEntropy`, if a pixel can belong to several classes: BinaryCrossEntropy, or any loss
with multi_label=True.

Each class wraps a plain function of tensors in its module, such as `tfseg.losses.region.dice`:

    pixel.py      cross_entropy, binary_cross_entropy, focal, binary_focal, hardest
    region.py     dice, generalized_dice, jaccard, tversky, matthews
    lovasz.py     lovasz
    boundary.py   boundary, hausdorff_distance, cl_dice

The losses in `INSTANCE_LOSSES` are for the outputs of `tfseg.models.instances`. Their targets are
numbers, not labels: see `tfseg.data.star_targets` and `tfseg.data.center_targets`.
"""

from tfseg.losses.base import PixelLoss, RegionLoss, SegmentationLoss
from tfseg.losses.boundary import Boundary, CLDice, HausdorffDistance
from tfseg.losses.compose import AtOutputSize, CompositeLoss, deep_supervision
from tfseg.losses.instance_heads import (
    CenterHeatmap,
    CenterOffset,
    HeadLoss,
    ObjectProbability,
    StarDistance,
)
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

# of the outputs of `tfseg.models.instances`; "class_logits" take a loss of LOSSES
INSTANCE_LOSSES = {
    "center_heatmap": CenterHeatmap,
    "center_offset": CenterOffset,
    "object_probability": ObjectProbability,
    "star_distance": StarDistance,
}

__all__ = [
    "INSTANCE_LOSSES",
    "LOSSES",
    "AtOutputSize",
    "BinaryCrossEntropy",
    "Boundary",
    "CLDice",
    "CenterHeatmap",
    "CenterOffset",
    "CompositeLoss",
    "CrossEntropy",
    "Dice",
    "Focal",
    "FocalTversky",
    "GeneralizedDice",
    "HausdorffDistance",
    "HeadLoss",
    "Jaccard",
    "Lovasz",
    "MCC",
    "ObjectProbability",
    "PixelLoss",
    "RegionLoss",
    "SegmentationLoss",
    "StarDistance",
    "Target",
    "TopK",
    "Tversky",
    "deep_supervision",
]
