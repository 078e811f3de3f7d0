"""Seconds per batch of our SavedModel against ONNX Runtime and OpenVINO, in float32 and bfloat16.

`tfseg.export` writes one U-Net, `unet(11)`, in every format. All take (B, 256, 256, 3) float32 and
return class ids and probabilities; the script first checks that they agree. Each side runs in its
own process, since thread pools disturb each other, with as many threads as there are cores. The
sides take turns. A ratio is the median over rounds of ours / the peer's, each from the median call
of the round, with the smallest and the largest. OpenVINO gets the size in advance, without which it
is slower; the others accept any size.

At the end the script measures the cost of files: the signature `encoded`, JPEGs in and PNGs out,
against `uint8` of the same images.

`--rounds N` changes the number of rounds from 9.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CI"] = "true"  # OpenVINO sends no telemetry

import numpy as np
from processes import answer, start

SIZE, CLASSES, BATCH_SIZES = 256, 11, (1, 8)
ROUNDS = 9
CALLS = {1: 16, 8: 4}  # per round, by batch size
PEERS = {"float32": ("onnxruntime", "openvino"), "bfloat16": ("openvino",)}
TARGETS = {"float32": {"onnxruntime": 1.0}, "bfloat16": {"openvino": 1.15}}
# minimum fraction of pixels; the network is not trained, so its classes are close to each other
MIN_AGREEMENT = {"float32": 0.999, "bfloat16": 0.95}


def write_formats(folder, pipe):
    """Write the model in all formats into a folder, and send its number of parameters."""
    from tfseg.export import onnx, openvino, saved_model

    model = network()
    for dtype in PEERS:
        saved_model(model, folder / dtype, outputs=("probabilities",), dtype=dtype)
    onnx(model, folder / "model.onnx")
    openvino(model, folder / "model.xml")
    pipe.send(model.count_params())


def network():
    """Return `unet(11)` with random batch normalization and biases, as after training.

    Converters would drop the initial ones, which do nothing.
    """
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


def batch_of(batch_size):
    """Return images (B, H, W, 3) float32 in 0..255."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (batch_size, SIZE, SIZE, 3)).astype(np.float32)


def tfseg_side(folder, dtype, batch_size):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / dtype / "1"))
    signature, image = loaded.signatures["serving_default"], tf.constant(batch_of(batch_size))

    def call(_keep=loaded):  # its functions need the loaded object
        return {name: value.numpy() for name, value in signature(image=image).items()}

    return call


def onnxruntime_side(folder, dtype, batch_size):
    from tfseg.export import onnx_runner

    run, image = onnx_runner(folder / "model.onnx", threads()), batch_of(batch_size)
    return lambda: run(image)


def openvino_side(folder, dtype, batch_size):
    import openvino

    core = openvino.Core()
    model = core.read_model(str(folder / "model.xml"))
    model.reshape([batch_size, SIZE, SIZE, 3])
    options = {
        "INFERENCE_NUM_THREADS": threads(),
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype],
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled, image = core.compile_model(model, "CPU", options), batch_of(batch_size)

    def call():
        outputs = compiled({"image": image})
        return {name: outputs[name] for name in ("class_ids", "probabilities")}

    return call


SIDES = {"tfseg": tfseg_side, "onnxruntime": onnxruntime_side, "openvino": openvino_side}


def threads():
    return len(os.sched_getaffinity(0))


def serve(side, folder, dtype, batch_size, pipe):
    """Send the class ids of a batch, then answer each number of calls with their seconds."""
    call = SIDES[side](folder, dtype, batch_size)
    pipe.send(call()["class_ids"])
    while calls := pipe.recv():
        pipe.send([seconds_of(call) for _ in range(calls)])


def seconds_of(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compare(folder, dtype, batch_size, rounds):
    """Return {"s": {side: seconds per batch}, "ratios": {peer: ratio of ours / the peer's}}."""
    sides = ("tfseg", *PEERS[dtype])
    started = {side: start(serve, side, folder, dtype, batch_size) for side in sides}
    pipes = {side: pipe for side, (_, pipe) in started.items()}
    ids = {side: pipe.recv() for side, pipe in pipes.items()}
    for side in PEERS[dtype]:
        agreement = float(np.mean(ids[side] == ids["tfseg"]))
        assert agreement > MIN_AGREEMENT[dtype], f"{side} agrees on {agreement:.1%} of the pixels"

    def turn():
        times = {side: answer(pipe, CALLS[batch_size]) for side, pipe in pipes.items()}
        return {side: statistics.median(seconds) for side, seconds in times.items()}

    turn()  # warm-up
    turns = [turn() for _ in range(rounds)]
    for process, pipe in started.values():
        pipe.send(None)
        process.join()
    return {
        "s": {side: statistics.median(times[side] for times in turns) for side in sides},
        "ratios": {peer: ratio(turns, "tfseg", peer) for peer in PEERS[dtype]},
    }


def ratio(turns, ours, theirs):
    """Return {"ratio": median of ours / theirs, "spread": [smallest, largest]}."""
    ratios = [times[ours] / times[theirs] for times in turns]
    return {"ratio": statistics.median(ratios), "spread": [min(ratios), max(ratios)]}


def time_files(folder, batch_size, rounds, pipe):
    """Send the seconds of a batch of files, of the same images as arrays, and their ratio."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / "float32" / "1"))
    encoded, uint8 = loaded.signatures["encoded"], loaded.signatures["uint8"]
    files = jpeg_files(batch_size)
    images = tf.stack([tf.io.decode_jpeg(file, dct_method="INTEGER_ACCURATE") for file in files])
    masks = encoded(image_bytes=files)["mask_png_bytes"]
    ids = tf.stack([tf.io.decode_png(mask)[..., 0] for mask in masks])
    agreement = np.mean(uint8(image=images)["class_ids"] == ids)
    minimum = MIN_AGREEMENT["float32"]
    assert agreement > minimum, f"files and arrays agree on {agreement:.1%} of the pixels"
    calls = {
        "files": lambda: encoded(image_bytes=files)["mask_png_bytes"].numpy(),
        "numbers": lambda: uint8(image=images)["class_ids"].numpy(),
    }

    def turn():
        return {
            side: statistics.median(seconds_of(call) for _ in range(CALLS[batch_size]))
            for side, call in calls.items()
        }

    turn()  # warm-up
    turns = [turn() for _ in range(rounds)]
    seconds = {side: statistics.median(times[side] for times in turns) for side in calls}
    pipe.send({"s": seconds, **ratio(turns, "files", "numbers")})


def jpeg_files(count):
    """Return (count,) string tensor of JPEG files, crops of a photograph."""
    import tensorflow as tf
    from sklearn.datasets import load_sample_image

    photo = load_sample_image("china.jpg")
    crops = [photo[20 * i : 20 * i + SIZE, 30 * i : 30 * i + SIZE] for i in range(count)]
    return tf.constant([tf.io.encode_jpeg(crop, quality=90).numpy() for crop in crops])


def print_files(batch_size, row):
    files, arrays = 1e3 * row["s"]["files"], 1e3 * row["s"]["numbers"]
    least, most = row["spread"]
    print(
        f"float32, batch {batch_size}: JPEG files in and PNG files out {files:.1f} ms, arrays "
        f"{arrays:.1f} ms: {row['ratio']:.2f} ({least:.2f} to {most:.2f})"
    )


def print_comparison(dtype, batch_size, row):
    times = ", ".join(f"{side} {1e3 * seconds:.1f} ms" for side, seconds in row["s"].items())
    print(f"{dtype}, batch {batch_size}: {times}")
    for peer, result in row["ratios"].items():
        least, most = result["spread"]
        line = f"  tfseg / {peer} {result['ratio']:.2f} ({least:.2f} to {most:.2f})"
        if peer in TARGETS[dtype]:
            line += f", target: at most {TARGETS[dtype][peer]}"
        print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="Number of rounds.")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        process, pipe = start(write_formats, Path(folder))
        rows = {"parameters": pipe.recv()}
        process.join()
        for dtype in PEERS:
            rows[dtype] = {}
            for batch_size in BATCH_SIZES:
                rows[dtype][batch_size] = compare(Path(folder), dtype, batch_size, rounds)
                print_comparison(dtype, batch_size, rows[dtype][batch_size])
        rows["files"] = {}
        for batch_size in BATCH_SIZES:
            process, pipe = start(time_files, Path(folder), batch_size, rounds)
            rows["files"][batch_size] = pipe.recv()
            process.join()
            print_files(batch_size, rows["files"][batch_size])
    print(json.dumps({**rows, "targets": TARGETS}))


if __name__ == "__main__":
    main()
