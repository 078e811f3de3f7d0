"""Builders of networks: plain functional `keras.Model`s, pictures (B, H, W, C) in 0..255 -> float32 logits."""

from tfseg.models.blocks import CropToImage, PadToStride
from tfseg.models.unet import unet

MODELS = {"unet": unet}

__all__ = ["MODELS", "CropToImage", "PadToStride", "unet"]
