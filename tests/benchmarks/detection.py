"""Time and peak memory of Faster and Mask R-CNN compared with torchvision, on the same CPU.

Both sides have the layout of `fasterrcnn_resnet50_fpn` and `maskrcnn_resnet50_fpn` with 80
categories and the same weights, and get the same two images of 480 x 640, which neither resizes,
with 8 objects each. torchvision has its C++ kernels for non-maximum suppression and RoIAlign; it
may be installed elsewhere, for the same Python version; without it there are no ratios:

    TORCHVISION_PYTHON=/path/to/venv/bin/python python tests/benchmarks/detection.py

torchvision runs as it is, and with channels last in memory; the faster one counts. Each side has a
process of its own and as many threads as there are cores; they take turns. A ratio is the median
over rounds of our time / torchvision's, and the smallest and the largest; "cpu_s" is the time of
all cores, which other jobs on the machine disturb less. The peak memory is that of the process
during the row, with weights and libraries.

"train" is forward, losses, gradients and SGD with momentum. "inference" goes from images to
detections with masks of 28 x 28; neither side pastes them. The weights are random, with running
statistics of the images; so the score threshold is one that about 2000 boxes per image reach, of
which 100 remain. "inference, few" has a threshold that 20 detections of both images reach.

With `--where`: where the time of our train steps goes, by kind of operation.
"""

import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from processes import (
    answer,
    memory,
    own_packages_first,
    reset_peak_memory,
    start,
    start_with,
)

HEIGHT, WIDTH, BATCH, OBJECTS, CLASSES = 480, 640, 2, 8, 80
CANDIDATES, FEW = 2000, 20
HEADS = ("faster_rcnn", "mask_rcnn")
PEERS = ("torchvision", "torchvision channels last")
ROUNDS, BUDGET = 7, 60  # of a row; seconds
SGD = {"learning_rate": 1e-4, "momentum": 0.9}
TARGET = 1.0


def batch():
    """Return images (B, H, W, 3) uint8 and a list of `objects`, one per image."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, HEIGHT // 8, WIDTH // 8, 3), "uint8")
    return images.repeat(8, 1).repeat(8, 2), [objects(rng) for _ in range(BATCH)]


def objects(rng):
    """Return a dict of boxes (N, 4) float32, classes (N,) and masks (N, H, W) bool of ellipses."""
    sides = np.exp(rng.uniform(np.log(40), np.log(300), (OBJECTS, 2)))
    corners = rng.uniform(0, 1, (OBJECTS, 2)) * ((WIDTH, HEIGHT) - sides)
    boxes = np.concatenate([corners, corners + sides], 1)
    y, x = np.mgrid[:HEIGHT, :WIDTH][:, None] + 0.5
    left, top, right, bottom = boxes.T[..., None, None]
    across = (2 * x - left - right) / (right - left)
    down = (2 * y - top - bottom) / (bottom - top)
    classes = rng.integers(0, CLASSES, OBJECTS)
    return {"boxes": boxes.astype("float32"), "classes": classes, "masks": across**2 + down**2 < 1}


def rows_of(head):
    few = ["inference, few"] if head == "mask_rcnn" else []
    return ["inference", *few, "train"]  # training changes the weights


def threads():
    return len(os.sched_getaffinity(0))


def tfseg_side(head, weights, thresholds):
    """Return the number of trainable parameters and {row: step}.

    A step returns the numbers of detections, or the sum of the losses.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads())
    tf.config.threading.set_inter_op_parallelism_threads(threads())
    model, images, labels = tfseg_model(head, weights)

    def inference(threshold):
        from tfseg.models import with_thresholds

        strict = with_thresholds(model, score_threshold=threshold)
        return lambda: (strict.predict_on_batch(images)["classes"] >= 0).sum(1).tolist()

    def train():
        return float(model.train_on_batch(images, labels, return_dict=True)["loss"])

    steps = {row: inference(threshold) for row, threshold in thresholds.items()}
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights), {**steps, "train": train}


def tfseg_model(head, weights):
    """Return the compiled model, images and labels."""
    import keras

    from tfseg import models

    model = models.DETECTORS[head](CLASSES, encoder="resnet50_v1_5", layout="v1")
    if weights.exists():
        models.load_torchvision(model, weights)
    model.compile(keras.optimizers.SGD(**SGD))
    images, found = batch()
    labels = {
        "boxes": np.stack([one["boxes"] for one in found]),
        "classes": np.stack([one["classes"] for one in found]).astype("int32"),
        "instances": np.stack([one["masks"][::-1].argmax(0) for one in found]),
    }
    # later objects lie in front
    covered = np.stack([one["masks"].any(0) for one in found])
    labels["instances"] = np.where(covered, OBJECTS - labels["instances"], 0).astype("int32")
    return model, images, labels


def torchvision_side(side, head, weights):
    """Return the number of trainable parameters, the thresholds by row, and {row: step}.

    Writes the state dict to the file `weights`.
    """
    import torch

    torch.set_num_threads(threads())
    images, found = batch()
    images = [torch.from_numpy(image.transpose(2, 0, 1) / np.float32(255)) for image in images]
    targets = [
        {
            "boxes": torch.from_numpy(one["boxes"]),
            "labels": torch.from_numpy(one["classes"] + 1),
            "masks": torch.from_numpy(one["masks"].astype("uint8")),
        }
        for one in found
    ]
    model = torchvision_model(head, images)
    torch.save(model.state_dict(), weights)
    if side.endswith("channels last"):
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), SGD["learning_rate"], SGD["momentum"], fused=True
    )

    def detect():
        model.eval()
        with torch.inference_mode():
            return [one["scores"] for one in model(images)]

    def inference(threshold):
        def step():
            model.roi_heads.score_thresh = threshold
            return [len(scores) for scores in detect()]

        return step

    def train():
        model.train()
        optimizer.zero_grad()
        loss = sum(model(images, targets).values())
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    thresholds = thresholds_of(model, rows_of(head)[:-1], detect)
    steps = {row: inference(threshold) for row, threshold in thresholds.items()}
    parameters = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return parameters, thresholds, {**steps, "train": train}


def torchvision_model(head, images):
    """Return a network with random weights, whose running statistics are those of the images."""
    import torch
    from torchvision.models import detection

    torch.manual_seed(0)
    build = {
        "faster_rcnn": detection.fasterrcnn_resnet50_fpn,
        "mask_rcnn": detection.maskrcnn_resnet50_fpn,
    }[head]
    model = build(
        weights=None,
        weights_backbone=None,
        num_classes=CLASSES + 1,
        min_size=HEIGHT,
        max_size=WIDTH,
    )
    # masks are not pasted; boxes are in pixels of the image already
    model.transform.postprocess = lambda result, *sizes: result
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.backbone(model.transform(images)[0].tensors)
    for norm in norms:
        norm.momentum = 0.1
    return model


def thresholds_of(model, rows, detect):
    """Return {row: score threshold}."""
    scores = []
    predictor = model.roi_heads.box_predictor
    hook = predictor.register_forward_hook(
        lambda module, inputs, outputs: scores.append(outputs[0].softmax(1)[:, 1:].flatten())
    )
    model.roi_heads.score_thresh = 2.0  # above all
    detect()
    hook.remove()
    many = float(scores[0].sort(descending=True)[0][BATCH * CANDIDATES])
    model.roi_heads.score_thresh = many
    few = sorted((score for image in detect() for score in image.tolist()), reverse=True)[FEW]
    return dict(zip(rows, (many, few), strict=False))


def serve_torchvision(side, head, weights, pipe):
    """Send the number of parameters and the thresholds, or None; then answer rows."""
    own_packages_first()
    try:
        parameters, thresholds, steps = torchvision_side(side, head, weights)
    except ImportError:
        pipe.send(None)
        return
    pipe.send((parameters, thresholds))
    answer_rows(steps, pipe)


def serve_tfseg(head, weights, thresholds, pipe):
    """Send the number of parameters; then answer rows."""
    parameters, steps = tfseg_side(head, weights, thresholds)
    pipe.send(parameters)
    answer_rows(steps, pipe)


def answer_rows(steps, pipe):
    """Answer each row with the seconds of one step, and of all cores, its result and its memory."""
    while row := pipe.recv():
        reset_peak_memory()
        begin, used = time.perf_counter(), time.process_time()
        result = steps[row]()
        seconds, used = time.perf_counter() - begin, time.process_time() - used
        pipe.send({"s": seconds, "cpu_s": used, "result": result, "peak": memory("VmHWM")})


@contextlib.contextmanager
def sides(head):
    """Yield {side: pipe} of the processes."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        started, ready = {}, None
        for side in PEERS:
            process, pipe = start_with("TORCHVISION_PYTHON", serve_torchvision, side, head, weights)
            if found := pipe.recv():
                started[side], ready = (process, pipe), found
        parameters, thresholds = ready or (None, dict.fromkeys(rows_of(head)[:-1], 0.05))
        process, pipe = start(serve_tfseg, head, weights, thresholds)
        count = pipe.recv()
        assert parameters in (None, count), f"the networks differ: {parameters}, {count}"
        started = {"tfseg": (process, pipe), **started}
        yield {side: pipe for side, (_, pipe) in started.items()}
        for process, pipe in started.values():
            pipe.send("")
            process.join()


def in_turns(row, pipes):
    """Return the summary of a row; the first turn compiles and does not count."""
    rounds, first = [], time.perf_counter()
    for turn in range(ROUNDS + 1):
        if turn > 3 and time.perf_counter() - first > BUDGET:
            break
        answers = {side: answer(pipe, row) for side, pipe in pipes.items()}
        if turn:
            rounds.append(answers)
        else:
            compiled = {side: one["s"] for side, one in answers.items()}
    return {"first_s": compiled, **summary(rounds)}


def summary(rounds):
    """Return median seconds, the last results, the peak memory, and the ratios."""
    row = {
        "rounds": len(rounds),
        "peak_mb": {side: max(one[side]["peak"] for one in rounds) >> 20 for side in rounds[0]},
        "results": {side: one["result"] for side, one in rounds[-1].items()},
    }
    for clock in ("s", "cpu_s"):
        taken = {side: [one[side][clock] for one in rounds] for side in rounds[0]}
        row[clock] = {side: round(statistics.median(times), 3) for side, times in taken.items()}
        peers = [taken[side] for side in PEERS if side in taken]
        if peers:
            theirs = min(peers, key=statistics.median)
            row[f"ratio of {clock}"] = ratios(np.divide(taken["tfseg"], theirs).tolist())
    return row


def ratios(values):
    """Return the median, the smallest and the largest of a list."""
    return [round(find(values), 3) for find in (statistics.median, min, max)]


def compare(head):
    """Print the rows of a model and return them."""
    rows = {}
    with sides(head) as pipes:
        for row in rows_of(head):
            rows[row] = in_turns(row, pipes)
            print(f"{head}, {row}: {json.dumps(rows[row])}", flush=True)
    return rows


def where(head):
    """Print where the time of our train step goes, and return {kind of operation: seconds}."""
    from train_step import operation_times

    model, images, labels = tfseg_model(head, Path("missing"))
    model.train_on_batch(images, labels)
    taken = operation_times(lambda: model.train_on_batch(images, labels), 1)
    for kind, seconds in list(taken.items())[:20]:
        print(f"  {1e3 * seconds:8.1f} ms {kind}", flush=True)
    return taken


def main():
    if sys.argv[1:] == ["--where"]:
        print(json.dumps({head: where(head) for head in HEADS}))
        return
    print(json.dumps({**{head: compare(head) for head in HEADS}, "targets": {"ratio": TARGET}}))


if __name__ == "__main__":
    main()
