"""Images per second from CamVid's files to augmented batches: ours, decoding alone, and torch's DataLoader.

Ours: `pipeline` with an affine change, crop, mirror and color jitter, 360 x 480 -> 16 x 256 x 256. Decoding alone: the
same files read by the same functions in as many threads, and dropped. The peer, where torch and albumentations are
installed: a DataLoader with two workers, OpenCV's reader and the same changes. Each side runs in a process of its own,
in turns of one epoch; ratios are medians over turns. Then 20 epochs of ours, and the process' memory after each.

Reading and augmenting share the two cores: what the augmentation takes cannot go into reading. `seconds of CPU an
image` tells how much of a processor each side needs.
"""

import json
import multiprocessing
import os
import statistics
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


def tfseg_side():
    import keras  # noqa: F401

    from tfseg.data import Augment, pipeline

    color = {"brightness": JITTER, "contrast": JITTER, "saturation": JITTER}
    batches = pipeline(
        reader(), BATCH, Augment(SIZE, scale=SCALE, rotate=ANGLE, flip="horizontal", **color)
    )
    return lambda: sum(len(images) for images, _ in batches)


def decode_side():
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
    """CamVid for torch: a dataset of (image, mask), read by OpenCV, changed by albumentations."""

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


def torch_side():
    from torch.utils.data import DataLoader

    # spawn: a forked worker hangs in OpenCV 5, whose threads are not forked along
    options = {"num_workers": 2, "persistent_workers": True, "multiprocessing_context": "spawn"}
    loader = DataLoader(Files(), BATCH, shuffle=True, drop_last=True, **options)
    return lambda: sum(len(images) for images, _ in loader)


SIDES = {"tfseg": tfseg_side, "decode only": decode_side, "torch DataLoader": torch_side}


def serve(side, pipe):
    """Run an epoch of a side whenever asked, and tell (images, seconds, seconds of CPU, MiB)."""
    try:
        run = SIDES[side]()
        run()
        pipe.send("ready")
    except ImportError:
        pipe.send("")
    while pipe.recv():
        began, cpu = time.perf_counter(), cpu_seconds()
        count = run()
        pipe.send((count, time.perf_counter() - began, cpu_seconds() - cpu, memory()))


def cpu_seconds():
    """Of this process and its running children (Linux)."""
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
    """MiB that this process holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main():
    if not DATA.is_dir():
        print(json.dumps({"skipped": f"there is no {DATA}; set TFSEG_DATA"}))
        return
    pipes = {}
    for side in SIDES:
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        multiprocessing.get_context("spawn").Process(target=serve, args=(side, theirs)).start()
        theirs.close()  # so that a side that fails ends the wait
        if ours.recv():
            pipes[side] = ours
        else:
            ours.send(False)

    def ask(side):
        pipes[side].send(True)
        return pipes[side].recv()

    turns = [{side: ask(side) for side in pipes} for _ in range(TURNS)]
    rates = {
        side: statistics.median(turn[side][0] / turn[side][1] for turn in turns) for side in pipes
    }
    cpu = {
        side: statistics.median(turn[side][2] / turn[side][0] for turn in turns) for side in pipes
    }
    ratios = {
        side: statistics.median(
            (t["tfseg"][0] / t["tfseg"][1]) / (t[side][0] / t[side][1]) for t in turns
        )
        for side in pipes
        if side != "tfseg"
    }
    for side, rate in rates.items():
        against = f"; tfseg's rate is {ratios[side]:.2f} of it" if side in ratios else ""
        target = f" (target {TARGETS[side]})" if side in TARGETS else ""
        print(
            f"{side}: {rate:.0f} images/s, {1e3 * cpu[side]:.2f} ms of CPU an image{against}{target}",
            flush=True,
        )
    held = [ask("tfseg")[3] for _ in range(EPOCHS)]
    print(
        f"memory after epochs 1, 5, 10, 20: {held[0]:.0f}, {held[4]:.0f}, {held[9]:.0f}, {held[-1]:.0f} MiB"
    )
    for pipe in pipes.values():
        pipe.send(False)
    print(
        json.dumps(
            {
                "images_per_second": rates,
                "cpu": cpu,
                "ratio": ratios,
                "memory": held,
                "targets": TARGETS,
            }
        )
    )


if __name__ == "__main__":
    main()
