"""Builders of networks: plain functional `keras.Model`s, images (B, H, W, C) in 0..255 -> float32 logits."""

from tfseg.models.blocks import CropToImage, PadToStride
from tfseg.models.build import build, list_models
from tfseg.models.classifiers import classifier, cnn_classifier, transfer
from tfseg.models.deeplab import deeplab_v3, deeplab_v3_plus
from tfseg.models.describe import Description, describe
from tfseg.models.encoders import encode, freeze, list_encoders, unfreeze
from tfseg.models.fpn import fpn
from tfseg.models.hed import hed
from tfseg.models.linknet import linknet
from tfseg.models.lraspp import lraspp
from tfseg.models.pspnet import pspnet
from tfseg.models.segformer import segformer
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

__all__ = [
    "MODELS",
    "CropToImage",
    "Description",
    "PadToStride",
    "build",
    "classifier",
    "cnn_classifier",
    "deeplab_v3",
    "deeplab_v3_plus",
    "describe",
    "encode",
    "fpn",
    "freeze",
    "hed",
    "linknet",
    "list_encoders",
    "list_models",
    "lraspp",
    "pspnet",
    "segformer",
    "tiny_unet",
    "transfer",
    "unet",
    "unetpp",
    "unfreeze",
    "upernet",
]
