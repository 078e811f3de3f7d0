"""Random changes of images and their labels, drawn once per sample and applied in one compiled kernel."""

from tfseg.data.augment.augment import Augment

__all__ = ["Augment"]
