"""Images per second from CamVid files to augmented batches: `pipeline`, its parts, and torch.

`pipeline` uses an affine transform, crop, flip and color jitter, 360 x 480 -> 16 x 256 x 256.
"from memory" is the same with `cache="memory"`, and "read by Python" the same, but TensorFlow reads
no files itself. "decode only" decodes the same files in a bare map of tf.data, and "warp only"
augments batches that are in memory: the CPU time of both is the least that `pipeline` needs. If
torch and albumentations are installed, a DataLoader with two workers and OpenCV does the same as
`pipeline`. Each runs in its own process, and they take turns of one epoch of a stream that goes on,
as in `tfseg train`. Ratios are medians over the turns.

Then for `pipeline`: the seconds until the first batch of an epoch, when the kernel was compiled
before; how long Python's global lock is held per image, measured by a thread that always wants it;
and the memory after each of 20 epochs.
"""

import itertools
import json
import multiprocessing
import os
import statistics
import sys
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BATCH, SIZE, TURNS, EPOCHS = 16, 256, 5, 20
TARGETS = {"torch DataLoader": 1.2, "of the parts": 0.9, "between epochs": 0.5, "lock": 0.05}
SCALE, ANGLE, JITTER = (0.75, 1.4), 10, 0.2
DATA = Path(os.environ.get("TFSEG_DATA", Path(__file__).parents[3] / "shared" / "data")) / "camvid"


def reader():
    from tfseg.datasets import camvid

    return camvid(DATA)[0]


def augmentation():
    from tfseg.data import Augment

    color = {"brightness": JITTER, "contrast": JITTER, "saturation": JITTER}
    return Augment(SIZE, scale=SCALE, rotate=ANGLE, flip="horizontal", **color)


def batches(cache=None):
    from tfseg.data import pipeline

    return pipeline(reader(), BATCH, augmentation(), cache=cache)


def counted(dataset):
    """Return a function that runs the next epoch of a stream and returns the number of images."""
    stream = iter(dataset.repeat())
    return lambda: sum(len(images) for images, _ in itertools.islice(stream, len(dataset)))


def run_tfseg():
    return counted(batches())


def run_from_memory():
    return counted(batches("memory"))


def run_by_python():
    import tfseg.data  # noqa: F401

    sys.modules["tfseg.data.pipeline"].file_source = lambda *arguments: None
    return run_tfseg()


def run_decode_only():
    import tensorflow as tf

    pairs = [(DATA / "train" / f"{s}.jpg", DATA / "trainannot" / f"{s}.png") for s in names()]
    files = [list(map(str, paths)) for paths in zip(*pairs, strict=True)]

    def decode(image, mask):
        image = tf.io.decode_jpeg(tf.io.read_file(image), 3, dct_method="INTEGER_ACCURATE")
        return image, tf.io.decode_png(tf.io.read_file(mask), 1)

    dataset = tf.data.Dataset.from_tensor_slices(tuple(files))
    dataset = dataset.map(decode, num_parallel_calls=os.cpu_count())
    return lambda: int(dataset.reduce(0, lambda count, pair: count + 1))


def run_warp_only():
    import numpy as np
    import tensorflow as tf

    augment = augmentation()
    sampler, samples = augment.crop_sampler, reader()
    pieces = [sampler.extract(samples[index], np.array([0, index])) for index in range(BATCH)]
    pieces = {name: np.stack([piece[name] for piece in pieces]) for name in pieces[0]}
    keys = np.stack([np.zeros(BATCH, int), np.arange(BATCH)], axis=1)
    steps = len(samples) // BATCH
    dataset = tf.data.Dataset.from_tensors((pieces, keys)).repeat(steps)
    dataset = dataset.map(augment, num_parallel_calls=2)
    return lambda: BATCH * int(dataset.reduce(0, lambda count, batch: count + 1))


def names():
    return (DATA / "train.txt").read_text().split()


class Files:
    """CamVid as a torch dataset of (image, mask), with OpenCV and albumentations."""

    def __init__(self):
        import albumentations as A

        self.names = names()
        self.chain = A.Compose(
            [
                A.Affine(scale=SCALE, rotate=(-ANGLE, ANGLE), p=1),
                A.RandomCrop(SIZE, SIZE),
                A.HorizontalFlip(p=0.5),
                A.ColorJitter(*[(1 - JITTER, 1 + JITTER)] * 3, (0, 0), p=1),
            ]
        )

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        import cv2

        cv2.setNumThreads(1)
        name = self.names[index]
        image = cv2.cvtColor(cv2.imread(str(DATA / "train" / f"{name}.jpg")), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(DATA / "trainannot" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        changed = self.chain(image=image, mask=mask)
        return changed["image"], changed["mask"]


def run_torch():
    from torch.utils.data import DataLoader

    # A forked worker hangs in OpenCV 5, since threads are not forked.
    options = {"num_workers": 2, "persistent_workers": True, "multiprocessing_context": "spawn"}
    loader = DataLoader(Files(), BATCH, shuffle=True, drop_last=True, **options)
    return lambda: sum(len(images) for images, _ in loader)


SOURCES = {
    "tfseg": run_tfseg,
    "from memory": run_from_memory,
    "read by Python": run_by_python,
    "decode only": run_decode_only,
    "warp only": run_warp_only,
    "torch DataLoader": run_torch,
}


def serve(name, pipe):
    """Answer each request with measurements of an epoch: see `measure` and `first_batch`."""
    try:
        run = SOURCES[name]()
        run()
        pipe.send("ready")
    except ImportError:
        pipe.send("")
    dataset = None
    while request := pipe.recv():
        if request == "first batch":
            dataset = dataset or batches()
            pipe.send(first_batch(dataset))
        else:
            pipe.send(lock_seconds(run) if request == "lock" else measure(run))


def measure(run):
    """Run an epoch and return (images, seconds, CPU seconds, MiB)."""
    began, cpu = time.perf_counter(), cpu_seconds()
    count = run()
    return count, time.perf_counter() - began, cpu_seconds() - cpu, memory()


def first_batch(dataset):
    """Return the seconds until the first batch of an epoch."""
    began = time.perf_counter()
    iterator = iter(dataset)
    next(iterator)
    return time.perf_counter() - began


def lock_seconds(run):
    """Return how long others held Python's global lock per image (Linux).

    A thread computes all the time. When it neither runs nor waits for a core, it waits for the
    lock.
    """
    state = {"is_over": False}

    def spin():
        stat = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        began, before = time.perf_counter_ns(), busy(stat)
        while not state["is_over"]:
            sum(range(100))
        state["waited"] = time.perf_counter_ns() - began - (busy(stat) - before)

    def busy(stat):
        """Return the nanoseconds that the thread ran or waited for a core."""
        return sum(map(int, stat.read_text().split()[:2]))

    thread = threading.Thread(target=spin)
    thread.start()
    images = run()
    state["is_over"] = True
    thread.join()
    return state["waited"] / 1e9 / images


def cpu_seconds():
    """Return the CPU seconds of this process and its running children (Linux)."""
    ids = [
        os.getpid(),
        *map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()),
    ]
    ticks = [
        sum(map(int, Path(f"/proc/{i}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        for i in ids
    ]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def memory():
    """Return the resident memory of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def rate(measured):
    """Return the images per second of one epoch from `serve`."""
    images, seconds, _, _ = measured
    return images / seconds


def main():
    if not DATA.is_dir():
        print(json.dumps({"skipped": f"{DATA} does not exist; set TFSEG_DATA"}))
        return
    pipes = {}
    for name in SOURCES:
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        multiprocessing.get_context("spawn").Process(target=serve, args=(name, theirs)).start()
        theirs.close()  # so that `recv` raises if the process fails
        if ours.recv():
            pipes[name] = ours
        else:
            ours.send(None)

    def ask(name, request="epoch"):
        pipes[name].send(request)
        return pipes[name].recv()

    turns = [{name: ask(name) for name in pipes} for _ in range(TURNS)]
    rates, cpu, ratios = {}, {}, {}
    for name in pipes:
        rates[name] = statistics.median(rate(turn[name]) for turn in turns)
        cpu[name] = statistics.median(turn[name][2] / turn[name][0] for turn in turns)
        if name != "tfseg":
            ratios[name] = statistics.median(rate(t["tfseg"]) / rate(t[name]) for t in turns)
    ratios["of the parts"] = statistics.median(
        rate(t["tfseg"]) * (1 / rate(t["decode only"]) + 1 / rate(t["warp only"])) for t in turns
    )
    # The parts alone may leave cores idle, which the CPU time does not show.
    ratios["of their CPU"] = (cpu["decode only"] + cpu["warp only"]) / cpu["tfseg"]
    for name in pipes:
        line = f"{name}: {rates[name]:.0f} images/s, {1e3 * cpu[name]:.2f} ms of CPU per image"
        if name in ratios:
            line += f"; the rate of tfseg is {ratios[name]:.2f} of it{target(name)}"
        print(line, flush=True)
    parts = ratios["of the parts"]
    print(
        f"of what both parts allow: {parts:.2f}{target('of the parts')}, by CPU time "
        f"{ratios['of their CPU']:.2f}",
        flush=True,
    )
    first = statistics.median([ask("tfseg", "first batch") for _ in range(TURNS + 1)][1:])
    print(f"first batch of an epoch: {first:.2f} s{target('between epochs')}", flush=True)
    lock = {name: 1e3 * ask(name, "lock") for name in ("tfseg", "read by Python")}
    for name, held in lock.items():
        print(f"lock held by {name}: {held:.3f} ms per image{target('lock')}", flush=True)
    used = [ask("tfseg")[3] for _ in range(EPOCHS)]
    after = ", ".join(f"{used[epoch - 1]:.0f}" for epoch in (1, 5, 10, 20))
    print(f"memory after epochs 1, 5, 10, 20: {after} MiB")
    for pipe in pipes.values():
        pipe.send(None)
    print(
        json.dumps(
            {
                "images_per_second": rates,
                "cpu": cpu,
                "ratio": ratios,
                "first_batch": first,
                "lock": lock,
                "memory": used,
                "targets": TARGETS,
            }
        )
    )


def target(name):
    return f" (target {TARGETS[name]})" if name in TARGETS else ""


if __name__ == "__main__":
    main()
