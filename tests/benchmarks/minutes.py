"""How long `tfseg train --minutes` takes, compared with the minutes, idle and under load.

Two trainings on drawn images: one on the machine as it is, and one beside a busy loop on every core
that begins in the middle. Each is timed from the start of the process to its end.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

MINUTES = float(os.environ.get("MINUTES", 2))
IMAGES, SIDE = 48, 256


def draw(folder):
    """Write images of a bright disc on noise, and masks of it."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for index in range(IMAGES):
        center = rng.uniform(50, SIDE - 50, 2)
        mask = np.hypot(y - center[0], x - center[1]) < 40
        image = np.where(mask, 170, 90)[..., None] + rng.normal(0, 30, (SIDE, SIDE, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"images/{index}.png")
        Image.fromarray(mask.astype(np.uint8)).save(folder / f"masks/{index}.png")


def train(folder, name, load_after=None):
    """Return the duration of a training in relation to its minutes."""
    words = ["--images", folder / "images", "--masks", folder / "masks", "--size", "128"]
    words += ["--filters", "8,16,32,64", "--minutes", f"{MINUTES:g}", "--out", folder / name]
    began = time.monotonic()
    training = subprocess.Popen([sys.executable, "-m", "tfseg", "train", *map(str, words)])
    loops = []
    if load_after is not None:
        time.sleep(load_after)
        loops = [multiprocessing.Process(target=spin, daemon=True) for _ in range(os.cpu_count())]
        for loop in loops:
            loop.start()
    code = training.wait()
    for loop in loops:
        loop.kill()
    if code:
        raise SystemExit(code)
    return (time.monotonic() - began) / 60 / MINUTES


def spin():
    while True:
        pass


def main():
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder))
        idle = train(Path(folder), "idle")
        loaded = train(Path(folder), "loaded", load_after=30 * MINUTES)
    print(json.dumps({"minutes": MINUTES, "idle": round(idle, 3), "loaded": round(loaded, 3)}))


if __name__ == "__main__":
    main()
