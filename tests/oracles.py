"""Slow truths: float64 loops over pixels, written from the definitions and never from tfseg's code."""

import numpy as np


def pixels(target, classes, ignore_index=255):
    """Yield (position, one value a class or None where ignored) for labels (B, ...) or dense (B, ..., C)."""
    dense = target.ndim > 1 and target.shape[-1] == classes and target.dtype.kind == "f"
    for place in np.ndindex(target.shape[:-1] if dense else target.shape):
        if dense:
            values = target[place].astype("float64")
            yield place, None if ignore_index in values else values
        else:
            label = int(target[place])
            if label == ignore_index or not 0 <= label < max(classes, 2):
                yield place, None
            else:
                yield place, np.eye(classes)[label] if classes > 1 else np.array([float(label)])


def probabilities(logits, sigmoid):
    if sigmoid:
        return np.exp(-np.logaddexp(0, -logits))
    return np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))


def cross_entropy(target, logits, class_weights=None, ignore_index=255, sigmoid=False):
    """(B, ...) losses, 0 where ignored; weights scaled to a mean of 1 over the counted pixels."""
    logits = logits.astype("float64")
    classes = logits.shape[-1]
    w = np.ones(max(classes, 2)) if class_weights is None else np.array(class_weights, "float64")
    losses, weights = np.zeros(logits.shape[:-1]), np.zeros(logits.shape[:-1])
    for place, t in pixels(target, classes, ignore_index):
        if t is None:
            continue
        x = logits[place]
        log_p, log_q = -np.logaddexp(0, -x), -np.logaddexp(0, x)  # log sigmoid(x), log (1 - sigmoid(x))
        if not sigmoid:
            losses[place] = sum(-t[c] * (x[c] - np.logaddexp.reduce(x)) for c in range(classes))
            weights[place] = sum(t[c] * w[c] for c in range(classes))
        elif classes == 1:
            losses[place] = -t[0] * log_p[0] - (1 - t[0]) * log_q[0]
            weights[place] = t[0] * w[1] + (1 - t[0]) * w[0]
        else:
            each = [-t[c] * log_p[c] - (1 - t[c]) * log_q[c] for c in range(classes)]
            losses[place] = sum(w[c] * each[c] for c in range(classes)) / sum(w[:classes])
            weights[place] = 1
    counted = sum(t is not None for _, t in pixels(target, classes, ignore_index))
    return losses * weights * counted / weights.sum()


def dice_by_class(target, logits, smooth, sample_weight=None, ignore_index=255, sigmoid=False):
    """([1 - (2 I + s) / (P + T + s) for each class], [whether the target holds it]) over all pixels."""
    p = probabilities(logits.astype("float64"), sigmoid)
    classes = p.shape[-1]
    overlap, predicted, truth = np.zeros(classes), np.zeros(classes), np.zeros(classes)
    for place, t in pixels(target, classes, ignore_index):
        if t is None:
            continue
        weight = 1 if sample_weight is None else sample_weight[place]
        for c in range(classes):
            overlap[c] += weight * p[place][c] * t[c]
            predicted[c] += weight * p[place][c]
            truth[c] += weight * t[c]
    return 1 - (2 * overlap + smooth) / (predicted + truth + smooth), truth > 0


def confusion_matrix(labels, predictions, classes, ignore_index=255):
    matrix = np.zeros((classes, classes), int)
    for truth, guess in zip(np.ravel(labels).tolist(), np.ravel(predictions).tolist(), strict=True):
        if truth != ignore_index and 0 <= truth < classes:
            matrix[truth, guess] += 1
    return matrix


def scores(matrix):
    """{"iou", "dice", "accuracy"} a class, NaN where there is nothing to divide by."""
    result = {"iou": [], "dice": [], "accuracy": []}
    for c in range(len(matrix)):
        hit = matrix[c][c]
        missed = sum(matrix[c]) - hit
        wrong = sum(row[c] for row in matrix) - hit
        for name, above, below in (
            ("iou", hit, hit + missed + wrong),
            ("dice", 2 * hit, 2 * hit + missed + wrong),
            ("accuracy", hit, hit + missed),
        ):
            result[name].append(above / below if below else np.nan)
    return result


def affine_warp(image, matrix, size, fill=0.0):
    """Bilinear (h, w, C) of one image (H, W, C): output (x, y, 1) -> source through `matrix` (2, 3)."""
    height, width, channels = image.shape
    result = np.zeros((*size, channels))
    for y, x in np.ndindex(*size):
        source_x, source_y = np.asarray(matrix, "float64") @ (x, y, 1)
        left, top = int(np.floor(source_x)), int(np.floor(source_y))
        for row in (top, top + 1):
            for column in (left, left + 1):
                weight = (1 - abs(source_y - row)) * (1 - abs(source_x - column))
                inside = 0 <= row < height and 0 <= column < width
                result[y, x] += weight * (image[row, column].astype("float64") if inside else fill)
    return result
