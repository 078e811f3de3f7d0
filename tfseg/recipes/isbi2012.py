"""ISBI 2012: neuron membranes under the electron microscope, from 20 sections.

    python -m tfseg.recipes.isbi2012 --data ../shared/data/isbi2012_em --minutes 10 --out
    runs/isbi2012

On the last 4 sections of the stack, after 11 minutes on 2 cores of an AMD EPYC that ran other work
too: pixel accuracy 0.919, Dice 0.807 for membranes and 0.949 for cells. On the augmented training
crops the final pixel accuracy is 0.923: the model does not overfit.

The cells between the membranes are found by flooding the map of probabilities, see `cells`. Their
adapted Rand error is 0.066, after 16 CPU minutes that reached 0.918; that of the smoothed image,
flooded alike, is 0.287. Both use the level for seeds that is best on five training sections.

Tried without success for the pixel accuracy: the sections above and below as channels (0.918), and
the mean over the eight flips and turns of an image (0.921). A plain `unet(2, filters=(32, 64, 128,
256))` in batches of 4, with scales of 0.9 to 1.1 and without blur and noise, reaches 0.919 in 12
minutes and 480 steps. The remaining errors are in how wide the membranes were drawn: 66 to 76 % of
the wrong pixels are within 2 pixels of a border between the two classes. On the test sections of
the challenge, which are not public, U-Net has 0.939 after ten hours on a GPU (arXiv:1505.04597:
pixel error 0.0611); only the winner of 2012 was closer to the labels than a second human annotator
(Ciresan et al., NIPS 2012).
"""

import cv2
import keras
import numpy as np
from scipy.special import softmax
from skimage.segmentation import watershed

from tfseg.classical import connected_components
from tfseg.datasets import isbi2012
from tfseg.inference import predict_logits
from tfseg.metrics import adapted_rand_error
from tfseg.models import unet
from tfseg.recipes.command import command, run_recipe
from tfseg.training import TrainConfig

AUGMENT = {
    "size": 256,
    "scale": (0.8, 1.25),
    "rotate": 180,
    "flip": "both",
    "elastic": 8,
    "brightness": 0.1,
    "contrast": 0.25,
    "gamma": 0.2,
    "blur": 1.0,
    "noise": 0.03,
}
MEMBRANE, CELL = 0, 1
# Values of a membrane map below which pixels are the seed of a cell
SEED_LEVELS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6)
SECTIONS_TO_TUNE = 5  # of the training sections, on which the level is chosen


def run(data=None, minutes: float = 10, out="runs/isbi2012"):
    """Train on the first 20 sections, select on the last 4, evaluate, draw and export.

    Args:
        data: folder of the dataset; None for `isbi2012_em` in TFSEG_DATA.
        minutes: duration of the training, with evaluation and export.
        out: folder of the run, with scores, images and `saved_model/`.

    Returns:
        Evaluation on the last 4 sections.
    """
    train, val = isbi2012(data)
    keras.utils.set_random_seed(0)
    model = unet(2, (None, None, 1), encoder="efficientnet_lite0", weights="imagenet")
    config = TrainConfig(
        out=out,
        dataset="isbi2012",
        cache="memory",
        model=None,
        minutes=minutes,
        batch_size=8,
        val_batch_size=2,
        augment=AUGMENT,
        optimizer="adamw",
        learning_rate=1e-3,
    )
    model, scores = run_recipe(config, train, val, model)
    maps = {"network": lambda image: membranes(model, image), "classical": darkness}
    for name, membrane_map in maps.items():
        level = best_level(membrane_map, train)
        error = rand_error(membrane_map, val, level)
        print(f"{name}: adapted Rand error {error:.4f} with seeds below {level:g}")
    return scores


def membranes(model, image):
    """Return the probability of membrane in [0, 1] of each pixel (H, W) of an image."""
    return softmax(predict_logits(model, image), axis=-1)[..., MEMBRANE]


def darkness(image):
    """Return the darkness in [0, 1] of a smoothed image: the membrane map without a network."""
    return 1 - cv2.GaussianBlur(image[..., 0].astype(np.float32), (0, 0), 2) / 255


def cells(membrane_map, level: float):
    """Divide a section (H, W) into numbered cells.

    Connected pixels with a value below the level are the seed of a cell. The map is flooded from
    the seeds, so that cells meet on the ridges, in the middle of the membranes.
    """
    return watershed(membrane_map, connected_components(membrane_map < level))


def rand_error(membrane_map, reader, level: float) -> float:
    """Return the adapted Rand error of the cells that a function finds in the images of a reader.

    Args:
        membrane_map: function of an image (H, W, 1) that returns its membrane map (H, W).
        reader: a `Reader`. The true cells are the connected regions of its class "cell".
        level: see `cells`.
    """
    return _errors(membrane_map, reader, [level])[0]


def best_level(membrane_map, reader) -> float:
    """Return the level of the lowest adapted Rand error on a few sections; see `rand_error`."""
    sections = np.linspace(0, len(reader) - 1, SECTIONS_TO_TUNE).astype(int)
    errors = _errors(membrane_map, reader.subset(sections), SEED_LEVELS)
    return SEED_LEVELS[int(np.argmin(errors))]


def _errors(membrane_map, reader, levels):
    samples = [reader[index] for index in range(len(reader))]
    maps = [membrane_map(sample["image"]) for sample in samples]
    truth = [connected_components(sample["mask"] == CELL) for sample in samples]
    return [
        adapted_rand_error(truth, [cells(values, level) for values in maps]) for level in levels
    ]


if __name__ == "__main__":
    command(run)
