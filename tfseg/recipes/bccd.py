"""BCCD: red cells, white cells and platelets as boxes, with Faster R-CNN.

    python -m tfseg.recipes.bccd --data ../shared/data/bccd --minutes 28 --out runs/bccd

The light layout of Faster R-CNN on EfficientNet-Lite0 with its ImageNet weights. Images are
scaled by 0.65, and the first two stages are frozen. On the 87 validation images, after 324 steps
of 4 images (the best of 9 rounds, the last): AP50 0.881, AP 0.567. The training took 18 minutes of
CPU time on 2 cores of an Intel Xeon, with `--minutes 28` beside six other programs.

    class      AP     AP50   AP75
    RBC        0.559  0.837  0.673
    WBC        0.740  0.978  0.933
    Platelets  0.401  0.828  0.268

AP50 by round: 0.610, 0.846, 0.839, 0.868, 0.880, 0.885, 0.887, 0.879, 0.881. AP still rose at the
end, so more steps may help; they were not tried. In the four images with the lowest F1 (worst.png)
the model finds red cells that are not annotated.
"""

import keras

from tfseg.datasets import bccd
from tfseg.models import faster_rcnn, freeze
from tfseg.recipes.command import command, run_object_recipe
from tfseg.training import TrainConfig

SIZE = (320, 416)  # half of the area of 640 x 480; the smallest platelets still have 15 pixels
AUGMENT = {
    "size": SIZE,
    "scale": (0.5, 0.85),  # in prediction, images are scaled by 0.65
    "flip": "both",
    "brightness": 0.1,
    "contrast": 0.2,
    "saturation": 0.2,
    "hue": 8,
}
FROZEN_STAGES = 2  # edges and colors need no training, and their gradients are the most expensive


def run(data=None, minutes: float = 28, out="runs/bccd"):
    """Train on 205 images, select on 87, evaluate, draw and export.

    Args:
        data: folder of the dataset; None for `bccd` in TFSEG_DATA.
        minutes: duration of the training, with evaluation and export.
        out: folder of the run, with scores, images and `saved_model/`.

    Returns:
        `ObjectEvaluation` of the 87 images.
    """
    train, val = bccd(data)
    keras.utils.set_random_seed(0)
    model = faster_rcnn(
        len(train.object_names), encoder="efficientnet_lite0", weights="imagenet", size=SIZE
    )
    freeze(model, until=FROZEN_STAGES)
    config = TrainConfig(
        out=out,
        task="detect",
        dataset="bccd",
        minutes=minutes,
        batch_size=4,
        augment=AUGMENT,
        cache="memory",
        optimizer="adamw",
        learning_rate=1e-3,
        clip_norm=10,
    )
    return run_object_recipe(config, train, val, model)


if __name__ == "__main__":
    command(run)
