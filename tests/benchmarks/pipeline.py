"""Images per second from CamVid files to augmented batches: `pipeline`, decoding only, and torch.

`pipeline` uses an affine transform, crop, flip and color jitter, 360 x 480 -> 16 x 256 x 256.
"read by Python" is the same, but TensorFlow reads no files itself. "decode only" reads the same
files with the functions of Python and as many threads, and drops them. If torch and albumentations
are installed, a DataLoader with two workers and OpenCV does the same as `pipeline`. Each runs in
its own process, and they take turns of one epoch. Ratios are medians over the turns. At the end
`pipeline` runs 20 epochs, and its memory is measured after each.

Decoding and augmentation share the two cores, so the augmentation leaves less time for decoding.
The CPU time per image shows how much of the processor each needs.
"""

import json
import multiprocessing
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BATCH, SIZE, TURNS, EPOCHS = 16, 256, 5, 20
TARGETS = {"decode only": 0.9}
SCALE, ANGLE, JITTER = (0.75, 1.4), 10, 0.2
DATA = Path(os.environ.get("TFSEG_DATA", Path(__file__).parents[3] / "shared" / "data")) / "camvid"


def reader():
    from tfseg.datasets import camvid

    return camvid(DATA)[0]


def run_tfseg():
    import keras  # noqa: F401

    from tfseg.data import Augment, pipeline

    color = {"brightness": JITTER, "contrast": JITTER, "saturation": JITTER}
    batches = pipeline(
        reader(), BATCH, Augment(SIZE, scale=SCALE, rotate=ANGLE, flip="horizontal", **color)
    )
    return lambda: sum(len(images) for images, _ in batches)


def run_by_python():
    import tfseg.data  # noqa: F401

    sys.modules["tfseg.data.pipeline"].file_source = lambda *arguments: None
    return run_tfseg()


def run_decode_only():
    from concurrent.futures import ThreadPoolExecutor

    from tfseg.data import read_image, read_mask

    pairs = [(DATA / "train" / f"{s}.jpg", DATA / "trainannot" / f"{s}.png") for s in names()]
    pool = ThreadPoolExecutor(os.cpu_count())
    return lambda: sum(
        pool.map(lambda pair: bool(read_image(pair[0], 3).size and read_mask(pair[1]).size), pairs)
    )


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
    "read by Python": run_by_python,
    "decode only": run_decode_only,
    "torch DataLoader": run_torch,
}


def serve(name, pipe):
    """Run an epoch per request, and send (images, seconds, CPU seconds, MiB)."""
    try:
        run = SOURCES[name]()
        run()
        pipe.send("ready")
    except ImportError:
        pipe.send("")
    while pipe.recv():
        began, cpu = time.perf_counter(), cpu_seconds()
        count = run()
        pipe.send((count, time.perf_counter() - began, cpu_seconds() - cpu, memory()))


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
            ours.send(False)

    def run_epoch(name):
        pipes[name].send(True)
        return pipes[name].recv()

    turns = [{name: run_epoch(name) for name in pipes} for _ in range(TURNS)]
    rates, cpu, ratios = {}, {}, {}
    for name in pipes:
        rates[name] = statistics.median(rate(turn[name]) for turn in turns)
        cpu[name] = statistics.median(turn[name][2] / turn[name][0] for turn in turns)
        if name != "tfseg":
            ratios[name] = statistics.median(rate(t["tfseg"]) / rate(t[name]) for t in turns)
    for name in pipes:
        line = f"{name}: {rates[name]:.0f} images/s, {1e3 * cpu[name]:.2f} ms of CPU per image"
        if name in ratios:
            line += f"; the rate of tfseg is {ratios[name]:.2f} of it"
        if name in TARGETS:
            line += f" (target {TARGETS[name]})"
        print(line, flush=True)
    used = [run_epoch("tfseg")[3] for _ in range(EPOCHS)]
    after = ", ".join(f"{used[epoch - 1]:.0f}" for epoch in (1, 5, 10, 20))
    print(f"memory after epochs 1, 5, 10, 20: {after} MiB")
    for pipe in pipes.values():
        pipe.send(False)
    print(
        json.dumps(
            {
                "images_per_second": rates,
                "cpu": cpu,
                "ratio": ratios,
                "memory": used,
                "targets": TARGETS,
            }
        )
    )


if __name__ == "__main__":
    main()
