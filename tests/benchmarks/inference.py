"""Seconds to answer a batch: our SavedModel against ONNX Runtime and OpenVINO, in float32 and in bfloat16.

One U-Net, `unet(11)`, is written once in every form by `tfseg.export`; all take (B, 256, 256, 3) float32 and give class
ids and probabilities, and that they agree is seen to first. Each side has a process of its own, since their thread
pools disturb each other, and as many threads as there are cores; they take turns, and a ratio is the median over rounds
of ours / the peer's, each from the round's median call, with the smallest and the largest. OpenVINO is told the size
beforehand, which its graph needs to be fastest; the others take any.

Last comes what files cost: the signature `encoded`, JPEGs in and PNGs out, against `uint8` of the same images.

With `--rounds N`: other than 9 rounds.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CI"] = "true"  # or OpenVINO tells its makers of every run

import numpy as np
from processes import answer, start

SIZE, CLASSES, BATCHES = 256, 11, (1, 8)
ROUNDS, CALLS = 9, {1: 16, 8: 4}
PEERS = {"float32": ("onnxruntime", "openvino"), "bfloat16": ("openvino",)}
TARGETS = {"float32": {"onnxruntime": 1.0}, "bfloat16": {"openvino": 1.15}}
AGREEMENT = {
    "float32": 0.999,
    "bfloat16": 0.95,
}  # share of pixels; the network is not trained, its classes are close


def write(folder, pipe):
    """Write the model in all its forms into a folder, and tell its number of parameters."""
    from tfseg.export import onnx, openvino, saved_model

    model = network()
    for dtype in PEERS:
        saved_model(model, folder / dtype, outputs=("probabilities",), dtype=dtype)
    onnx(model, folder / "model.onnx")
    openvino(model, folder / "model.xml")
    pipe.send(model.count_params())


def network():
    """`unet(11)` with normalizations and biases as training leaves them; those of a new one are left out as no work."""
    import keras

    from tfseg.models import unet

    keras.utils.set_random_seed(0)
    model, rng = unet(CLASSES), np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in layer.weights:
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.uniform(-0.1, 0.1, layer.bias.shape))
    return model


def batch(size):
    """Images (B, H, W, C) in 0..255, float32."""
    return np.random.default_rng(0).integers(0, 256, (size, SIZE, SIZE, 3)).astype(np.float32)


def tfseg_side(folder, dtype, size):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / dtype / "1"))
    answers, image = loaded.signatures["serving_default"], tf.constant(batch(size))

    def call(_keep=loaded):  # without the object its functions die
        return {name: value.numpy() for name, value in answers(image=image).items()}

    return call


def onnxruntime_side(folder, dtype, size):
    from tfseg.export import onnx_runner

    run, image = onnx_runner(folder / "model.onnx", threads()), batch(size)
    return lambda: run(image)


def openvino_side(folder, dtype, size):
    import openvino

    core = openvino.Core()
    model = core.read_model(str(folder / "model.xml"))
    model.reshape([size, SIZE, SIZE, 3])
    precision = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    options = {
        "INFERENCE_NUM_THREADS": threads(),
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled, image = core.compile_model(model, "CPU", options), batch(size)

    def call():
        answers = compiled({"image": image})
        return {name: answers[name] for name in ("class_ids", "probabilities")}

    return call


SIDES = {"tfseg": tfseg_side, "onnxruntime": onnxruntime_side, "openvino": openvino_side}


def threads():
    return len(os.sched_getaffinity(0))


def serve(side, folder, dtype, size, pipe):
    """Tell the class ids of a batch, then answer a number of calls with the seconds of each."""
    call = SIDES[side](folder, dtype, size)
    pipe.send(call()["class_ids"])
    while calls := pipe.recv():
        pipe.send([clocked(call) for _ in range(calls)])


def clocked(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compare(folder, dtype, size, rounds):
    """{"s": {side: seconds a batch}, "ratios": {peer: figures of ours / the peer's}}."""
    sides = ("tfseg", *PEERS[dtype])
    processes, pipes = zip(
        *(start(serve, side, folder, dtype, size) for side in sides), strict=True
    )
    ids, *others = (pipe.recv() for pipe in pipes)
    for side, found in zip(sides[1:], others, strict=True):
        agreeing = float(np.mean(found == ids))
        assert agreeing > AGREEMENT[dtype], (
            f"not the same answers: {side} agrees on {agreeing:.1%} of the pixels"
        )

    def turn():
        return {
            side: statistics.median(answer(pipe, CALLS[size]))
            for side, pipe in zip(sides, pipes, strict=True)
        }

    turn()
    turns = [turn() for _ in range(rounds)]
    for process, pipe in zip(processes, pipes, strict=True):
        pipe.send(None)
        process.join()
    seconds = {side: statistics.median(times[side] for times in turns) for side in sides}
    return {"s": seconds, "ratios": {peer: ratio(turns, peer) for peer in sides[1:]}}


def ratio(turns, peer):
    """{"ratio": median of ours / the peer's, "spread": its least and most}."""
    ratios = [times["tfseg"] / times[peer] for times in turns]
    return {"ratio": statistics.median(ratios), "spread": [min(ratios), max(ratios)]}


def time_files(folder, size, rounds, pipe):
    """Tell the seconds of a batch of JPEG files in and PNG files out, of the same as numbers, and their ratio."""
    import tensorflow as tf
    from sklearn.datasets import load_sample_image

    picture = load_sample_image("china.jpg")
    images = np.stack(
        [picture[20 * i : 20 * i + SIZE, 30 * i : 30 * i + SIZE] for i in range(size)]
    )
    files = tf.constant([tf.io.encode_jpeg(image, quality=90).numpy() for image in images])
    images = tf.stack([tf.io.decode_jpeg(file, dct_method="INTEGER_ACCURATE") for file in files])
    loaded = tf.saved_model.load(str(folder / "float32" / "1"))
    encoded, bare = loaded.signatures["encoded"], loaded.signatures["uint8"]
    masks = [
        tf.io.decode_png(mask)[..., 0] for mask in encoded(image_bytes=files)["mask_png_bytes"]
    ]
    agreeing = np.mean(bare(image=images)["class_ids"] == tf.stack(masks))
    assert agreeing > AGREEMENT["float32"], (
        f"files and numbers agree on {agreeing:.1%} of the pixels"
    )
    sides = {
        "files": lambda: encoded(image_bytes=files)["mask_png_bytes"].numpy(),
        "numbers": lambda: bare(image=images)["class_ids"].numpy(),
    }
    turns = [
        {
            side: statistics.median(clocked(call) for _ in range(CALLS[size]))
            for side, call in sides.items()
        }
        for _ in range(rounds + 1)
    ][1:]
    ratios = [turn["files"] / turn["numbers"] for turn in turns]
    seconds = {side: statistics.median(turn[side] for turn in turns) for side in sides}
    pipe.send(
        {"s": seconds, "ratio": statistics.median(ratios), "spread": [min(ratios), max(ratios)]}
    )


def show_files(size, row):
    seconds, (least, most) = row["s"], row["spread"]
    print(
        f"float32, batch {size}: JPEG files in and PNG files out {1e3 * seconds['files']:.1f} ms, the same as numbers "
        f"{1e3 * seconds['numbers']:.1f} ms: {row['ratio']:.2f} ({least:.2f} to {most:.2f})"
    )


def show(dtype, size, row):
    times = ", ".join(f"{side} {1e3 * seconds:.1f} ms" for side, seconds in row["s"].items())
    print(f"{dtype}, batch {size}: {times}")
    for peer, figures in row["ratios"].items():
        target = TARGETS[dtype].get(peer)
        told = f", target: at most {target}" if target else ""
        least, most = figures["spread"]
        print(
            f"  tfseg / {peer} {figures['ratio']:.2f} ({least:.2f} to {most:.2f}){told}", flush=True
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        process, pipe = start(write, Path(folder))
        rows = {"parameters": pipe.recv()}
        process.join()
        for dtype in PEERS:
            rows[dtype] = {}
            for size in BATCHES:
                rows[dtype][size] = compare(Path(folder), dtype, size, rounds)
                show(dtype, size, rows[dtype][size])
        rows["files"] = {}
        for size in BATCHES:
            process, pipe = start(time_files, Path(folder), size, rounds)
            rows["files"][size] = pipe.recv()
            process.join()
            show_files(size, rows["files"][size])
    print(json.dumps({**rows, "targets": TARGETS}))


if __name__ == "__main__":
    main()
