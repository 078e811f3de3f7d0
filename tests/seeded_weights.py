"""Random state dicts that NumPy regenerates anywhere, so that goldens need no weights files."""

import math
import zlib

import numpy as np

GAIN = {  # of kernels; 1 keeps the variance of activations behind a ReLU
    "rpn.head.cls_logits": 0.3,
    "rpn.head.bbox_pred": 0.1,
    "roi_heads.box_predictor.cls_score": 0.5,
    "roi_heads.box_predictor.bbox_pred": 0.5,
}


def seeded_tensor(name: str, shape: tuple) -> np.ndarray:
    """The tensor of this name in a state dict: float32, the same in every process.

    Only `RandomState` draws the same numbers in every version of NumPy.
    """
    kind = name.rsplit(".", 1)[-1]
    if kind == "num_batches_tracked":
        return np.array(3, "int64")
    random = np.random.RandomState(zlib.crc32(name.encode()))
    values = random.uniform(-1, 1, shape)
    if kind == "running_mean":
        values = 0.2 * values
    elif kind == "running_var":
        values = 1 + 0.3 * values
    elif kind == "bias":
        values = 0.1 * values
    elif len(shape) == 1:  # the scale of batch normalization; small: many blocks amplify rounding
        values = 0.65 + 0.25 * values
    else:
        fan_in = math.prod(shape[1:])
        gain = GAIN.get(name.rsplit(".", 1)[0], 1.0)
        values = gain * math.sqrt(6 / fan_in) * values
    return values.astype("float32")


def seeded_direction(name: str, shape: tuple) -> np.ndarray:
    """Random numbers of mean square 1/3: a gradient times them is as large as its norm."""
    random = np.random.RandomState(zlib.crc32(f"{name} direction".encode()))
    return random.uniform(-1, 1, shape).astype("float32")


def seeded_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image (H, W, 3) uint8: smooth waves in three channels."""
    y, x = np.mgrid[:height, :width]
    random = np.random.RandomState(seed)
    channels = []
    for _ in range(3):
        a, b, c, d = random.uniform(0.05, 0.5, 4)
        channels.append(np.sin(a * x + b * y) + np.sin(c * x - d * y + 1))
    return (127.5 + 60 * np.stack(channels, -1)).astype("uint8")
