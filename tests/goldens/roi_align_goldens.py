"""Write roi_align.npz: results of torchvision's C++ RoIAlign, and of its mask functions.

Run: python tests/goldens/roi_align_goldens.py, with torch and torchvision installed.
The file in this folder was made by torch 2.14.1 and torchvision 0.29.1 on a CPU.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes
from torchvision.ops import MultiScaleRoIAlign, roi_align

# Maps of 13 x 11 with stride 4: an image of 52 x 44. x_min, y_min, x_max, y_max.
BOXES = [
    [3.1, 5.2, 30.7, 41.9],  # inside
    [0, 0, 44, 52],  # the whole image
    [-9.5, -7.25, 12.5, 20],  # over the left upper corner
    [30, 40, 60, 70],  # over the right lower corner
    [-60, 10, -30, 20],  # outside on the left
    [10, 80, 20, 120],  # outside below
    [-100, -100, 200, 300],  # around the image
    [20.3, 20.4, 21.1, 20.9],  # tiny: under one feature pixel
    [16, 16, 16, 16],  # without area
    [8, 8, 8, 30],  # without width
    [40, 48, 44, 52],  # the last feature pixel
    [-4, -4, 2, 3],  # first samples at most one pixel outside
    [42, 50, 47.9, 55.9],
    [1, 30, 43, 33],  # wide
    [33, 2, 36, 51],  # high
]
# An image of 250 x 310; sides from 8 to 500 pixels around the limits between the levels.
SIDES = (8, 30, 55.9, 56.5, 70, 111.9, 112, 112.2, 160, 223.9, 224, 240, 300, 447, 448, 500)


def draw(shape, seed):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype("int8")


def channels_first(array):
    return torch.from_numpy(np.moveaxis(array.astype("float32"), -1, -3).copy())


def channels_last(tensor):
    return np.moveaxis(tensor.detach().numpy(), -3, -1)


def two_images(boxes):
    """Return (2, R, 4): the boxes, and the boxes in reverse order, moved a little."""
    boxes = np.array(boxes, "float32")
    return np.stack([boxes, boxes[::-1] + np.float32(0.7)])


def with_gradient(pool, maps, size):
    """Return the pooled boxes and the gradients of their sum with the weights that are returned."""
    tensors = [channels_first(values).requires_grad_() for values in maps]
    pooled = pool(tensors)
    shape = (*pooled.shape[:1], size, size, pooled.shape[1])
    weights = draw(shape, 7)
    (pooled * channels_first(weights)).sum().backward()
    return channels_last(pooled), weights, [channels_last(tensor.grad) for tensor in tensors]


def one_level():
    features, boxes = draw((2, 13, 11, 3), 0), two_images(BOXES)
    results = {"features": features, "boxes": boxes}
    rois = [torch.from_numpy(image) for image in boxes]
    for aligned in (False, True):
        for size, ratio in ((3, 2), (2, 3)):
            pooled, weights, (gradient,) = with_gradient(
                lambda maps: roi_align(maps[0], rois, size, 0.25, ratio, aligned),  # noqa: B023
                [features],
                size,
            )
            name = f"aligned{int(aligned)}_size{size}_ratio{ratio}"
            results[name] = pooled.reshape(2, -1, *pooled.shape[1:])
            results[f"{name}_weights"] = weights.reshape(results[name].shape)
            results[f"{name}_gradient"] = gradient
    return results


def pyramid():
    maps = [draw((2, -(-250 // s), -(-310 // s), 2), s) for s in (4, 8, 16, 32)]
    rng = np.random.default_rng(1)
    sides = np.array(SIDES)[:, None] * np.array([[1, 1], [2, 0.5]])[np.arange(len(SIDES)) % 2]
    corners = rng.uniform(-20, 200, (len(SIDES), 2))
    boxes = two_images(np.concatenate([corners, corners + sides], axis=1))
    pool = MultiScaleRoIAlign(["2", "3", "4", "5"], 3, 2)
    rois = [torch.from_numpy(image) for image in boxes]
    pooled, weights, gradients = with_gradient(
        lambda tensors: pool(
            OrderedDict(zip("2345", tensors, strict=True)), rois, [(250, 310), (250, 310)]
        ),
        maps,
        3,
    )
    results = {"boxes": boxes, "pooled": pooled.reshape(2, -1, 3, 3, 2)}
    results["weights"] = weights.reshape(results["pooled"].shape)
    for index in range(4):
        results[f"map{index}"], results[f"gradient{index}"] = maps[index], gradients[index]
    return results


def mask_targets():
    y, x = np.mgrid[:50, :70]
    instances = np.zeros((50, 70), "uint8")
    instances[(y - 20) ** 2 + (x - 25) ** 2 < 200] = 1
    instances[(abs(y - 35) < 9) & (abs(x - 50) < 15)] = 2
    instances[7, 60] = 3
    ids = np.array([1, 1, 2, 2, 3, 3, 1, 2, 2, 1, 1, 2, 1], "int32")
    boxes = [
        [11, 6, 39, 34],
        [20.2, 10.7, 30.1, 12.9],
        [36.5, 26.5, 64.25, 43.75],
        [0, 0, 70, 50],
        [60, 7, 61, 8],
        [58.3, 5.1, 62.8, 9.9],
        [25, 20, 25.4, 20.1],
        [40, 30, 40, 30],
        [-30, -20, 140, 110],
        [-80, 3, 30, 40],
        [-20, -20, -3, -5],
        [68, 48, 71, 51],
        [11.5, 0, 12.5, 50],
    ]
    boxes = np.array(boxes, "float32")
    masks = torch.from_numpy(np.stack([instances == 1, instances == 2, instances == 3]))
    results = {"instances": instances, "ids": ids, "boxes": boxes}
    for size in (5, 28):
        targets = project_masks_on_boxes(
            masks, torch.from_numpy(boxes), torch.from_numpy(ids) - 1, size
        )
        results[f"size{size}"] = targets.numpy()
    return results


def pasted_masks():
    boxes = [
        [3, 4, 20, 30],
        [2.6, 5.5, 9.4, 8.1],
        [-6.3, -8.9, 12.2, 11.1],
        [30.2, 20.7, 60, 50],
        [10, 10, 10.2, 10.1],
        [-20, -10, 80, 60],
        [46, 32, 47, 33],
        [-0.4, -0.6, 5, 6],
    ]
    boxes = np.array(boxes, "float32")
    masks = np.random.default_rng(3).random((len(boxes), 28, 28)).astype("float16")
    pasted = paste_masks_in_image(
        torch.from_numpy(masks.astype("float32"))[:, None], torch.from_numpy(boxes), (33, 47)
    )
    return {"masks": masks, "boxes": boxes, "pasted": pasted[:, 0].numpy()}


def main():
    parts = {
        "level": one_level(),
        "pyramid": pyramid(),
        "targets": mask_targets(),
        "paste": pasted_masks(),
    }
    arrays = {
        f"{part}_{name}": value for part, rows in parts.items() for name, value in rows.items()
    }
    file = Path(__file__).with_name("roi_align.npz")
    np.savez_compressed(file, **arrays)
    print(f"{file}: torch {torch.__version__}, torchvision {torchvision.__version__}")


if __name__ == "__main__":
    main()
