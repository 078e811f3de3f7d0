"""Time of the star head compared with StarDist 0.9.2, both with Keras on the same CPU.

The networks are U-Nets of the same depth, on gray images, with 32 rays and a grid of 2. Our decoder
is wider than StarDist's at equal filters, so the deepest levels are narrower: 1.43 million
parameters each. Ours is measured as it is, with batch normalization, and without, as StarDist's.
StarDist may be installed elsewhere, for the same Python version; without it there are no ratios:

    STARDIST_PYTHON=/path/to/venv/bin/python python tests/benchmarks/instances.py

Each side has a process of its own and as many threads as there are cores; they take turns. A ratio
is the median over rounds of our time / StarDist's, and the smallest and the largest; "cpu_s" is the
time of all cores, which other jobs on the machine disturb less.

- "train": a step of `train_on_batch` on 4 crops of 256 x 256, targets included in the batch.
- "fit": a step of `fit` with random crops of images in memory, whose targets are made on the way.
- "inference 512" and "inference 2048": from an image of that side to a label map. The weights are
  random, so that the networks find nothing: after they have run, their outputs are replaced by
  those for the cells in the image.

With names of rows as arguments, only these.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from processes import answer, memory, own_packages_first, reset_peak_memory, start, start_with

# Filters after the grid; StarDist has (32, 64, 128, 256).
FILTERS, RAYS, GRID = (32, 64, 112, 192), 32, 2
BATCH, CROP, IMAGES, SIDES = 4, 256, 8, (512, 2048)
ROUNDS, STEPS, BUDGET = 5, 8, 60  # rounds of a row, steps of a fit, seconds of a row
NAMES = ("tfseg", "tfseg without batch norm", "stardist")
TARGET = 1.0


def draw_cells(side):
    """Return (side, side) int32: touching ellipses, numbered, about 500 per 1024 x 1024."""
    rng = np.random.default_rng(side)
    labels = np.zeros((side, side), np.int32)
    count = 500 * side**2 // 1024**2
    for number, center in enumerate(rng.uniform(0, side, (count, 2)), 1):
        radii, turn = rng.uniform(7, 18, 2), rng.uniform(0, np.pi)
        first = np.maximum(np.floor(center - 20), 0).astype(int)
        window = np.s_[first[0] : first[0] + 40, first[1] : first[1] + 40]
        y, x = np.indices(labels[window].shape) + first[:, None, None] - center[:, None, None]
        across = (x * np.cos(turn) + y * np.sin(turn)) / radii[0]
        down = (y * np.cos(turn) - x * np.sin(turn)) / radii[1]
        labels[window][(across**2 + down**2 < 1) & (labels[window] == 0)] = number
    return labels


def draw_image(labels):
    """Return (H, W) uint8: bright cells and noise."""
    noise = np.random.default_rng(0).normal(0, 20, labels.shape)
    return (60 + 100 * (labels > 0) + noise).clip(0, 255).astype("uint8")


def write_images(folder):
    """Write images and labels for training, and what the networks should return for others."""
    from PIL import Image

    from tfseg.ops import object_probabilities, star_distances

    for name in ("images", "labels"):
        (folder / name).mkdir()
    for index in range(IMAGES):
        labels = draw_cells(512 + index)[:512, :512]
        Image.fromarray(draw_image(labels)).save(folder / "images" / f"{index}.png")
        Image.fromarray(labels.astype("uint16")).save(folder / "labels" / f"{index}.png")
    rng = np.random.default_rng(1)
    for side in SIDES:
        labels = draw_cells(side)
        probability = object_probabilities(labels[None, ::GRID, ::GRID])[0]
        probability = probability * rng.uniform(0.9, 1, probability.shape)
        distances = star_distances(labels[None], RAYS, GRID)[0]
        distances = distances * np.exp(rng.normal(0, 0.05, distances.shape))
        arrays = {"probability": probability, "distances": distances}
        arrays = {name: values.astype("float32") for name, values in arrays.items()}
        np.savez(folder / f"{side}.npz", image=draw_image(labels), **arrays)


def use_all_cores():
    import tensorflow as tf

    threads = len(os.sched_getaffinity(0))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def tfseg_side(folder, batch_norm):
    """Return the number of parameters and {row: step}; a step returns a number to compare."""
    import keras

    from tfseg import data
    from tfseg.inference import instance_predictor, predict_instances
    from tfseg.losses import ObjectProbability, StarDistance
    from tfseg.models import instances

    use_all_cores()
    model = instances(
        input_shape=(None, None, 1),
        filters=(FILTERS[0], *FILTERS),
        head_width=128,
        rays=RAYS,
        grid=GRID,
        batch_norm=batch_norm,
    )
    losses = {"object_logits": ObjectProbability(), "distances": 0.2 * StarDistance()}
    model.compile(keras.optimizers.Adam(3e-4), loss=losses)
    reader = data.Folder(folder / "images", folder / "labels", ["cell"], instances=True, channels=1)
    crops = data.pipeline(reader, BATCH, data.Augment(size=CROP), cache="memory")
    batches = crops.map(data.star_targets(RAYS, GRID), num_parallel_calls=2).prefetch(1)
    batch = next(iter(batches))

    def inference(arrays):
        probability = arrays["probability"].clip(1e-6, 1 - 1e-6)[..., None]
        outputs = {"object_logits": np.log(probability / (1 - probability))}
        outputs["distances"] = arrays["distances"]
        run = instance_predictor.outputs_of

        def replaced(*arguments):
            run(*arguments)
            return outputs

        def step():
            instance_predictor.outputs_of = replaced
            found = predict_instances(model, arrays["image"])
            instance_predictor.outputs_of = run
            return int(found["instances"].max())

        return step

    steps = {
        "train": lambda: float(model.train_on_batch(*batch, return_dict=True)["loss"]),
        "fit": clocked_fit(model, batches.repeat),
    }
    return model.count_params(), steps | inference_rows(folder, inference)


def stardist_side(folder):
    """Return the number of parameters and {row: step}; see `tfseg_side`."""
    from PIL import Image
    from stardist.models import Config2D, StarDist2D
    from stardist.models.model2d import StarDistData2D

    use_all_cores()
    config = Config2D(
        n_rays=RAYS,
        grid=(GRID, GRID),
        unet_n_filter_base=FILTERS[0],
        unet_n_depth=len(FILTERS) - 1,
        train_batch_size=BATCH,
        train_patch_size=(CROP, CROP),
    )
    model = StarDist2D(config, basedir=None)
    model.prepare_for_training()
    images, labels = (
        [np.array(Image.open(folder / name / f"{index}.png")) for index in range(IMAGES)]
        for name in ("images", "labels")
    )
    batches = StarDistData2D(
        [image.astype("float32") / 255 for image in images],
        [numbers.astype("int32") for numbers in labels],
        batch_size=BATCH,
        n_rays=RAYS,
        length=10**6,
        patch_size=(CROP, CROP),
        grid=(GRID, GRID),
        foreground_prob=config.train_foreground_only,
    )
    batch = batches[0]

    def inference(arrays):
        outputs = arrays["probability"][None, ..., None], arrays["distances"][None]
        network = model.keras_model
        run = network.predict

        def replaced(*arguments, **options):
            run(*arguments, **options)
            return outputs

        def step():
            network.predict = replaced
            image = arrays["image"].astype("float32") / 255
            found, _ = model.predict_instances(image, prob_thresh=0.5, nms_thresh=0.4)
            network.predict = run
            return len(np.unique(found)) - 1

        return step

    network = model.keras_model
    steps = {
        "train": lambda: float(network.train_on_batch(*batch, return_dict=True)["loss"]),
        "fit": clocked_fit(network, lambda: iter(batches)),
    }
    return network.count_params(), steps | inference_rows(folder, inference)


def clocked_fit(model, batches):
    """Return a step that fits some of `batches()` and returns the loss."""

    def step():
        history = model.fit(batches(), steps_per_epoch=STEPS, epochs=1, verbose=0)
        return history.history["loss"][0]

    return step


def inference_rows(folder, inference):
    return {f"inference {side}": inference(dict(np.load(folder / f"{side}.npz"))) for side in SIDES}


def serve(name, folder, pipe):
    """Send the number of parameters and the rows, or None; then answer each row with its time."""
    own_packages_first()
    try:
        if name == "stardist":
            parameters, steps = stardist_side(folder)
        else:
            parameters, steps = tfseg_side(folder, batch_norm=name == "tfseg")
    except ImportError:
        pipe.send(None)
        return
    pipe.send((parameters, list(steps)))
    while row := pipe.recv():
        reset_peak_memory()
        begin, used = time.perf_counter(), time.process_time()
        result = steps[row]()
        seconds, used = time.perf_counter() - begin, time.process_time() - used
        count = STEPS if row == "fit" else 1
        peak = memory("VmHWM")
        pipe.send({"s": seconds / count, "cpu_s": used / count, "result": result, "peak": peak})


def start_side(name, folder):
    """Start a side and return the pipe to it."""
    if name == "stardist":
        return start_with("STARDIST_PYTHON", serve, name, folder)[1]
    return start(serve, name, folder)[1]


def in_turns(row, pipes):
    """Return the summary of a row; the first turn compiles and does not count."""
    rounds, first = [], time.perf_counter()
    for turn in range(ROUNDS + 1):
        if turn > 3 and time.perf_counter() - first > BUDGET:
            break
        rounds.append({name: answer(pipe, row) for name, pipe in pipes.items()})
    rounds = rounds[1:]
    found = {
        "results": {name: one["result"] for name, one in rounds[-1].items()},
        "peak_mb": {name: max(one[name]["peak"] for one in rounds) >> 20 for name in pipes},
    }
    for clock in ("s", "cpu_s"):
        taken = {name: [one[name][clock] for one in rounds] for name in pipes}
        found[clock] = {name: round(statistics.median(times), 3) for name, times in taken.items()}
        if "stardist" in taken:
            peer = taken.pop("stardist")
            found[f"ratio of {clock}"] = {
                name: spread(np.divide(times, peer)) for name, times in taken.items()
            }
    return found


def spread(values):
    """Return the median, the smallest and the largest of some values."""
    return [round(float(find(values)), 3) for find in (np.median, np.min, np.max)]


def main():
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder))
        started = {name: start_side(name, Path(folder)) for name in NAMES}
        ready = {name: pipe.recv() for name, pipe in started.items()}
        pipes = {name: pipe for name, pipe in started.items() if ready[name]}
        parameters = {name: ready[name][0] for name in pipes}
        print(f"parameters: {parameters}", flush=True)
        rows = {}
        for row in sys.argv[1:] or ready["tfseg"][1]:
            rows[row] = in_turns(row, pipes)
            print(f"{row}: {json.dumps(rows[row])}", flush=True)
        for pipe in pipes.values():
            pipe.send("")
    print(json.dumps({"parameters": parameters, **rows, "targets": {"ratio": TARGET}}))


if __name__ == "__main__":
    main()
