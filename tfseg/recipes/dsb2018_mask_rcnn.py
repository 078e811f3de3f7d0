"""DSB 2018: cell nuclei under the fluorescence microscope, with Mask R-CNN.

    python -m tfseg.recipes.dsb2018_mask_rcnn --data ../shared/data/dsb2018_fluo --minutes 12 --out
    runs/dsb2018_mask_rcnn

On 20 images, after 330 steps of 2 images and 14 minutes of CPU time without the export, on 2 cores
of an Intel Xeon beside six other programs: AP@0.5 of nuclei 0.705, mean of AP@0.5 to 0.95 0.419,
less than the 0.810 and 0.524 of the star-convex polygons in `dsb2018`. COCO's AP50 is 0.816 for
boxes and 0.808 for masks, AP 0.478 and 0.470. AP of the masks after each 110 steps was 0.359, 0.463
and 0.470.

AP and AP50 of trainings of 120 steps, 4 minutes of CPU time each:

    crops                                          boxes            masks
    not rotated, as here                           0.366  0.758     0.391  0.743
    rotated by any angle                           0.364  0.765     0.410  0.769
    the same, with boxes around rotated boxes      0.134  0.459     0.377  0.755

`Augment` has made the boxes of rotated nuclei tight around their pixels since the last of these.
Rotation helps the masks a little; a training of 330 steps with it was not tried.
"""

import keras

from tfseg.datasets import dsb2018
from tfseg.inference import predict_instances
from tfseg.models import freeze, mask_rcnn
from tfseg.recipes.command import command, run_object_recipe
from tfseg.recipes.dsb2018 import score_nuclei
from tfseg.training import Run, TrainConfig

SIZE = (512, 512)  # twice as large as the images: a quarter of the nuclei are below 10 pixels
ANCHOR_SIZES = ((10, 14), (20, 28), (40, 56), (80, 112), (160, 224))
AUGMENT = {
    "size": SIZE,
    "scale": (1.8, 2.8),
    "flip": "both",
    "brightness": 0.1,
    "contrast": 0.3,
    "gamma": 0.4,
}
FROZEN_STAGES = 2


def run(data=None, minutes: float = 12, out="runs/dsb2018_mask_rcnn"):
    """Train on 80 images, select on 20, evaluate boxes, masks and nuclei, draw and export.

    Args:
        data: folder of the dataset; None for `dsb2018_fluo` in TFSEG_DATA.
        minutes: duration of the training, with evaluation and export.
        out: folder of the run, with scores, images and `saved_model/`.

    Returns:
        dict "ap" (10,) and "mean_ap", see `average_precision`, on the 20 images.
    """
    train, val = dsb2018(data)
    keras.utils.set_random_seed(0)
    # some images are ten times as bright as others
    model = mask_rcnn(
        1,
        encoder="efficientnet_lite0",
        weights="imagenet",
        size=SIZE,
        anchor_sizes=ANCHOR_SIZES,
        normalization="image",
        proposals=(500, 400),  # an image has up to 101 nuclei
        samples=(256, 128),
        max_detections=150,
    )
    freeze(model, until=FROZEN_STAGES)
    config = TrainConfig(
        out=out,
        task="instances",
        dataset="dsb2018",
        minutes=minutes,
        batch_size=2,
        augment=AUGMENT,
        cache="memory",
        optimizer="adamw",
        learning_rate=1e-3,
        clip_norm=10,
    )
    run_object_recipe(config, train, val, model)
    model = Run(out).model()
    return score_nuclei(val, lambda image: predict_instances(model, image)["instances"], out)


if __name__ == "__main__":
    command(run)
