"""Segmentation models, detectors and image classifiers, as functional `keras.Model`s.

Every function takes the number of classes first and returns a model that maps images (B, H, W, C)
in 0..255 to float32 logits. Compile it with a loss of `tfseg.losses`, or a Keras loss with
from_logits=True: Keras' losses by name, such as "sparse_categorical_crossentropy", expect
probabilities. `build` and `list_models` find the functions by name.
"""

from tfseg.models.blocks import CropToImage, PadToStride
from tfseg.models.build import build, list_models
from tfseg.models.classifiers import classifier, cnn_classifier, transfer
from tfseg.models.deeplab import deeplab_v3, deeplab_v3_plus
from tfseg.models.describe import Description, describe
from tfseg.models.detection import (
    Detector,
    anchor_coverage,
    faster_rcnn,
    is_detector,
    load_torchvision,
    mask_rcnn,
    with_thresholds,
)
from tfseg.models.encoders import encode, freeze, list_encoders, unfreeze
from tfseg.models.ensemble import ensemble
from tfseg.models.fpn import fpn
from tfseg.models.hed import hed
from tfseg.models.instance_decoding import decode_instances
from tfseg.models.instance_settings import (
    InstanceSettings,
    instance_settings,
    is_instance_model,
)
from tfseg.models.instance_thresholds import with_object_thresholds
from tfseg.models.instances import instances
from tfseg.models.layer_graph import output_activation
from tfseg.models.linknet import linknet
from tfseg.models.lraspp import lraspp
from tfseg.models.normalization import normalization_of
from tfseg.models.pspnet import pspnet
from tfseg.models.segformer import segformer
from tfseg.models.standardized import output_stride, split_standardize
from tfseg.models.tiny import tiny_unet
from tfseg.models.unet import unet
from tfseg.models.unetpp import unetpp
from tfseg.models.upernet import upernet

MODELS = {
    "unet": unet,
    "unetpp": unetpp,
    "linknet": linknet,
    "fpn": fpn,
    "pspnet": pspnet,
    "deeplab_v3": deeplab_v3,
    "deeplab_v3_plus": deeplab_v3_plus,
    "lraspp": lraspp,
    "upernet": upernet,
    "segformer": segformer,
    "tiny_unet": tiny_unet,
}

# They return detections instead of logits, and compute their own losses.
DETECTORS = {
    "faster_rcnn": faster_rcnn,
    "mask_rcnn": mask_rcnn,
}

# The models of MODELS that take `encoder`, with their default; None is the paper's own
# contracting path. A model that is missing here takes neither `encoder` nor `weights`.
DEFAULT_ENCODERS = {
    "unet": None,
    "unetpp": "efficientnet_lite0",
    "linknet": "efficientnet_lite0",
    "fpn": "efficientnet_lite0",
    "pspnet": "efficientnet_lite0",
    "deeplab_v3": "efficientnet_lite0",
    "deeplab_v3_plus": "efficientnet_lite0",
    "lraspp": "efficientnet_lite0",
    "upernet": "efficientnet_lite0",
    "segformer": "mit_b0",
}

__all__ = [
    "DEFAULT_ENCODERS",
    "DETECTORS",
    "MODELS",
    "CropToImage",
    "Description",
    "Detector",
    "InstanceSettings",
    "PadToStride",
    "anchor_coverage",
    "build",
    "classifier",
    "cnn_classifier",
    "decode_instances",
    "deeplab_v3",
    "deeplab_v3_plus",
    "describe",
    "encode",
    "ensemble",
    "faster_rcnn",
    "fpn",
    "freeze",
    "hed",
    "instance_settings",
    "instances",
    "is_detector",
    "is_instance_model",
    "linknet",
    "list_encoders",
    "list_models",
    "load_torchvision",
    "lraspp",
    "mask_rcnn",
    "normalization_of",
    "output_activation",
    "output_stride",
    "pspnet",
    "segformer",
    "split_standardize",
    "tiny_unet",
    "transfer",
    "unet",
    "unetpp",
    "unfreeze",
    "upernet",
    "with_object_thresholds",
    "with_thresholds",
]
