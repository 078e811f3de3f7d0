"""Print the values of other libraries for `draw`, which test_golden.py expects. Run it by hand.

In a separate environment (CPU builds; torchvision 0.28.0 does not work with this torch version
until the file below is empty):

    python3 -m venv /tmp/golden && cd /tmp/golden
    bin/pip install torch==2.13.0
    bin/pip install monai==1.6.1 scipy pillow huggingface_hub safetensors pyyaml tqdm
    bin/pip install --no-deps timm==1.0.31 segmentation-models-pytorch==0.6.0 torchvision==0.28.0
    : > lib/python3.11/site-packages/torchvision/_meta_registrations.py
    bin/python .../tests/losses/golden.py
"""

import numpy as np


def draw():
    """Return labels (2, 8, 9) of three classes, all in both images, and mostly correct logits."""
    labels = np.zeros((2, 8, 9), "int64")
    labels[0, 1:5, 2:7] = 1
    labels[0, 4:7, 5:8] = 2
    labels[1, 0:3, 0:4] = 2
    labels[1, 5, 1:8] = 1
    logits = np.random.default_rng(12).normal(0, 1.5, (2, 8, 9, 3)) + 2 * np.eye(3)[labels]
    return labels, logits.astype("float32")


def ignoring(labels):
    """Return the labels with some pixels ignored."""
    labels = labels.copy()
    labels[0, 3:5, 4:6] = labels[1, 2, 3:] = 255
    return labels


def monai_losses(labels, logits, foreground, single):
    from monai import losses

    soft = {"softmax": True, "to_onehot_y": True}
    one = {"sigmoid": True}
    return {
        "dice": losses.DiceLoss(**soft)(logits, labels),
        "dice of the batch": losses.DiceLoss(**soft, batch=True)(logits, labels),
        "dice without background": losses.DiceLoss(**soft, include_background=False)(
            logits, labels
        ),
        "dice of one sigmoid": losses.DiceLoss(**one)(single, foreground),
        "squared dice": losses.DiceLoss(**soft, squared_pred=True)(logits, labels),
        "jaccard": losses.DiceLoss(**soft, jaccard=True)(logits, labels),
        "generalized dice": losses.GeneralizedDiceLoss(**soft, smooth_nr=0, smooth_dr=0)(
            logits, labels
        ),
        "generalized dice of the batch": losses.GeneralizedDiceLoss(
            **soft, smooth_nr=0, smooth_dr=0, batch=True
        )(logits, labels),
        "tversky": losses.TverskyLoss(**soft, alpha=0.2, beta=0.9)(logits, labels),
        "focal": losses.FocalLoss(use_softmax=True, to_onehot_y=True, gamma=1.5)(logits, labels),
        "focal of sigmoids": losses.FocalLoss(to_onehot_y=True, gamma=1.5)(logits, labels),
        "hausdorff": losses.HausdorffDTLoss(**soft, include_background=True)(logits, labels),
        "hausdorff without background": losses.HausdorffDTLoss(**soft, alpha=1.0)(logits, labels),
        "cl_dice of one sigmoid": losses.SoftclDiceLoss(**one, iter_=2, smooth=1e-12)(
            single, foreground
        ),
    }


def smp_losses(labels, logits, foreground, single):
    from segmentation_models_pytorch import losses

    labels = labels[:, 0]
    ignored = logits.new_tensor(ignoring(labels.numpy())).long()
    dense = logits.new_tensor(np.eye(3)[labels.numpy()]).movedim(-1, 1)
    return {
        "dice": losses.DiceLoss("multiclass", smooth=0.5)(logits, labels),
        "dice with weights": losses.DiceLoss("multiclass", smooth=0.5, class_weights=[1, 2, 5])(
            logits, labels
        ),
        "dice with ignored pixels": losses.DiceLoss("multiclass", smooth=0.5, ignore_index=255)(
            logits, ignored
        ),
        "dice of sigmoids": losses.DiceLoss("multilabel", smooth=0.5)(logits, dense),
        "jaccard": losses.JaccardLoss("multiclass", smooth=0.5)(logits, labels),
        "tversky": losses.TverskyLoss("multiclass", alpha=0.2, beta=0.9)(logits, labels),
        "focal tversky of one sigmoid": losses.TverskyLoss(
            "binary", alpha=0.2, beta=0.9, gamma=0.75
        )(single, foreground),
        "lovasz": losses.LovaszLoss("multiclass")(logits, labels),
        "lovasz of an image": losses.LovaszLoss("multiclass", per_image=True)(logits, labels),
        "lovasz with ignored pixels": losses.LovaszLoss("multiclass", ignore_index=255)(
            logits, ignored
        ),
        "mcc of one sigmoid": losses.MCCLoss(eps=1e-12)(
            single.double().sigmoid(), foreground.double()
        ),
        "focal of sigmoids": losses.FocalLoss("multiclass", gamma=1.5)(logits, labels),
        "cross entropy of sigmoids": losses.SoftBCEWithLogitsLoss()(logits, dense),
        "smoothed cross entropy of sigmoids": losses.SoftBCEWithLogitsLoss(smooth_factor=0.1)(
            logits, dense
        ),
    }


def torch_losses(labels, logits):
    from torch.nn import functional

    labels = labels[:, 0]
    ignored = logits.new_tensor(ignoring(labels.numpy())).long()
    weight = logits.new_tensor([1.0, 2.0, 5.0])
    return {
        "cross entropy": functional.cross_entropy(logits, labels),
        "cross entropy with ignored pixels": functional.cross_entropy(
            logits, ignored, ignore_index=255
        ),
        "cross entropy with weights": functional.cross_entropy(logits, labels, weight),
        "smoothed cross entropy": functional.cross_entropy(logits, labels, label_smoothing=0.2),
    }


def main():
    import monai
    import segmentation_models_pytorch as smp
    import torch

    labels, logits = (torch.from_numpy(x) for x in draw())
    labels, logits = labels[:, None], logits.movedim(-1, 1)
    foreground, single = (labels == 1).float(), logits[:, 1:2]
    for name, values in (
        (f"torch {torch.__version__}", torch_losses(labels, logits)),
        (f"monai {monai.__version__}", monai_losses(labels, logits, foreground, single)),
        (
            f"segmentation_models_pytorch {smp.__version__}",
            smp_losses(labels, logits, foreground, single),
        ),
    ):
        print(f"# {name}")
        for key, value in values.items():
            print(f'    "{name.split()[0]} {key}": {float(value):.7f},')


if __name__ == "__main__":
    main()
