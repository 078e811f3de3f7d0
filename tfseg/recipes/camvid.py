"""CamVid in eleven classes, from EfficientNet-Lite0's ImageNet weights.

    python -m tfseg.recipes.camvid --data ../shared/data/camvid --minutes 88 --out runs/camvid

Mean IoU on the 101 images to validate on, at 480 x 360, without averaging over flips, on 2 cores of an AMD EPYC. They
share a street with those to train on: other streets are harder.

    minutes  mean IoU  pole   sign   pedestrian
    30       0.751     0.157  0.510  0.606       windows of 256 x 352, scale 0.6 to 1.9, square roots of the weights
    64       0.767     0.210  0.554  0.676       scale 0.75 to 1.6, rotation 6, stronger colors
    95       0.785     0.227  0.587  0.718       as it stands here, `--minutes 88` while other work ran beside it
             0.786     0.226  0.586  0.715       the same again, 10500 steps, halted now and then
    89       0.782     0.220  0.584  0.691       11560 steps, the third time; minutes from rounds without other work
             0.790                               by `tune_offsets`, on images it was not fitted to: a fifth at a time
             0.793     0.269  0.587  0.700       and on those it was
    30       0.734     0.116  0.482  0.612       the same, on 2 cores of an Intel Xeon, which took 2320 steps
             0.752                               by `tune_offsets`, on images it was not fitted to
             0.756     0.158  0.493  0.652       and on those it was; fence 0.743 instead of 0.670

The figures above those of 89 minutes are from before `tune_offsets`.

Of the first of the three, 0.766 was there after 7 of its 20 rounds and the best after 11; from then on it stays between
0.774 and 0.784 while the mean IoU on its training windows goes from 0.80 to 0.84: what is left is in what the training
images show. Of the second, the mean of the weights after the last 9, 7, 5 and 3 rounds has 0.781, 0.782, 0.783 and
0.785; after training, `refine.crf` with its own parameters costs 0.016 on a fifth of the images, for it takes poles
away, and weak ones or `refine.guided_filter(radius=2, epsilon=0.001)` gain 0.001.

What was tried in 7 to 10 minutes each, to be compared with each other only: a rate of 0.0005 instead of 0.002 gives
0.573 in 10 minutes; in 7 minutes batches of 3 give 0.631, batches of 6 with weaker augmentation and the first two
stages frozen 0.677. On the first of the long runs, after its training: 0.760 with the mean of an image and its
mirror image; 0.751 and 0.750 when the image is magnified 1.25 and 1.5 times; 0.749 with the statistics of batch
normalization taken anew over 60 batches; 0.756 when the logits are shifted by -0.4 times the logarithm of the
weights, hence their fourth root. On the second, the best shift of each class' logits, chosen on the very images
that are scored, gives 0.778.

On a GPU (NVIDIA H200, JAX, augmented in the train step by `training.augmented`, batches of 12, three trainings side by
side for four and a half minutes), the best round and the last of 20, then tuned, on images it was not fitted to:

    steps  best   last   tuned
    7100   0.777  0.774          the same network and augmentation, a quarter more windows than in 89 minutes on 2 cores
    7000   0.780  0.778  0.784   with `cutmix=0.5`
    5700   0.783  0.782  0.790   with that, and EfficientNet-Lite2: 0.794 on those it was fitted to

So more steps bring nothing; a larger encoder and mixed images do. Neither was tried for 88 minutes on 2 cores.
"""

from functools import partial

import keras
import numpy as np
from keras import layers

from tfseg.data import Augment, pipeline
from tfseg.datasets import camvid
from tfseg.doctor import check
from tfseg.models.decoders import (
    conv_bn,
    image_input,
    pooling_branch,
    segmentation_head,
    separable_conv_bn,
    skip_features,
    upsample,
)
from tfseg.recipes.command import carry_out, command

AUGMENT = Augment(
    (288, 384),
    scale=(0.8, 1.5),
    rotate=4,
    flip="horizontal",
    brightness=0.1,
    contrast=0.2,
    saturation=0.2,
    hue=4,
)
WIDTHS = (32, 64, 96, 128)  # of the decoder at strides 2, 4, 8 and 16


def network(num_classes, input_shape=(None, None, 3), weights="imagenet"):
    """A U-Net of separable convolutions behind EfficientNet-Lite0, which ends at stride 2 and knows the whole image.

    (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits. Most of its time goes into the encoder.
    """
    image = image_input("camvid", num_classes, input_shape)
    *skips, x = skip_features(
        "camvid", image, "efficientnet_lite0", weights, None, (2, 4, 8, 16, 32)
    )
    x = layers.Concatenate(name="decoder_context")([x, pooling_branch(x, 1, 128, "decoder_image")])
    for level, width in reversed(list(enumerate(WIDTHS))):
        x = upsample(conv_bn(x, width, 1, f"decoder{level}_narrow"), 2, f"decoder{level}_double")
        x = layers.Concatenate(name=f"decoder{level}_join")([x, skips[level]])
        for merge in (1, 2):
            x = separable_conv_bn(x, width, f"decoder{level}_merge{merge}")
    return segmentation_head(x, image, num_classes, 2, "camvid")


def run(data=None, minutes=88, out="runs/camvid"):
    """Train on the 367 images, choose and tune on the 101, evaluate, draw and export.

    Args:
        data: folder of the dataset; None for `camvid` in TFSEG_DATA.
        minutes: for the training.
        out: folder of the run, with figures, images and `saved_model/`.

    Returns:
        The `Evaluation` on the 101 images.
    """
    train, val = camvid(data)
    keras.utils.set_random_seed(0)
    pixels = check(train).class_pixels
    model = network(train.num_classes)
    stream = partial(pipeline, train, 6, AUGMENT, cache="memory")
    # between equal weights, which forget poles and signs, and those by median frequency, which see them everywhere
    weights = ((np.median(pixels) / np.maximum(pixels, 1)) ** 0.25).tolist()
    options = {"learning_rate": 2e-3, "class_weights": weights}
    return carry_out("camvid", model, stream, val, minutes, out, tune="mean_iou", **options)[1]


if __name__ == "__main__":
    command(run)
