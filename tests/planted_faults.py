"""Plant one-line faults in a copy of tfseg, one at a time, and report which the tests catch.

    python tests/planted_faults.py              # all, about an hour on 2 cores
    python tests/planted_faults.py dice-twice   # some, by name

A fault runs the test file of its module first, then all tests of its package. The test file must
pass without the fault. Exit code 1 if a fault passes that is not in `KNOWN_TO_PASS`, or if pytest
cannot run the tests.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COPIED = ("tests", "setup.cfg", "pyproject.toml", "conftest.py")
# exit codes of pytest
TESTS_PASSED, TESTS_FAILED, NO_TESTS_SELECTED = 0, 1, 5


class Fault(NamedTuple):
    """A line of tfseg/`file` that contains `code`, replaced by `faulty`; `tests` names packages."""

    name: str
    tests: str
    file: str
    code: str
    faulty: str


# fmt: off
FAULTS = [
    Fault("confusion-fn", "ops", "ops/confusion.py",
          "fn = ops.sum(matrix, axis=-1) - tp",
          "fn = ops.sum(matrix, axis=-2) - tp"),
    Fault("confusion-transposed", "ops", "ops/confusion.py",
          'bins = ops.cast(labels, "int32") * num_classes + ops.cast(predictions, "int32")',
          'bins = ops.cast(predictions, "int32") * num_classes + ops.cast(labels, "int32")'),
    Fault("kappa-chance", "ops", "ops/confusion.py",
          "total * total - chance, zero_division",
          "total * total + chance, zero_division"),
    Fault("clip-inside-out", "ops", "ops/boxes.py",
          "ops.concatenate([low, ops.maximum(low, high)], axis=-1)",
          "ops.concatenate([low, high], axis=-1)"),
    Fault("polygon-pieces", "ops", "ops/polygon_rendering.py",
          "reversed(list(itertools.pairwise(bounds)))",
          "list(itertools.pairwise(bounds))"),
    Fault("polygon-overlap-equal", "ops", "ops/polygon_pairs.py",
          "exact_overlaps(rows, others) > threshold",
          "exact_overlaps(rows, others) >= threshold"),
    Fault("polygon-long-lists", "ops", "ops/polygon_pairs.py",
          "_written(verdicts, places, ops.maximum(found, before))",
          "_written(verdicts, places, found)"),
    Fault("points-half-pixel", "ops", "ops/boxes.py",
          'points = ops.cast(points, "float32") - 0.5',
          'points = ops.cast(points, "float32")'),
    Fault("iou-union", "ops", "ops/boxes.py",
          "box_area(others)[..., None, :] - inter",
          "box_area(others)[..., None, :]"),
    Fault("coder-weights", "ops", "ops/box_coder.py",
          'deltas = ops.cast(deltas, "float32") / np.array(weights, "float32")',
          'deltas = ops.cast(deltas, "float32") / np.array(weights, "float32")[0]'),
    Fault("coder-clamp", "ops", "ops/box_coder.py",
          "ops.exp(ops.minimum(deltas[..., 2:], LARGEST_LOG_SCALE))",
          "ops.exp(deltas[..., 2:])"),
    Fault("nms-equal-iou", "ops", "ops/nms.py",
          "ops.logical_and(iou > self.threshold, position < position[:, None])",
          "ops.logical_and(iou >= self.threshold, position < position[:, None])"),
    Fault("nms-suppressed-suppress", "ops", "ops/nms.py",
          'areas = ops.where(ops.take(keep, other, axis=1), areas, float("inf"))',
          "areas = areas + 0"),
    Fault("nms-across-classes", "ops", "ops/nms.py",
          "return ops.where(classes == ops.take(self.classes, other, axis=1)[:, None], iou, 0.0)",
          "return iou"),
    Fault("match-far-object", "ops", "ops/matching.py",  # torchvision's rule
          "ops.logical_and(iou == highest, highest > 0)",
          "iou == highest"),
    Fault("match-padding", "ops", "ops/matching.py",  # keras-hub's rule
          "iou = ops.where(ops.take(valid, index, axis=1)[:, None], iou, -1.0)",
          "iou = iou + 0"),
    Fault("match-last-object", "ops", "ops/matching.py",
          "ops.where(iou > best, index, closest)",
          "ops.where(iou >= best, index, closest)"),
    Fault("sample-fills-positives", "ops", "ops/matching.py",
          "free = ops.minimum(free[:, None], count - found)",
          "free = ops.minimum(free[:, None], count - most)"),
    Fault("ignore-inside", "ops", "ops/masks.py",
          "valid = ops.logical_and(is_class, ops.logical_not(ignored))",
          "valid = is_class"),
    Fault("shear-sign", "ops", "ops/warp.py",
          "(cos * lean - sin) * flip_y",
          "(cos * lean + sin) * flip_y"),
    Fault("blur-mirror", "ops", "ops/color.py",
          "2 * length - 1 - first - second",
          "2 * length - 2 - first - second"),
    Fault("jpeg-quality", "ops", "ops/color.py",
          "200 - 2 * quality",
          "200 - quality"),
    Fault("dice-twice", "losses", "losses/region.py",
          "safe_divide(2 * overlap + smooth, predicted + true + smooth",
          "safe_divide(overlap + smooth, predicted + true + smooth"),
    Fault("tversky-swapped", "losses", "losses/region.py",
          "errors = alpha * (predicted - overlap) + beta * (true - overlap)",
          "errors = beta * (predicted - overlap) + alpha * (true - overlap)"),
    Fault("smoothing", "losses", "losses/pixel.py",
          "return (1 - label_smoothing) * target.nll + label_smoothing * uniform",
          "return target.nll + label_smoothing * uniform"),
    Fault("topk-rounding", "losses", "losses/pixel.py",
          "ops.ceil(keep_fraction * (1 - 1e-6) * ops.sum(valid))",
          "ops.ceil(keep_fraction * ops.sum(valid))"),
    Fault("pixel-mean", "losses", "losses/base.py",
          "safe_divide(total, ops.sum(counted))",
          "safe_divide(total, ops.sum(ops.ones_like(counted)))"),
    Fault("background-kept", "losses", "losses/base.py",
          "weights[0] = 0.0",
          "weights[0] = 1.0"),
    Fault("power-slope", "losses", "losses/base.py",
          "return ops.where(base < tiny, base * tiny ** (exponent - 1), curve)",
          "return ops.power(base, exponent)"),
    Fault("generalized-scale", "losses", "losses/region.py",
          "class_factors / ops.square(ops.maximum(true, 1.0))",
          "class_factors / ops.maximum(true, 1.0)"),
    Fault("metric-threshold", "metrics", "metrics/confusion_metrics.py",
          "return math.log(self.threshold / (1 - self.threshold))",
          "return 0.0"),
    Fault("per-image-empty", "metrics", "metrics/confusion_metrics.py",
          "ops.sum(ops.cast(classes > 0,",
          "ops.sum(ops.cast(classes >= 0,"),
    Fault("soft-argmax", "metrics", "metrics/base.py",
          "top_class(dense, 0.5)",
          "top_class(dense, 0.0)"),
    Fault("calibration-bin", "metrics", "metrics/calibration.py",
          "ops.maximum(ops.ceil(confidence * (self.bins / ONE)) - 1, 0)",
          "ops.minimum(ops.floor(confidence * (self.bins / ONE)), self.bins - 1)"),
    Fault("ap-counts", "metrics", "metrics/instance_matching.py",
          "return match.tp, match.tp + match.fp + match.fn",
          "return match.tp, match.tp + match.fp"),
    Fault("pq-threshold", "metrics", "metrics/instance_matching.py",
          "_ABOVE_HALF = np.nextafter(0.5, 1)",
          "_ABOVE_HALF = 0.5"),
    Fault("coco-last-of-equal", "metrics", "metrics/greedy_matching.py",
          "is_closer = (is_counted == best_counts[rows]) & (iou >= best_iou[rows])",
          "is_closer = (is_counted == best_counts[rows]) & (iou > best_iou[rows])"),
    Fault("coco-crowd-once", "metrics", "metrics/greedy_matching.py",
          "free[taken, setting] = crowd[taken]",
          "free[taken, setting] = False"),
    Fault("coco-area-ends", "metrics", "metrics/coco_curves.py",
          "return (areas[:, None] < low) | (areas[:, None] > high)",
          "return (areas[:, None] <= low) | (areas[:, None] > high)"),
    Fault("coco-outside-counts", "metrics", "metrics/coco_curves.py",
          "fp = (found < 0) & ~is_outside[:, area, None]",
          "fp = found < 0"),
    Fault("coco-rows", "metrics", "metrics/object_regions.py",
          "first = left * size[0] + top",
          "first = left * size[0]"),  # a wrong column would let pycocotools loop forever
    Fault("detections-duplicate", "metrics", "metrics/detection_confusion.py",
          "can_match = ~targets.crowd | (classes[:, None] == targets.classes)",
          "can_match = classes[:, None] == targets.classes"),
    Fault("ignored-class-kept", "metrics", "metrics/matrix_scores.py",
          "return np.arange(first, first + classes) != ignore_index",
          "return np.arange(first, first + classes) != -1"),
    Fault("invalid-not-counted", "metrics", "metrics/base.py",
          'ops.sum(ops.cast(invalid, "int64"))',
          '0 * ops.sum(ops.cast(invalid, "int64"))'),
    Fault("calibration-overflow", "metrics", "metrics/calibration.py",
          'terms = ops.cast(terms, "int64" if WIDE else "float32")',
          "terms = ops.cast(terms, terms.dtype)"),
    Fault("void-in-iou", "metrics", "metrics/overlaps.py",
          "labeled = np.where(target == VOID, 0, pixels)",
          "labeled = pixels"),
    Fault("pad-side", "models", "models/blocks.py",
          "return (size + self.stride - 1) // self.stride * self.stride",
          "return (size + self.stride) // self.stride * self.stride"),
    Fault("normalize-offset", "models", "models/blocks.py",
          "offset = [-mean / std for mean, std",
          "offset = [-mean for mean, std"),
    Fault("unet-skip", "models", "models/unet.py",
          "skip, width = features[level], filters[level]",
          "skip, width = features[level], filters[level + 1]"),
    Fault("dropout-levels", "models", "models/unet.py",
          "if level >= len(filters) - 2:",
          "if level >= len(filters) - 1:"),
    Fault("standardize-twice", "models", "models/blocks.py",
          "centered = (centered - rounding) * weight",
          "centered = centered * 1.0"),
    Fault("upsample-crop", "models", "models/decoders.py",
          'upsample(logits, stride, "decoder_upsample", dtype="float32")',
          'upsample(logits, stride, "decoder_upsample")'),
    Fault("fold-epsilon", "export", "export/folding.py",
          "np.sqrt(variance + norm.epsilon)",
          "np.sqrt(variance)"),
    Fault("fold-activation", "export", "export/folding.py",
          "if is_output or layer.activation is not keras.activations.linear:",
          "if is_output:"),
    Fault("fold-output", "export", "export/folding.py",
          "if is_output or layer.activation",
          "if layer.activation"),
    Fault("windowed-hill", "export", "ops/windows.py",
          "return 1 - np.abs(np.linspace",
          "return 1.5 - np.abs(np.linspace"),
    Fault("empty-batch", "export", "export/signatures.py",
          "has_pixels = tf.size(image) > 0",
          "has_pixels = tf.size(image) >= 0"),
    Fault("rle-next-column", "export", "export/object_files.py",
          "positions = tf.boolean_mask(positions, ~goes_on)",
          "positions = tf.identity(positions)"),
    Fault("object-behind", "export", "export/object_files.py",
          "value=tf.where(inside & (behind == 0), index + 1, behind)",
          "value=tf.where(inside, index + 1, behind)"),
    Fault("hidden-objects", "export", "export/instance_graph.py",
          "tf.where(is_visible, tf.cumsum(tf.cast(is_visible, tf.int32)), 0)",
          "tf.cumsum(tf.ones_like(sizes[1:]))"),
    Fault("center-order", "export", "export/instance_graph.py",
          "numbers = tf.concat([[0], tf.argsort(order) + 1], 0)",
          "numbers = tf.concat([[0], order + 1], 0)"),
    Fault("api-box-order", "export", "export/detection_outputs.py",
          'boxes = tf.gather(detections["boxes"], [1, 0, 3, 2], axis=-1)',
          'boxes = tf.gather(detections["boxes"], [0, 1, 2, 3], axis=-1)'),
    Fault("matched-twice", "export", "export/detection_parity.py",
          "fits[:, other] = False",
          "fits[:, other] = True"),
    Fault("version-number", "export", "export/versions.py",
          "str(max(used, default=0) + 1)",
          "str(len(used) + 1)"),
    Fault("uncertainty-scale", "export", "export/postprocess.py",
          "return entropy / math.log(probabilities.shape[-1])",
          "return entropy / math.log(2)"),
    Fault("sigmoid-sign", "ops inference", "ops/class_ids.py",
          "return (logits[..., 0] > 0).astype(np.uint8)",
          "return (logits[..., 0] > 0.5).astype(np.uint8)"),
    Fault("slide-weight", "inference", "inference/sliding_windows.py",
          "weighted_sum[window] += weight * logits",
          "weighted_sum[window] += logits"),
    Fault("slide-stride", "inference", "inference/sliding_windows.py",
          "stride = output_stride(model) if isinstance(model, keras.Model) else 1",
          "stride = 1"),
    Fault("slide-statistics", "inference", "inference/sliding_windows.py",
          "total / np.maximum(count, 1)",
          "total / image[..., 0].size"),
    Fault("thresholds-fold", "inference", "inference/instance_tuning.py",
          "held_out = [fold[best_of(rest)] for",
          "held_out = [fold[best_of(metrics)] for"),
    Fault("tuning-ties", "inference", "inference/tuning.py",
          "ties[np.abs(OFFSETS[ties]).argmin()]",
          "ties[np.abs(OFFSETS[ties]).argmax()]"),
    Fault("tuning-fold", "inference", "inference/tuning.py",
          "_fit_offsets(logits[~held_out], labels[~held_out], class_score)",
          "_fit_offsets(logits, labels, class_score)"),
    Fault("split-rounding", "data", "data/splits.py",
          "min(max(1, round(val_fraction * len(reader))), len(reader) - 1)",
          "max(1, round(val_fraction * len(reader)))"),
    Fault("groups-apart", "data", "data/splits.py",
          "is_val = _draw_groups(np.bincount(group), val_fraction * len(reader), rng)[group]",
          "is_val = rng.permutation(len(reader)) < max(1, round(val_fraction * len(reader)))"),
    Fault("cache-alias", "data", "data/cache.py",
          "return dict(self._samples[key])",
          "return self._samples[key]"),
    Fault("resize-nearest", "data", "data/resize.py",
          "(2 * np.arange(new) + 1) * old // (2 * new)",
          "np.arange(new) * old // new"),
    Fault("resize-boxes", "data", "data/resize.py",
          "np.array([inner[1] / width, inner[0] / height] * 2",
          "np.array([inner[0] / height, inner[1] / width] * 2"),
    Fault("crop-mask-fill", "data", "data/augment/crop.py",
          '"mask": self.ignore_index, "instances": 0}',
          '"mask": 0, "instances": 0}'),
    Fault("tight-box-of-piece", "data", "data/augment/crop.py",
          'around = boxes_or_zero(sample["instances"], len(sample["boxes"]))',
          'around = boxes_or_zero(piece["instances"], len(sample["boxes"]))'),
    Fault("mosaic-instances", "data", "data/augment/mixing.py",
          "mixed + ops.cast(num_objects * partner, values.dtype)",
          "mixed + ops.cast(partner, values.dtype)"),
    Fault("native-dct", "data", "data/native/image_decoder.py",
          'dct_method="INTEGER_ACCURATE"',
          'dct_method="INTEGER_FAST"'),
    Fault("native-turned", "data", "data/native/image_decoder.py",
          "_upright(image, turn)\n",
          "_upright(image, UPRIGHT)\n"),
    Fault("native-unknown-value", "data", "data/native/mask_decoder.py",
          "return ids, tf.reduce_all(is_known)",
          "return ids, True"),
    Fault("native-class-pixel", "data", "data/native/pieces.py",
          "return values[tf.minimum(number, count - 1)]",
          "return values[tf.minimum(number + 1, count - 1)]"),
    Fault("native-unsound", "data", "data/native/batch_reader.py",
          "Assert(tf.reduce_all(found == SOUND)",
          "Assert(tf.reduce_all(found >= SOUND)"),
    Fault("native-range", "data", "data/native/file_source.py",
          "tf.where(is_within, SOUND, OUT_OF_RANGE)",
          "tf.where(is_within, SOUND, SOUND)"),
    Fault("cache-dtypes", "data", "data/native/cache_source.py",
          "if stored_arrays(file) != arrays:",
          "if False:"),
    Fault("cache-old-header", "data", "data/cache.py",
          "if len(line) % HEADER:",
          "if False:"),
    Fault("tile-corner", "data", "data/native/tile_decoder.py",
          "image[top:bottom, left:right], mask[top:bottom, left:right]",
          "image[top:bottom, left:right], mask[:bottom - top, left:right]"),
    Fault("native-colors", "data", "data/native/color_mask_decoder.py",
          "red | green << 8 | blue << 16",
          "red | green << 16 | blue << 8"),
    Fault("record-unknown-value", "data", "data/native/record_decoder.py",
          "block_centers(mask, shrink), is_known",
          "block_centers(mask, shrink), True"),
    Fault("first-samples", "data", "data/loading.py",
          "if is_decided and number",
          "if number"),
    Fault("second-epoch", "data", "data/sample_order.py",
          "shuffled(epoch + 1)",
          "shuffled(epoch)"),
    Fault("first-step", "data", "data/sample_order.py",
          "start = next_pass.assign_add(steps) - steps",
          "start = next_pass.assign_add(steps)"),
    Fault("exif-ignored", "data", "data/readers/image_files.py",
          "upright(decode(image, gray), turn)",
          "upright(decode(image, gray), 1)"),
    Fault("tile-small-objects", "data", "data/readers/extract.py",
          "kept = _areas(visible) >= MIN_VISIBLE * areas",
          "kept = _areas(visible) > 0"),
    Fault("crowd-drawn", "data", "data/readers/formats/drawing.py",
          "if crowd[index]:",
          "if False:"),
    Fault("largest-objects", "data", "data/object_limit.py",
          "np.argsort(-np.where(classes < 0, -1, areas)",
          "np.argsort(np.where(classes < 0, -1, areas)"),
    Fault("coco-box", "data", "data/readers/formats/coco.py",
          "return x, y, x + width, y + height",
          "return x, y, width, height"),
    Fault("rle-packed", "data", "data/readers/formats/drawing.py",
          "np.where(digits[last] & 16, 1 << (5 * lengths), 0)",
          "np.where(digits[last] & 32, 1 << (5 * lengths), 0)"),
    Fault("doctor-weights", "doctor", "doctor/label_mapping.py",
          "pixels / np.maximum(shown_pixels, 1)",
          "pixels / max(pixels.sum(), 1)"),
    Fault("doctor-val", "doctor", "doctor/diagnose.py",
          "train = [sample for sample in samples if not sample.val]",
          "train = list(samples)"),
    Fault("compile-steps", "training", "training/presets.py",
          "return SCHEDULES[schedule](peak, steps, max(1, round(warmup * steps)))",
          "return SCHEDULES[schedule](peak, 2 * steps, max(1, round(warmup * steps)))"),
    Fault("resume-state", "training", "training/run_callback.py",
          "        *model.non_trainable_variables,\n",
          ""),
    Fault("best-epoch", "training", "training/run_callback.py",
          "int(scores.argmax())",
          "int(scores.argmin())"),
    Fault("otsu-starts", "classical", "classical/thresholds.py",
          'np.arange(256), side="right") - 1',
          'np.arange(256), side="left") - 1'),
    Fault("holes-border", "classical", "classical/regions.py",
          "enclosed[_border(holes)] = False",
          "enclosed[0] = False  #"),
    Fault("perimeter-diagonal", "classical", "classical/regions.py",
          "return math.pi / 8 * crossings",
          "return math.pi / 4 * crossings"),
    Fault("overlay-ignored", "viz", "viz/class_colors.py",
          "return (labels >= 0) & (labels < num_classes)",
          "return labels >= 0"),
    Fault("image-score-order", "inference", "inference/pixel_counts.py",
          "indices = [order[start:end]",
          "indices = [range(start, end)"),
    Fault("viz-errors", "viz", "viz/error_maps.py",
          "result[ignored] = IGNORED_COLOR",
          "pass"),
    Fault("viz-missed", "viz", "viz/error_maps.py",
          "wrong & (prediction == background)",
          "wrong & (mask == background)"),
    Fault("cli-exit", "cli", "cli/doctor.py",
          "raise typer.Exit(bool(report.errors))",
          "raise typer.Exit(0)"),
    Fault("cli-labels-size", "cli", "inference/prediction_files.py",
          'write_png(_file(stem, "labels.png"), ids)',
          'write_png(_file(stem, "labels.png"), ids[::2, ::2])'),
    Fault("cli-own-results", "cli", "cli/image_paths.py",
          "if not is_own_result(file)]",
          "if file]"),
]
# fmt: on

KNOWN_TO_PASS = {
    # upsampled in half precision, the logits differ by less than any test's tolerance
    "upsample-crop",
}


def own_tests(fault):
    """Return the test file of the faulty module, relative to the root; it need not exist."""
    return f"tests/{Path(fault.file).parent}/test_{Path(fault.file).name}"


def copy_package(folder):
    """Copy tfseg without faults into `folder`."""
    shutil.rmtree(folder / "tfseg", ignore_errors=True)
    shutil.copytree(ROOT / "tfseg", folder / "tfseg", ignore=shutil.ignore_patterns("*.pyc"))


def plant(fault, folder):
    """Change one line of the copy in `folder`."""
    path = folder / "tfseg" / fault.file
    source = path.read_text("utf-8")
    if source.count(fault.code) != 1:
        raise ValueError(
            f"{fault.name}: tfseg/{fault.file} contains {fault.code!r} {source.count(fault.code)} "
            "times, expected once. Update the fault to the code."
        )
    path.write_text(source.replace(fault.code, fault.faulty), "utf-8")


def any_fails(tests, folder):
    """Whether one of the tests fails; exit if pytest cannot run them."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.setdefault("TFSEG_DATA", str(ROOT.parent / "shared" / "data"))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (TESTS_PASSED, TESTS_FAILED, NO_TESTS_SELECTED):
        output = (done.stdout + done.stderr)[-3000:]
        raise SystemExit(f"pytest {' '.join(tests)}: exit code {done.returncode}\n{output}")
    return done.returncode == TESTS_FAILED


@functools.cache
def require_passing(test_file, folder):
    """Exit if a test fails without a fault; each file runs once."""
    if any_fails([test_file], folder):
        raise SystemExit(f"{test_file} fails without a fault. Make it pass first.")


def is_caught(fault, folder):
    """Whether a test fails with the fault, in the module's own file or in its packages."""
    copy_package(folder)
    has_own_tests = (folder / own_tests(fault)).is_file()
    if has_own_tests:
        require_passing(own_tests(fault), folder)
    plant(fault, folder)
    if has_own_tests and any_fails([own_tests(fault)], folder):
        return True
    return any_fails([f"tests/{package}" for package in fault.tests.split()], folder)


def main(names):
    """Run the faults with these names, or all; return the exit code."""
    unknown = set(names) - {fault.name for fault in FAULTS}
    if unknown:
        raise SystemExit(f"unknown faults: {', '.join(sorted(unknown))}")
    selected = [fault for fault in FAULTS if not names or fault.name in names]
    passed = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        for fault in selected:
            caught = is_caught(fault, folder)
            print(f"{fault.name}: {'caught' if caught else 'PASSED'}", flush=True)
            if not caught:
                passed.append(fault.name)
    print(f"{len(selected) - len(passed)} of {len(selected)} faults caught")
    return int(bool(set(passed) - KNOWN_TO_PASS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
