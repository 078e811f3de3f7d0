"""Named data sets, ready as readers."""

from tfseg.datasets.brain_tissue import brain_tissue

DATASETS = {"brain_tissue": brain_tissue}

__all__ = ["DATASETS", "brain_tissue"]
