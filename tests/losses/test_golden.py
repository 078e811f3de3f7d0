"""Comparison with values of other libraries, printed by golden.py.

MONAI averages over images and all classes; SMP (segmentation_models_pytorch) over the classes that
are present in the batch. Our `smooth` is that of MONAI (half of it for Jaccard) and of SMP (for
Dice twice as much).
"""

import numpy as np
import pytest
from losses.golden import draw, ignoring

from tfseg.losses import (
    MCC,
    BinaryCrossEntropy,
    CLDice,
    CrossEntropy,
    Dice,
    Focal,
    FocalTversky,
    GeneralizedDice,
    HausdorffDistance,
    Jaccard,
    Lovasz,
    Tversky,
)

EACH = {"per_image": True, "average_over": "all"}
# torch 2.13.0, torch.nn.functional.cross_entropy
TORCH = {
    "cross entropy": (CrossEntropy(), 0.5286650),
    "cross entropy with ignored pixels": (CrossEntropy(), 0.5304295),
    "cross entropy with weights": (CrossEntropy(class_weights=(1, 2, 5)), 0.5461851),
    "smoothed cross entropy": (CrossEntropy(label_smoothing=0.2), 0.8206052),
}
# monai 1.6.1
MONAI = {
    "dice": (Dice(smooth=1e-5, **EACH), 0.4049354),
    "dice of the batch": (Dice(smooth=1e-5, average_over="all"), 0.3924570),
    "dice without background": (Dice(smooth=1e-5, include_background=False, **EACH), 0.4911730),
    "dice of one sigmoid": (Dice(smooth=1e-5, **EACH), 0.6243542),
    "squared dice": (Dice(smooth=1e-5, squared=True, **EACH), 0.2447980),
    "jaccard": (Jaccard(smooth=0.5e-5, **EACH), 0.5616149),
    # its class weights are not scaled, so its `smooth` (here 0) would have more effect
    "generalized dice": (GeneralizedDice(smooth=0, per_image=True), 0.5050578),
    "generalized dice of the batch": (GeneralizedDice(smooth=0), 0.4570992),
    "tversky": (Tversky(smooth=1e-5, alpha=0.2, beta=0.9, **EACH), 0.3918344),
    # the mean over pixels and channels; only the channel of the label is not 0
    "focal": (Focal(gamma=1.5), 3 * 0.0900723),
    "focal of sigmoids": (Focal(gamma=1.5, multi_label=True), 0.4047188),
    "hausdorff": (HausdorffDistance(**EACH), 0.6768470),
    "hausdorff without background": (
        HausdorffDistance(alpha=1.0, include_background=False, **EACH),
        0.2871797,
    ),
    "cl_dice of one sigmoid": (CLDice(iterations=2, **EACH), 0.5544344),
}
# segmentation_models_pytorch 0.6.0
SMP = {
    "dice": (Dice(), 0.3866240),
    "dice with weights": (Dice(class_weights=(1, 2, 5)), 0.4433468),
    "dice with ignored pixels": (Dice(), 0.3954888),
    "dice of sigmoids": (Dice(multi_label=True), 0.4786510),
    "jaccard": (Jaccard(smooth=0.5), 0.5476778),
    "tversky": (Tversky(smooth=0, alpha=0.2, beta=0.9), 0.3821036),
    # its gamma is the exponent, applied to the mean over classes; the same for one class
    "focal tversky of one sigmoid": (
        FocalTversky(smooth=0, alpha=0.2, beta=0.9, gamma=4 / 3),
        0.5352293,
    ),
    "lovasz": (Lovasz(), 0.4440530),
    "lovasz of an image": (Lovasz(per_image=True), 0.4489095),
    "lovasz with ignored pixels": (Lovasz(), 0.4502841),
    "mcc of one sigmoid": (MCC(), 0.7540373),
    # its multi-class form uses one sigmoid per class
    "focal of sigmoids": (Focal(gamma=1.5, multi_label=True), 0.4047188),
    "cross entropy of sigmoids": (CrossEntropy(multi_label=True), 0.6843308),
    "summed cross entropy of sigmoids": (BinaryCrossEntropy(), 3 * 0.6843308),
    # its target is t (1 - 2 e) + e
    "smoothed cross entropy of sigmoids": (
        CrossEntropy(multi_label=True, label_smoothing=0.2),
        0.7581515,
    ),
}
CASES = [
    pytest.param(name, *case, id=f"{library}: {name}")
    for library, cases in (("torch", TORCH), ("MONAI", MONAI), ("SMP", SMP))
    for name, case in cases.items()
]


@pytest.mark.parametrize(("name", "loss", "expected"), CASES)
def test_value_of_another_library(name, loss, expected):
    labels, logits = draw()
    if "ignored" in name:
        labels = ignoring(labels)
        logits[labels == 255] = 77
    if "one sigmoid" in name:
        labels, logits = (labels == 1).astype("uint8"), logits[..., 1:2]
    assert float(loss(labels, logits)) == pytest.approx(expected, rel=2e-6)


def test_the_data_is_that_of_the_expected_values():
    labels, logits = draw()
    assert np.bincount(labels.ravel()).tolist() == [98, 25, 21]
    assert float(np.abs(logits).sum()) == pytest.approx(680.16, abs=0.01)
