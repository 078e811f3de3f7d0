"""Seconds and memory of a train step on a GPU: the default U-Net under JAX and XLA, and torch.

The network and the peer are those of `train_step.py`. Each step gets a batch of 256 x 256 uint8
images with 11 classes from the processor's memory. Our side uses `compile`, and `fit` over batches.
The peer: channels last, network and loss through `torch.compile`, cuDNN's search for the fastest
kernels, fused Adam, bfloat16 by autocast. Both sides may round float32 products (TF32), as both do
by default. Each side has its own process; they take turns. The ratio is the median over rounds of
our time / torch's time, with the smallest and the largest.

This needs a GPU, and JAX and torch with GPU support; keras, namex and optree may come from a folder
in PYTHONPATH, and TensorFlow may be missing. Without a GPU it prints a message and ends.

On an NVIDIA H200, with JAX 0.11.2, Keras 3.15.1 and torch 2.11:

    precision  batch  tfseg     torch     ratio  memory             first step
    float32    8      14.8 ms   7.6 ms    1.95   5.35 and 5.82 GB   9.0 and 26.5 s
    float32    64     75.1 ms   47.0 ms   1.60   11.2 and 16.0 GB   30.4 and 19.9 s
    bfloat16   8      10.1 ms   6.4 ms    1.58   0.82 and 0.85 GB   13.0 and 21.3 s

So XLA's step is slower than torch's. Where its time goes has not been measured. Candidates are
batch normalization, which is ten operations in Keras, the gradient of max pooling, and memory
layouts. TensorFlow, whose fused kernel our batch normalization uses, has not been measured on a
GPU.
"""

import json
import os
import time

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave memory for the peer

import numpy as np
from processes import answer, start
from train_step import CLASSES, FILTERS, SIZE, summary, torch_unet

BATCHES, PRECISIONS = (8, 64), ("float32", "bfloat16")
ROUNDS, STEPS = 5, 50


def batch(count):
    """Return images (B, H, W, 3) and labels (B, H, W), uint8."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    return images, rng.integers(0, CLASSES, (count, SIZE, SIZE), np.uint8)


def tfseg_side(precision, count):
    """Return two functions: one trains for a number of steps, one returns the peak bytes in use."""
    import jax
    import keras

    from tfseg.losses import CrossEntropy
    from tfseg.models import unet

    keras.mixed_precision.set_global_policy(
        precision if precision == "float32" else f"mixed_{precision}"
    )
    model = unet(CLASSES, filters=FILTERS)
    model.compile("adam", loss=CrossEntropy())
    pair = batch(count)

    def batches():
        while True:
            yield pair

    def train(steps):
        model.fit(batches(), steps_per_epoch=steps, verbose=0)

    return train, lambda: jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]


def torch_side(precision, count):
    """Return the same two functions as `tfseg_side`, for torch."""
    import torch

    torch.backends.cudnn.benchmark = True
    images, labels = [torch.from_numpy(array).pin_memory() for array in batch(count)]
    model = torch_unet().to("cuda", memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    @torch.compile
    def loss(images, labels):
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(images.permute(0, 3, 1, 2))  # still channels last in memory
        return torch.nn.functional.cross_entropy(logits.float(), labels.long())

    def train(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            loss(*(tensor.to("cuda", non_blocking=True) for tensor in (images, labels))).backward()
            optimizer.step()
        torch.cuda.synchronize()

    return train, torch.cuda.max_memory_allocated


SIDES = {"tfseg": tfseg_side, "torch": torch_side}


def serve(side, precision, count, pipe):
    """Answer a number of steps with the seconds per step and the peak bytes in use."""
    train, memory = SIDES[side](precision, count)
    while steps := pipe.recv():
        began = time.perf_counter()
        train(steps)
        pipe.send(((time.perf_counter() - began) / steps, memory()))


def compare(precision, count):
    """Return {"first train", "train": summary of both sides, "gb": {side: peak memory}}."""
    processes, pipes = zip(*(start(serve, side, precision, count) for side in SIDES), strict=True)
    pipes = dict(zip(SIDES, pipes, strict=True))

    def ask(steps):
        return {side: answer(pipe, steps) for side, pipe in pipes.items()}

    def seconds(answers):
        return {side: step for side, (step, _) in answers.items()}

    first = summary([seconds(ask(1))])
    ask(STEPS)
    rounds = [ask(STEPS) for _ in range(ROUNDS)]
    for pipe in pipes.values():
        pipe.send(None)
    for process in processes:
        process.join()
    memory = {side: bytes_ / 1e9 for side, (_, bytes_) in rounds[-1].items()}
    return {
        "first train": first,
        "train": summary([seconds(answers) for answers in rounds]),
        "gb": memory,
    }


def show(precision, count, rows):
    first, row, memory = rows["first train"]["s"], rows["train"], rows["gb"]
    print(f"{precision}, batch {count}")
    print(
        "  first step: " + ", ".join(f"{side} {seconds:.1f} s" for side, seconds in first.items())
    )
    least, most = row["spread"]
    times = ", ".join(f"{side} {1e3 * seconds:.2f} ms" for side, seconds in row["s"].items())
    print(f"  a step: {times}; tfseg / torch {row['ratio']:.2f} ({least:.2f} to {most:.2f})")
    print(
        "  memory: " + ", ".join(f"{side} {most:.2f} GB" for side, most in memory.items()),
        flush=True,
    )


def main():
    # In its own process, since JAX would keep GPU memory in this one.
    process, pipe = start(_gpu)
    card = pipe.recv()
    process.join()
    if card is None:
        print("JAX and torch find no GPU: nothing is measured.\n{}")
        return
    print(card)
    rows = {}
    for precision in PRECISIONS:
        for count in BATCHES:
            rows[f"{precision}, batch {count}"] = compare(precision, count)
            show(precision, count, rows[f"{precision}, batch {count}"])
    print(json.dumps({"card": card, **rows}))


def _gpu(pipe):
    """Send the name of the GPU that both libraries find, or None."""
    try:
        import jax
        import torch

        seen = torch.cuda.is_available() and jax.default_backend() == "gpu"
        pipe.send(torch.cuda.get_device_name() if seen else None)
    except ImportError:
        pipe.send(None)


if __name__ == "__main__":
    main()
