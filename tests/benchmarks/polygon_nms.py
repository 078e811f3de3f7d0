"""Time of the suppression of star-convex polygons, compared with StarDist's C++ code.

Both get the same 5,000 candidates with 32 rays, as a network gives them: many around each object
("crowded": 100 objects, "usual": 500) or few ("sparse": 2,000); or as one that has learned little
gives them ("jagged": outlines that differ from ray to ray), on one thread. tfseg runs in a
TensorFlow graph and compiled by XLA. They run in processes of their own and take turns. StarDist
(0.9.2) may be installed elsewhere; without it there are no ratios:

    STARDIST_PYTHON=/path/to/venv/bin/python python tests/benchmarks/polygon_nms.py
"""

import json
import multiprocessing
import os
import site
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from processes import answer, start

ROUNDS, CANDIDATES, RAYS, OVERLAP = 7, 5000, 32, 0.4
ROWS = {"crowded": (100, 0.05), "usual": (500, 0.05), "sparse": (2000, 0.05), "jagged": (100, 0.6)}
SIDES = ("tfseg", "tfseg XLA", "stardist")


def candidates(objects, noise):
    """Return distances (N, R), centers (N, 2) and scores (N,) by descending score.

    Args:
        objects: how many objects there are.
        noise: std of the logarithm of the distances of candidates for one object.
    """
    rng = np.random.default_rng(0)
    side = 32 * int(np.ceil(objects**0.5))
    cells = rng.permutation(int(np.ceil(objects**0.5)) ** 2)[:objects]
    middles = 32 * np.stack(np.divmod(cells, side // 32), -1) + rng.uniform(12, 20, (objects, 2))
    radii = rng.uniform(9, 17, (objects, 1))
    waves = np.cumsum(rng.normal(0, 0.05, (objects, RAYS)), -1)
    owner = rng.integers(0, objects, CANDIDATES)
    shift = np.round(rng.normal(0, 0.25, (CANDIDATES, 2)) * radii[owner])
    distances = radii * np.exp(waves - waves.mean(-1, keepdims=True))
    distances = distances[owner] * np.exp(rng.normal(0, noise, (CANDIDATES, RAYS)))
    scores = np.exp(-np.hypot(*shift.T) / 10) * rng.uniform(0.8, 1, CANDIDATES)
    order = np.argsort(-scores)
    arrays = (distances[order], np.round(middles[owner] + shift)[order], scores[order])
    return [array.astype("float32") for array in arrays]


def tfseg_steps(xla):
    """Return {row: step}; a step returns the number of polygons kept."""
    import keras  # noqa: F401  imports TensorFlow first
    import tensorflow as tf

    from tfseg.ops import polygon_nms

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    @tf.function(jit_compile=xla, autograph=False)
    def suppress(*arrays):
        return polygon_nms(*arrays, OVERLAP)[1]

    def step(objects, noise):
        constants = [tf.constant(array[None]) for array in candidates(objects, noise)]
        return lambda: int(np.count_nonzero(suppress(*constants)))

    return {row: step(*arguments) for row, arguments in ROWS.items()}


def stardist_steps():
    """Return {row: step}; a step returns the number of polygons kept."""
    from stardist.nms import non_maximum_suppression_inds

    def step(objects, noise):
        distances, centers, scores = candidates(objects, noise)
        points = np.ascontiguousarray(centers[:, ::-1])  # row and column

        def suppress():
            kept = non_maximum_suppression_inds(
                distances, points, scores, thresh=OVERLAP, verbose=False
            )
            return int(np.count_nonzero(kept))

        return suppress

    return {row: step(*arguments) for row, arguments in ROWS.items()}


def steps_of(side):
    """Return {row: step} of a side; nothing if its library is missing."""
    # A child process gets the import path of its parent, also if its interpreter is another one.
    sys.path[:0] = site.getsitepackages()
    try:
        return stardist_steps() if side == "stardist" else tfseg_steps(side == "tfseg XLA")
    except ImportError:
        return {}


def serve(side, pipe):
    """Send the rows; then answer each row with the CPU seconds of one step, and its result."""
    steps = steps_of(side)
    pipe.send(list(steps))
    while row := pipe.recv():
        begin = time.process_time()  # other programs may use the cores
        result = steps[row]()
        pipe.send((time.process_time() - begin, result))


def started(side):
    """Start a side; StarDist's may have an interpreter of its own."""
    other = os.environ.get("STARDIST_PYTHON")
    multiprocessing.set_executable(other if side == "stardist" and other else sys.executable)
    _, pipe = start(serve, side)
    multiprocessing.set_executable(sys.executable)
    return pipe


def main():
    pipes = {side: started(side) for side in SIDES}
    pipes = {side: pipe for side, pipe in pipes.items() if pipe.recv()}
    seconds, ratios = {}, {}
    for row in ROWS:
        taken, kept = {side: [] for side in pipes}, {}
        for turn in range(ROUNDS + 1):
            for side, pipe in pipes.items():
                elapsed, kept[side] = answer(pipe, row)
                if turn:  # the first one compiles
                    taken[side].append(elapsed)
        seconds[row] = {side: statistics.median(values) for side, values in taken.items()}
        peer = seconds[row].get("stardist")
        ratios[row] = {side: s / peer for side, s in seconds[row].items()} if peer else None
        each = (f"{side} {1e3 * seconds[row][side]:.0f} ms ({kept[side]})," for side in pipes)
        print(f"{row:8s}", *each, "ratios", ratios[row], flush=True)
    for pipe in pipes.values():
        pipe.send("")
    print(json.dumps({"seconds": seconds, "ratios": ratios, "targets": {"seconds": 1.0}}))


if __name__ == "__main__":
    main()
