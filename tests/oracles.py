"""Slow references: float64 loops over pixels, written from the definitions, not from our code."""

import numpy as np


def pixels(target, classes, ignore_index=255):
    """Yield (position, per-class values or None if ignored) of labels (B, ...) or dense targets."""
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
    """Return (B, ...) losses, 0 where ignored; weights have mean 1 over the counted pixels."""
    logits = logits.astype("float64")
    classes = logits.shape[-1]
    w = np.ones(max(classes, 2)) if class_weights is None else np.array(class_weights, "float64")
    losses, weights = np.zeros(logits.shape[:-1]), np.zeros(logits.shape[:-1])
    for place, t in pixels(target, classes, ignore_index):
        if t is None:
            continue
        x = logits[place]
        log_p, log_q = (
            -np.logaddexp(0, -x),
            -np.logaddexp(0, x),
        )  # log sigmoid(x), log (1 - sigmoid(x))
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


def binary_cross_entropy(target, logits, ignore_index=255, sigmoid=True):
    """Return (B, ...), the sum over classes of -t log p - (1 - t) log(1 - p), 0 where ignored."""
    p = probabilities(logits.astype("float64"), sigmoid)
    losses = np.zeros(p.shape[:-1])
    for place, t in pixels(target, p.shape[-1], ignore_index):
        for c in range(p.shape[-1]) if t is not None else ():
            losses[place] -= t[c] * np.log(p[place][c]) + (1 - t[c]) * np.log(1 - p[place][c])
    return losses


def focal(target, logits, gamma, ignore_index=255, sigmoid=False):
    """Return (B, ...) -(1 - p_t)**gamma log(p_t) (arXiv:1708.02002, equation 4).

    For sigmoids, the mean over channels.
    """
    p = probabilities(logits.astype("float64"), sigmoid)
    losses, classes = np.zeros(p.shape[:-1]), p.shape[-1]
    for place, t in pixels(target, classes, ignore_index):
        for c in range(classes) if t is not None else ():
            losses[place] -= t[c] * (1 - p[place][c]) ** gamma * np.log(p[place][c])
            if sigmoid:
                losses[place] -= (1 - t[c]) * p[place][c] ** gamma * np.log(1 - p[place][c])
    return losses / classes if sigmoid else losses


def soft_confusion(target, logits, sample_weight=None, ignore_index=255, sigmoid=False):
    """Return the expected tp, fp, fn and tn per class, each (C,)."""
    p = probabilities(logits.astype("float64"), sigmoid)
    classes = p.shape[-1]
    counts = np.zeros((4, classes))
    for place, t in pixels(target, classes, ignore_index):
        weight = 1 if sample_weight is None else sample_weight[place]
        for c in range(classes) if t is not None else ():
            q = p[place][c]
            counts[:, c] += weight * np.array(
                [q * t[c], q * (1 - t[c]), (1 - q) * t[c], (1 - q) * (1 - t[c])]
            )
    return counts


def squared_dice_by_class(target, logits, ignore_index=255, sigmoid=False):
    """Return 1 - 2 sum(p t) / (sum(p**2) + sum(t**2)) per class (arXiv:1606.04797, section 3)."""
    p = probabilities(logits.astype("float64"), sigmoid)
    above, below = np.zeros(p.shape[-1]), np.zeros(p.shape[-1])
    for place, t in pixels(target, p.shape[-1], ignore_index):
        if t is not None:
            above += 2 * p[place] * t
            below += p[place] ** 2 + t**2
    return 1 - above / below


def lovasz(errors, true):
    """Return the Lovász extension of the Jaccard loss at `errors` (arXiv:1705.08790, equation 8).

    In descending order, each error is multiplied by the increase of the Jaccard loss when its pixel
    becomes wrong, too.
    """
    true = [bool(t) for t in true]
    value, before = 0.0, 0.0
    wrong = set()
    for place in sorted(range(len(errors)), key=lambda i: -errors[i]):
        wrong.add(place)
        predicted = [t != (i in wrong) for i, t in enumerate(true)]
        overlap = sum(t and g for t, g in zip(true, predicted, strict=True))
        union = sum(t or g for t, g in zip(true, predicted, strict=True))
        after = 1 - overlap / union if union else 0.0
        value += errors[place] * (after - before)
        before = after
    return value


def distance(mask):
    """Return the distance of each pixel of a mask to the nearest True pixel; infinite if none."""
    places = np.argwhere(mask)
    result = np.full(mask.shape, np.inf)
    for place in np.ndindex(mask.shape):
        for other in places:
            result[place] = min(result[place], np.sqrt(((other - place) ** 2).sum()))
    return result


def signed_distance(mask):
    """`one_hot2dist` of the authors of arXiv:1812.07032; 0 for an empty or full mask."""
    if not mask.any() or mask.all():
        return np.zeros(mask.shape)
    return np.where(mask, 1 - distance(~mask), distance(mask))


def boundary_distance(mask):
    """Distance to the boundary from both sides (arXiv:1904.10030); 0 for an empty or full mask."""
    if not mask.any() or mask.all():
        return np.zeros(mask.shape)
    return np.where(mask, distance(~mask), distance(mask))


def _extreme(image, offsets, choose):
    result = np.zeros(image.shape)
    for place in np.ndindex(image.shape):
        near = [tuple(np.add(place, offset)) for offset in offsets]
        result[place] = choose(
            image[p] for p in near if all(0 <= i < n for i, n in zip(p, image.shape, strict=True))
        )
    return result


def soft_skeleton(image, iterations):
    """arXiv:2003.07311, algorithm 1, of (H, W) or (D, H, W): minima in a cross, maxima in a box."""
    box = list(np.ndindex((3,) * image.ndim))
    box = [tuple(i - 1 for i in offset) for offset in box]
    cross = [offset for offset in box if sum(map(abs, offset)) <= 1]

    def opened(x):
        return _extreme(_extreme(x, cross, min), box, max)

    skeleton = np.maximum(image - opened(image), 0)
    for _ in range(iterations):
        image = _extreme(image, cross, min)
        skeleton = skeleton + (1 - skeleton) * np.maximum(image - opened(image), 0)
    return skeleton


def cl_dice(p, t, iterations, smooth):
    """1 - clDice of one class (arXiv:2003.07311, equation 1 and algorithm 2)."""
    bone_p, bone_t = soft_skeleton(p, iterations), soft_skeleton(t, iterations)
    precision = ((bone_p * t).sum() + smooth) / (bone_p.sum() + smooth)
    recall = ((bone_t * p).sum() + smooth) / (bone_t.sum() + smooth)
    return 1 - 2 * precision * recall / (precision + recall)


def confusion_matrix(labels, predictions, classes, ignore_index=255):
    matrix = np.zeros((classes, classes), int)
    for label, predicted in zip(
        np.ravel(labels).tolist(), np.ravel(predictions).tolist(), strict=True
    ):
        if label != ignore_index and 0 <= label < classes:
            matrix[label, predicted] += 1
    return matrix


def scores(matrix, zero_division=np.nan):
    """Return {"iou", "dice", "precision", "recall", "specificity": list of values per class}."""
    result = {"iou": [], "dice": [], "precision": [], "recall": [], "specificity": []}
    total = sum(sum(row) for row in matrix)
    for c in range(len(matrix)):
        tp = matrix[c][c]
        fn = sum(matrix[c]) - tp
        fp = sum(row[c] for row in matrix) - tp
        tn = total - tp - fn - fp
        for name, above, below in (
            ("iou", tp, tp + fn + fp),
            ("dice", 2 * tp, 2 * tp + fn + fp),
            ("precision", tp, tp + fp),
            ("recall", tp, tp + fn),
            ("specificity", tn, tn + fp),
        ):
            result[name].append(above / below if below else zero_division)
    return result


def mean_by_image(labels, predictions, classes, score, ignore_index=255, zero_division=np.nan):
    """Return the mean over images of their mean over classes, without those that have no score."""
    means = []
    for label, predicted in zip(labels, predictions, strict=True):
        matrix = confusion_matrix(label, predicted, classes, ignore_index).tolist()
        values = [value for value in scores(matrix, zero_division)[score] if value == value]
        means += [sum(values) / len(values)] if values else []
    return sum(means) / len(means) if means else np.nan


def channel_matrices(labels, predictions, valid):
    """Return (C, 2, 2) counts of [label][prediction] for bool (..., C), where `valid` (...)."""
    matrices = np.zeros((labels.shape[-1], 2, 2), int)
    for place in np.ndindex(labels.shape):
        if valid[place[:-1]]:
            matrices[place[-1], int(labels[place]), int(predictions[place])] += 1
    return matrices


def reliability(labels, probabilities, bins, ignore_index=255):
    """Return pixels, correct pixels and sum of confidences per bin (j / bins, (j + 1) / bins]."""
    classes = probabilities.shape[-1]
    table = np.zeros((bins, 3))
    for place in np.ndindex(labels.shape):
        label, p = int(labels[place]), probabilities[place]
        if label == ignore_index or not 0 <= label < classes:
            continue
        for j in range(bins):
            if j / bins < p.max() <= (j + 1) / bins:
                table[j] += 1, p.argmax() == label, p.max()
    return table.T


def panoptic_counts(target, prediction, void, crowd):
    """Return tp, fp, fn and sum of IoU of an image (arXiv:1801.00868, section 4), of one class.

    As `pq_compute_single_core` of github.com/cocodataset/panopticapi: void pixels are subtracted
    from the union, and a prediction that is mostly void or crowd is not a false positive.
    """
    targets = sorted(set(target[~void].flat) - {0, *crowd})
    predictions = sorted(set(prediction.flat) - {0})
    matched, iou_sum = [], 0.0
    for t in targets:
        for p in predictions:
            first, second = (target == t) & ~void, prediction == p
            intersection = (first & second).sum()
            union = first.sum() + second.sum() - intersection - (second & void).sum()
            if intersection / union > 0.5:
                matched.append(p)
                iou_sum += intersection / union
    left_out = void | np.isin(target, list(crowd))
    wrong = [p for p in predictions if p not in matched]
    wrong = [p for p in wrong if left_out[prediction == p].mean() <= 0.5]
    return len(matched), len(wrong), len(targets) - len(matched), iou_sum


def class_panoptic_counts(targets, predictions, void):
    """Return {class: [tp, fp, fn, sum of IoU]} of an image (arXiv:1801.00868).

    As `pq_compute_single_core` of github.com/cocodataset/panopticapi, segment by segment.

    Args:
        targets: list of (mask, class, is crowd).
        predictions: list of (mask, class).
        void: bool mask.
    """
    counts = {name: [0, 0, 0, 0.0] for _, name, *_ in [*targets, *predictions]}
    matched_targets, matched_predictions = set(), set()
    for t, (target, name, is_crowd) in enumerate(targets):
        for p, (prediction, other) in enumerate(predictions):
            intersection = (target & prediction).sum()
            union = target.sum() + prediction.sum() - intersection - (prediction & void).sum()
            if name == other and not is_crowd and intersection > 0 and intersection / union > 0.5:
                counts[name][0] += 1
                counts[name][3] += intersection / union
                matched_targets.add(t)
                matched_predictions.add(p)
    for p, (prediction, name) in enumerate(predictions):
        crowds = [target for target, other, is_crowd in targets if is_crowd and other == name]
        left_out = void.copy()
        for crowd in crowds:
            left_out |= crowd
        is_left_out = (prediction & left_out).sum() / prediction.sum() > 0.5
        counts[name][1] += p not in matched_predictions and not is_left_out
    for t, (_, name, is_crowd) in enumerate(targets):
        counts[name][2] += t not in matched_targets and not is_crowd
    return counts


def jaccard_sums(target, prediction):
    """Return the sums C and U of an image (doi:10.1109/TMI.2017.2677499, algorithm 1).

    A target without any overlap adds its own pixels to U.
    """
    first, second, used = 0, 0, set()
    for t in sorted(set(target.flat) - {0}):
        overlaps = {}
        for p in sorted(set(prediction.ravel().tolist()) - {0}):
            intersection = ((target == t) & (prediction == p)).sum()
            union = ((target == t) | (prediction == p)).sum()
            if intersection:
                overlaps[p] = intersection / union, intersection, union
        if not overlaps:
            second += (target == t).sum()
            continue
        best = max(overlaps, key=lambda p: (overlaps[p][0], -p))
        used.add(best)
        first += overlaps[best][1]
        second += overlaps[best][2]
    second += sum((prediction == p).sum() for p in set(prediction.ravel().tolist()) - {0} - used)
    return first, second


def box_iou(box, other):
    """Return the intersection over union of two boxes x_min, y_min, x_max, y_max, in float64."""
    box, other = np.array(box, "float64"), np.array(other, "float64")
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    inter = np.prod(np.maximum(sides, 0))
    union = sum(np.prod(np.maximum(b[2:] - b[:2], 0)) for b in (box, other)) - inter
    return inter / union if union > 0 else 0.0


def nms(boxes, scores, threshold, classes=None, valid=None):
    """Return the indices that greedy suppression keeps of one image, by descending score."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        rivals = [j for j in kept if classes is None or classes[i] == classes[j]]
        overlaps = any(box_iou(boxes[i], boxes[j]) > threshold for j in rivals)
        if (valid is None or valid[i]) and not overlaps:
            kept.append(i)
    return kept


def polygon_nms(distances, centers, scores, threshold, valid=None):
    """Return the indices that greedy suppression keeps of star polygons, by descending score."""
    import shapely

    angles = 2 * np.pi * np.arange(np.shape(distances)[-1]) / np.shape(distances)[-1]
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    vertices = np.asarray(centers)[:, None] + np.asarray(distances)[..., None] * rays
    shapes = [shapely.Polygon(polygon) for polygon in vertices]
    kept = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        overlaps = [
            shapes[i].intersection(shapes[j]).area / min(shapes[i].area, shapes[j].area)
            for j in kept
            if shapes[i].intersects(shapes[j])
        ]
        if (valid is None or valid[i]) and max(overlaps, default=0) <= threshold:
            kept.append(i)
    return kept


def match_boxes(similarity, high, low, low_quality, valid):
    """Return the object of each anchor of one image, -1 for background and -2 for ignored."""
    objects = [i for i in range(len(similarity)) if valid[i]]
    matches = []
    for anchor in range(similarity.shape[1]):
        values = {i: similarity[i, anchor] for i in objects}
        best = max(values.values(), default=0)
        found = -1 if best < low else -2
        is_best_of_any = any(
            values[i] == similarity[i].max() and similarity[i].max() > 0 for i in objects
        )
        if objects and (best >= high or (low_quality and is_best_of_any)):
            found = min(i for i in objects if values[i] == best)
        matches.append(found)
    return matches


def sample_matches(matches, priorities, count, positive_fraction):
    """Return the anchors drawn for one image: those that are positive, and the background."""
    order = sorted(range(len(matches)), key=lambda i: (-priorities[i], i))
    positives = [i for i in order if matches[i] >= 0][: int(count * positive_fraction)]
    negatives = [i for i in order if matches[i] == -1][: count - len(positives)]
    return positives, negatives


def affine_warp(image, matrix, size, fill=0.0):
    """Warp one image (H, W, C) bilinearly; `matrix` (2, 3) maps output (x, y, 1) to the source."""
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


def block_means(image, times=1):
    """Average (H, W, C) over 2 x 2 pixels, repeatedly; a last odd row or column counts twice."""
    for _ in range(times):
        height, width, channels = image.shape
        result = np.zeros(((height + 1) // 2, (width + 1) // 2, channels))
        for y, x in np.ndindex(result.shape[:2]):
            rows, columns = (2 * y, min(2 * y + 1, height - 1)), (2 * x, min(2 * x + 1, width - 1))
            result[y, x] = (
                sum(image[row, column].astype("float64") for row in rows for column in columns) / 4
            )
        image = result
    return image


def b_spline(degree, x):
    """The uniform B-spline with support [0, degree + 1], by the recursion of Cox and de Boor."""
    if degree == 0:
        return float(0 <= x < 1)
    return (x * b_spline(degree - 1, x) + (degree + 1 - x) * b_spline(degree - 1, x - 1)) / degree


def spline_surface(coarse, size):
    """Return (height, width) of cubic B-splines on a lattice (rows, columns), except its border."""
    rows, columns = coarse.shape
    result = np.zeros(size)
    for y, x in np.ndindex(*size):
        at_y, at_x = 1 + y * (rows - 3) / (size[0] - 1), 1 + x * (columns - 3) / (size[1] - 1)
        for i, j in np.ndindex(rows, columns):
            result[y, x] += coarse[i, j] * b_spline(3, at_y - i + 2) * b_spline(3, at_x - j + 2)
    return result


def normalized_gaussian(points):
    """Return (N, N) Gaussians of std 1 between (N, d) points: D^-1/2 K D^-1/2, D the row sums."""
    kernel = np.exp(-((points[:, None] - points[None]) ** 2).sum(-1) / 2)
    roots = np.sqrt(kernel.sum(1))
    return kernel / roots[:, None] / roots


def dense_crf(
    logits,
    image,
    iterations,
    smoothness_weight,
    smoothness_std,
    bilateral_weight,
    position_std,
    color_std,
):
    """Mean field of a fully connected Potts CRF (arXiv:1210.5644), by all pairs: (H, W, C)."""
    height, width, classes = logits.shape
    places = np.stack(np.mgrid[:height, :width], -1).reshape(-1, 2)
    colors = np.asarray(image, float).reshape(height * width, -1)
    kernel = smoothness_weight * normalized_gaussian(places / smoothness_std)
    features = np.concatenate([places / position_std, colors / color_std], 1)
    kernel += bilateral_weight * normalized_gaussian(features)
    unary = scores = logits.reshape(-1, classes).astype(float)
    for _ in range(iterations + 1):
        p = np.exp(scores - scores.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        scores = unary + kernel @ p
    return p.reshape(logits.shape)


def guided(values, image, radius, epsilon):
    """Guided filter (doi:10.1109/TPAMI.2012.213) of (H, W, K) values, window by window."""
    height, width, classes = values.shape
    guide = np.asarray(image, float).reshape(height, width, -1) / 255
    total, windows = np.zeros(values.shape), np.zeros((height, width, 1))
    for y in range(height):
        for x in range(width):
            place = np.s_[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
            colors, outputs = (
                guide[place].reshape(-1, guide.shape[-1]),
                values[place].reshape(-1, classes),
            )
            off = colors - colors.mean(0)
            slope = np.linalg.solve(
                off.T @ off / len(off) + epsilon * np.eye(off.shape[1]),
                off.T @ (outputs - outputs.mean(0)) / len(off),
            )
            line = (guide[place] - colors.mean(0)) @ slope + outputs.mean(0)
            total[place] += line
            windows[place] += 1
    return total / windows
