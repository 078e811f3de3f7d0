"""Augmented images per second: `Augment`, albumentations in two processes, Keras layers, OpenCV.

Affine transform (scale, rotation), crop, flip, color jitter and normalization of an image and its
mask from memory, 360 x 480 -> 256 x 256, float32 output. Every library runs in its own processes,
and they take turns. Ratios are medians over the turns. albumentations is skipped if it is not
installed. It uses two processes with one OpenCV thread each, like a DataLoader with two workers.
`cv2.warpAffine` of image and mask in a loop only does the geometry.
"""

import json
import multiprocessing
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

BATCH, IMAGES, TURNS = 16, 480, 5
HEIGHT, WIDTH, SIZE = 360, 480, 256
SCALE, ANGLE, JITTER, HUE = (0.75, 1.4), 15, 0.2, 10
MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
TARGETS = {"albumentations": 2.0, "keras": 12.0}


def draw_images(count=BATCH):
    rng = np.random.default_rng(0)
    images = (
        rng.integers(0, 256, (count, HEIGHT // 8, WIDTH // 8, 3), np.uint8)
        .repeat(8, 1)
        .repeat(8, 2)
    )
    return images, rng.integers(0, 11, (count, HEIGHT, WIDTH), np.uint8)


def drain(batches):
    """Return a function that reads `IMAGES` images; the first batch compiles and is not timed."""
    iterator = iter(batches)
    next(iterator)

    def run():
        for _ in range(IMAGES // BATCH):
            next(iterator)

    return run


def run_tfseg():
    import keras  # noqa: F401
    import tensorflow as tf

    from tfseg.data import Augment

    augment = Augment(
        SIZE,
        scale=SCALE,
        rotate=ANGLE,
        flip="horizontal",
        brightness=JITTER,
        contrast=JITTER,
        saturation=JITTER,
        hue=HUE,
        normalization=(MEAN, STD),
    )
    images, masks = map(tf.constant, draw_images())

    def change(step):
        numbers = step * BATCH + tf.range(BATCH, dtype=tf.int64)
        keys = tf.stack([tf.zeros_like(numbers), numbers], axis=1)
        changed = augment({"image": images, "mask": masks}, keys)
        return changed["image"], changed["mask"]

    return drain(tf.data.Dataset.range(10**9).map(change, num_parallel_calls=2).prefetch(2))


def run_keras():
    import tensorflow as tf
    from keras import layers

    chain = [
        layers.RandomZoom((-0.3, 0.3)),
        layers.RandomRotation(ANGLE / 360),
        layers.RandomCrop(SIZE, SIZE),
        layers.RandomFlip("horizontal"),
        layers.RandomColorJitter(
            brightness_factor=JITTER,
            contrast_factor=JITTER,
            saturation_factor=JITTER,
            hue_factor=HUE / 360,
        ),
    ]
    images, masks = map(tf.constant, draw_images())
    mean, std = tf.constant(MEAN), tf.constant(STD)

    def change(_):
        batch = {"images": tf.cast(images, tf.float32), "segmentation_masks": masks[..., None]}
        for layer in chain:
            batch = layer(batch, training=True)
        return (batch["images"] - mean) / std, batch["segmentation_masks"]

    return drain(tf.data.Dataset.range(10**9).map(change, num_parallel_calls=2).prefetch(2))


def run_albumentations():
    import albumentations as A
    import cv2

    cv2.setNumThreads(1)
    chain = A.Compose(
        [
            A.Affine(scale=SCALE, rotate=(-ANGLE, ANGLE), p=1),
            A.RandomCrop(SIZE, SIZE),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter(
                (1 - JITTER, 1 + JITTER),
                (1 - JITTER, 1 + JITTER),
                (1 - JITTER, 1 + JITTER),
                HUE / 360,
                p=1,
            ),
            A.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
        ]
    )
    images, masks = draw_images()

    def run():
        for i in range(IMAGES // 2):  # the second process does the other half
            chain(image=images[i % BATCH], mask=masks[i % BATCH])

    return run


def run_opencv():
    import cv2

    images, masks = draw_images()
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), ANGLE, 1.2)

    def run():
        for i in range(IMAGES):
            cv2.warpAffine(images[i % BATCH], matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
            cv2.warpAffine(masks[i % BATCH], matrix, (SIZE, SIZE), flags=cv2.INTER_NEAREST)

    return run


LIBRARIES = {  # name: (function, number of processes)
    "tfseg": (run_tfseg, 1),
    "albumentations": (run_albumentations, 2),
    "keras": (run_keras, 1),
    "cv2.warpAffine": (run_opencv, 1),
}


def serve(library, pipe):
    try:
        run = LIBRARIES[library][0]()
        run()
        pipe.send("ready")
    except ImportError:
        pipe.send("")
    while pipe.recv():
        run()
        pipe.send("done")


def start(library):
    """Return pipes to the processes of a library; none if it is not installed."""
    spawn, pipes = multiprocessing.get_context("spawn"), []
    for _ in range(LIBRARIES[library][1]):
        ours, theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(library, theirs), daemon=True).start()
        pipes.append(ours)
    return pipes if all([pipe.recv() for pipe in pipes]) else []


def seconds(pipes):
    began = time.perf_counter()
    for pipe in pipes:
        pipe.send(True)
    for pipe in pipes:
        pipe.recv()
    return time.perf_counter() - began


def main():
    started = {name: start(name) for name in LIBRARIES}
    pipes = {name: found for name, found in started.items() if found}
    turns = [{name: seconds(found) for name, found in pipes.items()} for _ in range(TURNS)]
    rates = {name: IMAGES / statistics.median(turn[name] for turn in turns) for name in pipes}
    for found in pipes.values():
        for pipe in found:
            pipe.send(False)
    ratios = {
        name: statistics.median(turn[name] / turn["tfseg"] for turn in turns)
        for name in pipes
        if name != "tfseg"
    }
    for name, rate in rates.items():
        line = f"{name}: {rate:.0f} images/s"
        if name in ratios:
            line += f", tfseg is {ratios[name]:.2f} times as fast"
        if name in TARGETS:
            line += f" (target {TARGETS[name]})"
        print(line)
    print(json.dumps({"images_per_second": rates, "ratio": ratios, "targets": TARGETS}))


if __name__ == "__main__":
    main()
