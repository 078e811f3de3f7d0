"""Time and peak memory of the operations of detectors, compared with torchvision's C++ kernels.

Each library runs in a process of its own, and they take turns on the same arrays, with one thread
and with two. tfseg runs in a TensorFlow graph, as `fit` does on a CPU, and compiled by XLA.
torchvision may be installed elsewhere, for the same Python version; without it there are no ratios:

    TORCHVISION_PYTHON=/path/to/venv/bin/python python tests/benchmarks/detection_ops.py

Rows with two images. "proposals": five pyramid levels of an image of 480 x 640, of which the best
2000 boxes each go through non-maximum suppression at IoU 0.7, scattered (a network without
training) or in clusters around 20 objects (a trained one). "detections": 4096 boxes of 80 classes,
at IoU 0.5, of which 100 remain. RoIAlign reads a pyramid of strides 4 to 32 with 256 channels, of
images of 480 x 640, for 512 boxes each in 7 x 7 bins or 128 in 14 x 14; "training" includes the
gradient. "mask targets": 28 x 28 crops of 8 objects for 128 boxes per image.
"""

import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from processes import (
    answer,
    memory,
    own_packages_first,
    reset_peak_memory,
    start,
    start_with,
)

ROUNDS, BUDGET = 15, 10
LEVELS = (2000, 2000, 2000, 900, 240)  # at most the anchors of the level
SIDES = ("tfseg", "tfseg XLA", "torchvision")


def scattered(rng, count):
    centers = rng.uniform(0, (640, 480), (2, count, 2))
    return centers, np.exp(rng.normal(3.5, 0.4, (2, count, 2)))


def clustered(rng, count, objects=20):
    centers, sides = (
        rng.uniform(0, (640, 480), (2, objects, 2)),
        rng.uniform(20, 200, (2, objects, 2)),
    )
    near = rng.integers(0, objects, (2, count, 1))
    centers, sides = np.take_along_axis(centers, near, 1), np.take_along_axis(sides, near, 1)
    centers = centers + rng.normal(0, 0.15, centers.shape) * sides
    return centers, sides * np.exp(rng.normal(0, 0.2, sides.shape))


def candidates(draw, count, classes=None):
    """Return boxes (2, count, 4), scores (2, count) and classes (2, count) or None."""
    rng = np.random.default_rng(0)
    centers, sides = draw(rng, count)
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], -1).astype("float32")
    scores = rng.random((2, count), "float32")
    return boxes, scores, None if classes is None else rng.integers(0, classes, (2, count))


# {row: (list of arrays of `candidates`, IoU threshold, rows to keep of each)}
NMS_ROWS = {
    "proposals, scattered": ([candidates(scattered, count) for count in LEVELS], 0.7, 2000),
    "proposals, clustered": ([candidates(clustered, count) for count in LEVELS], 0.7, 2000),
    "detections": ([candidates(clustered, 4096, 80)], 0.5, 100),
}


HEIGHT, WIDTH, STRIDES, CHANNELS = 480, 640, (4, 8, 16, 32), 256
# {row: (boxes per image, size, with the gradient)}
ROI_ROWS = {
    "RoIAlign 7 x 7": (512, 7, False),
    "RoIAlign 7 x 7, training": (512, 7, True),
    "RoIAlign 14 x 14": (128, 14, False),
    "RoIAlign 14 x 14, training": (128, 14, True),
}
MASK_ROW = "mask targets"


def regions(count):
    """Return boxes (2, count, 4) inside of the image, with sides from 16 to 400 pixels."""
    rng = np.random.default_rng(0)
    side = np.exp(rng.uniform(np.log(16), np.log(400), (2, count, 1)))
    slant = np.exp(rng.uniform(-0.35, 0.35, (2, count, 1)))
    sides = np.concatenate([side * slant, side / slant], -1)
    centers = rng.uniform(0, (WIDTH, HEIGHT), (2, count, 2))
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], -1)
    return boxes.clip(0, (WIDTH, HEIGHT, WIDTH, HEIGHT)).astype("float32")


def pyramid():
    """Return a list of (2, h, w, C) float32 maps."""
    rng = np.random.default_rng(1)
    shapes = [(2, -(-HEIGHT // s), -(-WIDTH // s), CHANNELS) for s in STRIDES]
    return [rng.standard_normal(shape, "float32") for shape in shapes]


def objects():
    """Return instances (2, H, W) int32, boxes (2, 128, 4) and ids (2, 128) from 1."""
    rng = np.random.default_rng(2)
    instances = rng.integers(0, 9, (2, 6, 8)).repeat(HEIGHT // 6, 1).repeat(WIDTH // 8, 2)
    return instances.astype("int32"), regions(128), rng.integers(1, 9, (2, 128)).astype("int32")


def tfseg_roi_steps(xla):
    """Return {row: step}; a step returns the mean of the result, and of its gradient's size."""
    import tensorflow as tf

    from tfseg.ops import crop_masks, multiscale_roi_align

    maps = [tf.constant(values) for values in pyramid()]
    compiled = {"jit_compile": xla, "autograph": False}

    def step(count, size, training):
        boxes = tf.constant(regions(count))

        @tf.function(**compiled)
        def pool(maps):
            with tf.GradientTape() as tape:
                tape.watch(maps)
                pooled = multiscale_roi_align(maps, boxes, STRIDES, size)
                total = tf.reduce_sum(pooled)
            gradients = tape.gradient(total, maps) if training else []
            return pooled, gradients

        def run():
            pooled, gradients = pool(maps)
            return summary(pooled.numpy(), [values.numpy() for values in gradients])

        return run

    @tf.function(**compiled)
    def targets(*arguments):
        return crop_masks(*arguments, 28)

    arguments = [tf.constant(values) for values in objects()]
    steps = {row: step(*setup) for row, setup in ROI_ROWS.items()}
    return {**steps, MASK_ROW: lambda: summary(targets(*arguments).numpy(), [])}


def summary(pooled, gradients):
    return [round(float(values[0].mean()), 5) for values in (pooled, *gradients[:1])]


def tfseg_steps(threads, xla):
    """Return {row: step}; a step returns the number of boxes kept."""
    import keras  # noqa: F401  imports TensorFlow first
    import tensorflow as tf

    from tfseg.ops import nms

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def step(levels, threshold, most):
        @tf.function(jit_compile=xla, autograph=False)
        def suppress(levels):
            counts = [nms(b, s, threshold, min(most, b.shape[1]), c)[1] for b, s, c in levels]
            return sum(tf.reduce_sum(tf.cast(kept, "int32")) for kept in counts)

        constants = [[a if a is None else tf.constant(a) for a in level] for level in levels]
        return lambda: int(suppress(constants))

    steps = {row: step(*setup) for row, setup in NMS_ROWS.items()}
    return {**steps, **tfseg_roi_steps(xla)}


def torchvision_roi_steps():
    """Return the same rows as `tfseg_roi_steps`."""
    import torch
    from torchvision.models.detection.roi_heads import project_masks_on_boxes
    from torchvision.ops import MultiScaleRoIAlign

    maps = {
        str(index): torch.from_numpy(np.moveaxis(values, -1, 1).copy())
        for index, values in enumerate(pyramid())
    }

    def step(count, size, training):
        pool = MultiScaleRoIAlign(list(maps), size, 2)
        boxes = [torch.from_numpy(image) for image in regions(count)]
        tensors = {name: values.clone().requires_grad_(training) for name, values in maps.items()}

        def run():
            pooled = pool(tensors, boxes, [(HEIGHT, WIDTH)] * 2)
            if not training:
                return summary(pooled.numpy().reshape(2, -1), [])
            for values in tensors.values():
                values.grad = None
            pooled.sum().backward()
            gradients = [values.grad.numpy() for values in tensors.values()]
            return summary(pooled.detach().numpy().reshape(2, -1), gradients)

        return run

    instances, boxes, ids = (torch.from_numpy(values) for values in objects())
    masks = torch.stack([instances == index for index in range(1, 9)], 1)

    def targets():
        crops = [project_masks_on_boxes(masks[i], boxes[i], ids[i] - 1, 28) for i in range(2)]
        return summary(torch.stack(crops).numpy(), [])

    return {**{row: step(*setup) for row, setup in ROI_ROWS.items()}, MASK_ROW: targets}


def torchvision_steps(threads):
    """Return {row: step}; a step returns the number of boxes kept."""
    import torch
    from torchvision.ops import batched_nms, nms

    torch.set_num_threads(threads)

    def step(levels, threshold, most):
        levels = [[a if a is None else torch.from_numpy(a) for a in level] for level in levels]

        def suppress():
            kept = 0
            for boxes, scores, classes in levels:
                for image in range(2):
                    if classes is None:
                        rows = nms(boxes[image], scores[image], threshold)
                    else:
                        rows = batched_nms(boxes[image], scores[image], classes[image], threshold)
                    kept += len(rows[:most])
            return kept

        return suppress

    steps = {row: step(*setup) for row, setup in NMS_ROWS.items()}
    return {**steps, **torchvision_roi_steps()}


def steps_of(side, threads):
    """Return {row: step} of a side; nothing if its library is missing."""
    own_packages_first()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        if side == "torchvision":
            return torchvision_steps(threads)
        return tfseg_steps(threads, xla=side == "tfseg XLA")
    except ImportError:
        return {}


def serve(side, threads, pipe):
    """Send the rows; then answer each row with the seconds of one step, and its result."""
    steps = steps_of(side, threads)
    pipe.send(list(steps))
    while row := pipe.recv():
        begin = time.perf_counter()
        result = steps[row]()
        pipe.send((time.perf_counter() - begin, result))


def started(side, *arguments):
    """Start a side and return the pipe to it."""
    if side == "torchvision":
        return start_with("TORCHVISION_PYTHON", *arguments)[1]
    return start(*arguments)[1]


def in_turns(row, pipes):
    """Return the median seconds of a row by side, and their results; the first turn compiles."""
    taken, results, first = {side: [] for side in pipes}, {}, time.perf_counter()
    for turn in range(ROUNDS + 1):
        if turn > 1 and time.perf_counter() - first > BUDGET:
            break
        for side, pipe in pipes.items():
            seconds, results[side] = answer(pipe, row)
            if turn:
                taken[side].append(seconds)
    return {side: statistics.median(values) for side, values in taken.items()}, results


def compare(threads):
    """Print the times of each row and return the ratios to torchvision's."""
    pipes = {side: started(side, serve, side, threads) for side in SIDES}
    rows = {side: pipe.recv() for side, pipe in pipes.items()}
    pipes = {side: pipe for side, pipe in pipes.items() if rows[side]}
    ratios = {}
    for row in rows["tfseg"]:
        taken, results = in_turns(row, pipes)
        peer = taken.get("torchvision")
        ratios[row] = {side: seconds / peer for side, seconds in taken.items()} if peer else None
        each = (f"{side} {1e3 * taken[side]:.1f} ms ({results[side]})," for side in taken)
        print(f"{threads} threads, {row:26s}", *each, "ratios", ratios[row], flush=True)
    for pipe in pipes.values():
        pipe.send("")
    return ratios


def peak(side, row, pipe):
    """Send the memory in MB that one step takes beyond its arguments; in a fresh process."""
    steps = steps_of(side, threads=1)
    if not steps:
        pipe.send(None)
        return
    reset_peak_memory()
    before = memory("VmRSS")
    steps[row]()
    pipe.send((memory("VmHWM") - before) / 2**20)


def main():
    ratios = {threads: compare(threads) for threads in (1, 2)}
    peaks = {}
    for row in (*NMS_ROWS, *ROI_ROWS, MASK_ROW):
        peaks[row] = {side: started(side, peak, side, row).recv() for side in SIDES}
        print(
            f"peak memory of {row} beyond its arguments, first call, MB: {peaks[row]}", flush=True
        )
    print(json.dumps({"ratios": ratios, "peak_mb": peaks, "targets": {"ratio": 1.0}}))


if __name__ == "__main__":
    main()
