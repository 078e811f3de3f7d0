"""Time and peak memory of the operations of detectors, compared with torchvision's C++ kernels.

Each library runs in a process of its own, and they take turns on the same arrays, with one thread
and with two. tfseg runs in a TensorFlow graph, as `fit` does on a CPU, and compiled by XLA.
torchvision may be installed elsewhere, for the same Python version; without it there are no ratios:

    TORCHVISION_PYTHON=/path/to/venv/bin/python python tests/benchmarks/detection_ops.py

Rows with two images. "proposals": five pyramid levels of an image of 480 x 640, of which the best
2000 boxes each go through non-maximum suppression at IoU 0.7, scattered (a network without
training) or in clusters around 20 objects (a trained one). "detections": 4096 boxes of 80 classes,
at IoU 0.5, of which 100 remain.
"""

import json
import multiprocessing
import os
import site
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from processes import answer, start

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

    return {row: step(*setup) for row, setup in NMS_ROWS.items()}


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

    return {row: step(*setup) for row, setup in NMS_ROWS.items()}


def steps_of(side, threads):
    """Return {row: step} of a side; nothing if its library is missing."""
    # A child process gets the import path of its parent, also if its interpreter is another one.
    sys.path[:0] = site.getsitepackages()
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
    """Start a side; torchvision's may have an interpreter of its own."""
    other = os.environ.get("TORCHVISION_PYTHON")
    executable = other if side == "torchvision" and other else sys.executable
    multiprocessing.set_executable(executable)
    _, pipe = start(*arguments)
    multiprocessing.set_executable(sys.executable)
    return pipe


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
        print(f"{threads} threads, {row:21s}", *each, "ratios", ratios[row], flush=True)
    for pipe in pipes.values():
        pipe.send("")
    return ratios


def peak(side, row, pipe):
    """Send the memory in MB that one step takes beyond its arguments; in a fresh process."""
    steps = steps_of(side, threads=1)
    if not steps:
        pipe.send(None)
        return
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _memory("VmRSS")
    steps[row]()
    pipe.send((_memory("VmHWM") - before) / 2**20)


def _memory(field):
    """Return the memory of this process in bytes: VmRSS now, VmHWM at its peak (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def main():
    ratios = {threads: compare(threads) for threads in (1, 2)}
    peaks = {}
    for row in NMS_ROWS:
        peaks[row] = {side: started(side, peak, side, row).recv() for side in SIDES}
        print(
            f"peak memory of {row} beyond its arguments, first call, MB: {peaks[row]}", flush=True
        )
    print(json.dumps({"ratios": ratios, "peak_mb": peaks, "targets": {"ratio": 1.0}}))


if __name__ == "__main__":
    main()
