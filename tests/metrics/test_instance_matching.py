import itertools
import math

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tfseg.metrics import average_precision, match_instances, panoptic_quality

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def draw(text):
    """Return a label map from rows of digits; '.' is background."""
    return np.array([[int(pixel.replace(".", "0")) for pixel in row] for row in text.split()])


def slow_table(target, prediction):
    """Return {(target number, predicted number): IoU} of all pairs, by masks."""
    table = {}
    for t, p in itertools.product(
        sorted(set(target.flat) - {0}), sorted(set(prediction.flat) - {0})
    ):
        table[t, p] = ((target == t) & (prediction == p)).sum() / (
            (target == t) | (prediction == p)
        ).sum()
    return table


def largest_matching(table, threshold):
    """Return (number of pairs, sum of IoU) of the best one-to-one matching, by trying all."""
    pairs = [pair for pair, iou in table.items() if iou >= threshold]

    def best(start, taken):
        results = [(0, 0.0)]
        for index in range(start, len(pairs)):
            t, p = pairs[index]
            if not taken & {("t", t), ("p", p)}:
                count, total = best(index + 1, taken | {("t", t), ("p", p)})
                results.append((count + 1, total + table[t, p]))
        return max(results)

    return best(0, frozenset())


def cells(seed, shape=(64, 80), count=14):
    """Return overlapping discs, and the same shifted, some missing, one added, renumbered."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    target, prediction = np.zeros(shape, "uint16"), np.zeros(shape, "int32")
    for number in range(1, count + 1):
        center, radius, shift = rng.uniform(0, shape), rng.uniform(4, 9), rng.uniform(-2.5, 2.5, 2)
        target[np.hypot(y - center[0], x - center[1]) < radius] = number
        if rng.random() < 0.85:
            prediction[np.hypot(y - center[0] - shift[0], x - center[1] - shift[1]) < radius] = (
                100 - 3 * number
            )
    prediction[2:6, 3:9] = 7
    return target, prediction


# Target 1 has 6 pixels, 4 of them in the 5 of prediction 5: IoU 4 / 7. Target 2 has 4 pixels, 3 in
# the 3 of prediction 3: 3 / 4. Target 4 has 3, 1 in prediction 2: 1 / 3. Prediction 9 has no
# overlap.
TARGET = draw("111..22 111..22 ....... 444....")
PREDICTION = draw("55..933 55..9.3 5...... 2......")


def test_matching_by_hand():
    match = match_instances(TARGET, PREDICTION)
    assert (match.tp, match.fp, match.fn) == (2, 2, 1)
    assert match.pairs == ((1, 5), (2, 3))
    assert match.iou_sum == pytest.approx(4 / 7 + 3 / 4)
    assert match_instances(TARGET, PREDICTION, 0.6).pairs == ((2, 3),)
    assert match_instances(PREDICTION, TARGET, 0.75).pairs == (
        (3, 2),
    )  # an IoU equal to the threshold matches
    assert match_instances(TARGET, PREDICTION, 0.76).pairs == ()
    assert all(type(value) is int for value in (match.tp, match.fp, match.fn, *match.pairs[0]))


def test_average_precision_by_hand():
    # 3 target and 4 predicted objects. Two matches: 2 / (2 + 2 + 1); one: 1 / (1 + 3 + 2).
    # The second image has 1 object, predicted exactly: 3 / 6, 2 / 7, 1 / 8.
    result = average_precision([TARGET], [PREDICTION], (0.5, 0.6, 0.8))
    assert result["ap"] == pytest.approx([2 / 5, 1 / 6, 0])
    assert result["f1"] == pytest.approx([2 * 2 / 7, 2 * 1 / 7, 0])
    result = average_precision((TARGET, draw("1.")), (PREDICTION, draw("8.")), (0.5, 0.6, 0.8))
    assert result["ap"] == pytest.approx([3 / 6, 2 / 7, 1 / 8])
    assert result["mean_ap"] == pytest.approx((3 / 6 + 2 / 7 + 1 / 8) / 3)
    assert type(result["mean_ap"]) is float


def test_average_precision_of_the_data_science_bowl():
    # above 0.75, target 2 has no match; each image has its own mean over the thresholds
    assert average_precision([TARGET], [PREDICTION], (0.75,))["ap"] == pytest.approx([1 / 6])
    images = (TARGET, draw("1."), draw("..")), (PREDICTION, draw("8."), draw(".."))
    result = average_precision(*images, (0.5, 0.6, 0.75), by_image=True)
    assert result["ap"] == pytest.approx([(2 / 5 + 1) / 2, (1 / 6 + 1) / 2, (0 + 1) / 2])
    assert result["mean_ap"] == pytest.approx(((2 / 5 + 1 / 6 + 0) / 3 + 1) / 2)
    assert result["f1"] == pytest.approx([(4 / 7 + 1) / 2, (2 / 7 + 1) / 2, (0 + 1) / 2])
    assert type(result["mean_ap"]) is float


# Void are the last two columns, crowd is target 8. Target 3 has 4 pixels; prediction 6 has 3 of
# them, 1 other and 2 void ones: IoU 3 / 5. Of prediction 7, 2 of 3 pixels are crowd; of 4, one is
# crowd and one void; 2 is void only.
WITH_CROWD = draw("333.... 3...... ....... 8888...")
AROUND_IT = draw("66...66 66..1.. 7....22 77.444.")
VOID = np.arange(7) + np.zeros((4, 1)) >= 5


def test_void_and_crowd_by_hand():
    images = [WITH_CROWD], [AROUND_IT]
    # panoptic quality adds void and crowd: only prediction 1 is wrong
    quality = panoptic_quality(*images, void=[VOID], crowd=[[8]])
    assert quality == pytest.approx({"pq": 3 / 5 * 2 / 3, "sq": 3 / 5, "rq": 2 / 3})
    # average precision looks at each by itself: 1 / 3 of prediction 4 is not enough
    result = average_precision(*images, (0.5, 0.6, 0.65), void=[VOID], crowd=[[8]])
    assert result["ap"] == pytest.approx([1 / 3, 1 / 3, 0])
    assert panoptic_quality(*images)["pq"] == 0
    nothing = {"void": [None], "crowd": [None]}
    assert panoptic_quality(*images, **nothing) == panoptic_quality(*images)
    # an image of nothing but void has no score
    everything = np.ones(VOID.shape, bool)
    assert math.isnan(panoptic_quality(*images, void=[everything])["pq"])
    assert math.isnan(average_precision(*images, by_image=True, void=[everything])["mean_ap"])


def test_panoptic_quality_by_hand():
    # 2 + 1 matches of 4 target and 5 predicted objects: rq 2 * 3 / (4 + 5), sq the mean of 4/7,
    # 3/4, 1.
    result = panoptic_quality([TARGET, draw("1.")], [PREDICTION, draw("8.")])
    sq, rq = (4 / 7 + 3 / 4 + 1) / 3, 6 / 9
    assert result == pytest.approx({"pq": sq * rq, "sq": sq, "rq": rq})
    assert all(type(value) is float for value in result.values())


def test_panoptic_quality_needs_an_iou_above_0_5():
    half = draw("11.."), draw("1111")
    assert match_instances(*half).tp == 1
    assert panoptic_quality(*([labels] for labels in half)) == {"pq": 0, "sq": 0, "rq": 0}


@pytest.mark.parametrize(
    ("target", "prediction"), [("1111", "2233"), ("2233", "1111"), ("1111..5", "2233.55")]
)
def test_only_one_of_two_halves_matches(target, prediction):
    target, prediction = draw(target), draw(prediction)
    match = match_instances(target, prediction)
    count, total = largest_matching(slow_table(target, prediction), 0.5)
    assert (match.tp, match.iou_sum) == (count, total)
    for numbers in zip(*match.pairs, strict=True):
        assert len(set(numbers)) == len(numbers)


def test_objects_can_have_several_pieces_and_any_number():
    # Target 7 has two pieces, with 3 of its 4 pixels in prediction 1000000.
    target = draw("77..7 ...77") * (draw("11111 11110") > 0)
    prediction = np.array([[10**6, 10**6, 0, 0, 10**6], [0, 0, 0, 0, 0]])
    assert match_instances(target, prediction).pairs == ((7, 10**6),)
    assert match_instances(target, prediction).iou_sum == 3 / 4


labels = st.sampled_from([(4, 5), (1, 8), (2, 3, 2)]).flatmap(
    lambda shape: st.tuples(*[arrays("uint8", shape, elements=st.integers(0, 4))] * 2)
)


@given(labels, st.sampled_from((*THRESHOLDS, 1)))
@settings(deadline=None, max_examples=100)
def test_matching_is_the_largest_one_to_one_matching(pair, threshold):
    target, prediction = pair
    match, table = match_instances(target, prediction, threshold), slow_table(target, prediction)
    assert (match.tp, pytest.approx(match.iou_sum)) == largest_matching(table, threshold)
    assert match.tp + match.fn == len(set(target.flat) - {0})
    assert match.tp + match.fp == len(set(prediction.flat) - {0})
    assert match.iou_sum == pytest.approx(sum(table[pair] for pair in match.pairs))
    assert all(table[pair] >= threshold for pair in match.pairs)
    for numbers in zip(*match.pairs, strict=True):
        assert len(set(numbers)) == len(numbers) == match.tp


@given(labels, st.randoms(use_true_random=False), st.sets(st.integers(1, 4), max_size=1))
@settings(deadline=None, max_examples=50)
def test_panoptic_quality_matches_panopticapi(pair, random, crowd):
    target, prediction = pair
    void = np.reshape([random.random() < 0.3 for _ in range(target.size)], target.shape)
    tp, fp, fn, iou_sum = oracles.panoptic_counts(target, prediction, void, crowd)
    quality = panoptic_quality([target], [prediction], [void], [sorted(crowd)])
    if tp + fp + fn == 0:
        assert math.isnan(quality["pq"])
        return
    assert quality["rq"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert quality["sq"] == pytest.approx(iou_sum / max(tp, 1))


@given(labels.filter(lambda pair: pair[0].ndim == 2), st.sets(st.integers(1, 4), max_size=2))
@settings(deadline=None, max_examples=20)
def test_crowds_match_pycocotools(pair, crowd):
    target, prediction = pair
    result = average_precision([target], [prediction], crowd=[sorted(crowd)])
    expected = coco_precision(target, prediction, crowd)
    assert result["ap"] == pytest.approx(expected, nan_ok=True)


def coco_precision(target, prediction, crowd):
    """Return TP / (TP + FP + FN) per threshold, from the matches of COCOeval."""
    coco, mask = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.mask")
    evaluation = pytest.importorskip("pycocotools.cocoeval")

    def annotations(labels):
        for number in sorted(set(labels.flat) - {0}):
            rle = mask.encode(np.asfortranarray((labels == number).astype("uint8")))
            fields = {"id": int(number), "image_id": 1, "category_id": 1, "score": 1.0}
            area = int((labels == number).sum())
            yield fields | {"segmentation": rle, "area": area, "bbox": [0, 0, 1, 1]}

    def dataset(labels, crowd):
        result = coco.COCO()
        found = [a | {"iscrowd": int(a["id"] in crowd)} for a in annotations(labels)]
        image = {"id": 1, "height": labels.shape[0], "width": labels.shape[1]}
        result.dataset = {"images": [image], "categories": [{"id": 1}], "annotations": found}
        result.createIndex()
        return result

    run = evaluation.COCOeval(dataset(target, crowd), dataset(prediction, ()), "segm")
    run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
    run.evaluate()
    if run.evalImgs[0] is None:
        return [math.nan] * 10
    image = run.evalImgs[0]
    counted = ~np.asarray(image["dtIgnore"], bool)
    is_matched = np.asarray(image["dtMatches"]) > 0
    tp, fp = (is_matched & counted).sum(1), (~is_matched & counted).sum(1)
    fn = np.sum((~np.asarray(image["gtIgnore"], bool)) & (image["gtMatches"] == 0), axis=1)
    objects = tp + fp + fn
    return np.where(objects > 0, tp / np.maximum(objects, 1), math.nan)


@given(st.lists(labels, min_size=1, max_size=3))
@settings(deadline=None, max_examples=20)
def test_scores_by_image_match_the_slow_definition(pairs):
    means = []
    for target, prediction in pairs:
        table = slow_table(target, prediction)
        objects = len(set(target.flat) - {0}) + len(set(prediction.flat) - {0})
        tp = np.array([sum(iou > t for iou in table.values()) for t in THRESHOLDS])
        means += [np.mean(tp / (objects - tp))] if objects else []
    result = average_precision(*zip(*pairs, strict=True), by_image=True)
    expected = np.mean(means) if means else math.nan
    assert result["mean_ap"] == pytest.approx(expected, nan_ok=True)


@given(labels, st.permutations(range(1, 5)), st.permutations((3, 70, 600, 5000)))
@settings(deadline=None, max_examples=25)
def test_numbers_of_objects_do_not_matter(pair, first, second):
    others = [
        np.array([0, *numbers])[labels]
        for labels, numbers in zip(pair, (first, second), strict=True)
    ]
    one, other = match_instances(*pair), match_instances(*others)
    assert (one.tp, one.fp, one.fn, one.iou_sum) == (other.tp, other.fp, other.fn, other.iou_sum)


@given(st.lists(labels, min_size=1, max_size=3), st.randoms())
@settings(deadline=None, max_examples=25)
def test_scores_are_in_range_and_do_not_depend_on_the_order(pairs, random):
    targets, predictions = zip(*pairs, strict=True)
    result = average_precision(targets, predictions)
    if not any(labels.any() for pair in pairs for labels in pair):
        assert np.isnan(result["ap"]).all()
        return
    assert ((result["ap"] >= 0) & (result["ap"] <= 1)).all()
    assert (np.diff(result["ap"]) <= 0).all()
    quality = panoptic_quality(targets, predictions)
    assert all(0 <= value <= 1 for value in quality.values())
    assert panoptic_quality(predictions, targets) == quality
    shuffled = random.sample(pairs, len(pairs))
    assert panoptic_quality(*zip(*shuffled, strict=True)) == quality
    assert average_precision(*zip(*shuffled, strict=True))["ap"].tolist() == result["ap"].tolist()
    if any(target.any() for target in targets):
        assert (
            average_precision(targets, targets)["mean_ap"]
            == panoptic_quality(targets, targets)["pq"]
            == 1
        )


def test_values_of_stardist_and_monai():
    targets, predictions = zip(*map(cells, range(4)), strict=True)
    result = average_precision(targets, predictions)
    # StarDist 0.9.2, matching_dataset: tp, fp, fn at 0.5 are 41, 9, 15; at 0.75 5, 45, 51.
    accuracy = [
        41 / 65,
        34 / 72,
        25 / 81,
        20 / 86,
        13 / 93,
        5 / 101,
        2 / 104,
        2 / 104,
        2 / 104,
        2 / 104,
    ]
    assert result["ap"] == pytest.approx(accuracy)
    assert result["mean_ap"] == pytest.approx(0.191040454)
    # MONAI 1.6.1, compute_panoptic_quality (float32): tp, fp, fn and sum of IoU per image. StarDist
    # gives the same at threshold 0.500001. One of its 41 matches has an IoU of exactly 0.5.
    expected = {"pq": 0.49396235, "sq": 0.6545001, "rq": 0.754717}
    assert panoptic_quality(targets, predictions) == pytest.approx(expected, rel=1e-6)
    match = match_instances(targets[1], predictions[1])
    assert (match.tp, match.fp, match.fn, pytest.approx(match.iou_sum)) == (8, 2, 6, 5.446666734)
    assert match.pairs == (
        (1, 97),
        (3, 91),
        (8, 76),
        (9, 73),
        (10, 70),
        (11, 67),
        (12, 64),
        (14, 58),
    )


def test_sums_do_not_depend_on_the_order_of_numbers_and_images():
    pairs = [cells(seed) for seed in range(4)]
    quality = panoptic_quality(*zip(*pairs, strict=True))
    for order in itertools.permutations(pairs):
        assert panoptic_quality(*zip(*order, strict=True)) == quality
    for target, prediction in pairs:
        for seed in range(10):
            numbers = np.append(0, np.random.default_rng(seed).permutation(target.max()) + 1)
            assert (
                match_instances(numbers[target], prediction).iou_sum
                == match_instances(target, prediction).iou_sum
            )


def test_thousands_of_objects():
    # 4096 squares of 13 x 13, shifted by 1 and 2: overlap 12 * 11, IoU 132 / (2 * 169 - 132).
    y, x = np.indices((1024, 1024))
    target = np.where((y % 16 < 3) | (x % 16 < 3), 0, y // 16 * 64 + x // 16 + 1)
    match = match_instances(target, np.roll(target, (1, 2), (0, 1)))
    assert (match.tp, match.fp, match.fn) == (4096, 0, 0)
    assert match.iou_sum == pytest.approx(4096 * 132 / 206)


def test_real_nuclei(shared_data):
    folder = shared_data / "dsb2018_fluo"
    names = (folder / "val.txt").read_text().split()
    targets = [np.array(Image.open(folder / "labels" / f"{name}.png")) for name in names]
    assert (
        average_precision(targets, targets)["mean_ap"]
        == panoptic_quality(targets, targets)["pq"]
        == 1
    )
    # Every fifth nucleus is missing, all others are shifted by two pixels.
    moved = [np.roll(np.where(labels % 5 == 0, 0, labels), 2, 1) for labels in targets]
    result = average_precision(targets, moved)
    kept = sum(len(np.unique(labels[labels % 5 > 0])) for labels in targets)
    total = sum(len(np.unique(labels[labels > 0])) for labels in targets)
    assert result["ap"][0] < kept / total
    assert (np.diff(result["ap"]) <= 0).all()
    for target, prediction in zip(targets[:3], moved[:3], strict=True):
        found = sum(iou > 0.5 for iou in slow_table(target, prediction).values())
        assert match_instances(target, prediction, 0.5 + 1e-9).tp == found > 0


def test_images_without_objects():
    nothing = np.zeros((3, 4), int)
    for pairs in ([], [(nothing, nothing)]):
        targets, predictions = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        result = average_precision(targets, predictions)
        assert np.isnan([*result["ap"], *result["f1"], result["mean_ap"]]).all()
        assert all(map(math.isnan, panoptic_quality(targets, predictions).values()))
    assert panoptic_quality([nothing], [nothing + 1]) == {"pq": 0, "sq": 0, "rq": 0}
    assert average_precision([nothing + 1], [nothing])["ap"].tolist() == [0] * 10
    match = match_instances(nothing, nothing)
    assert (match.tp, match.fp, match.fn, match.iou_sum, match.pairs) == (0, 0, 0, 0, ())


def test_images_can_be_an_iterator_and_differ_in_size():
    images = [TARGET, draw("1."), np.ones((2, 3, 4), "int16")]
    assert average_precision(iter(images), iter(images))["mean_ap"] == 1


EMPTY = np.zeros((4, 5), int)


@pytest.mark.parametrize(
    ("target", "prediction", "words"),
    [
        (EMPTY, EMPTY.T, r"target of shape \(4, 5\) and prediction of shape \(5, 4\) differ"),
        (
            EMPTY[0],
            EMPTY[0],
            r"target has shape \(5,\), expected a label map \(H, W\) or \(D, H, W\)",
        ),
        (EMPTY, EMPTY[None, None], r"prediction has shape \(1, 1, 4, 5\)"),
        (EMPTY.astype("float32"), EMPTY, "target is float32, expected integers"),
        (EMPTY, EMPTY > 0, "prediction is bool, expected integers"),
        (
            EMPTY,
            EMPTY - 1,
            r"prediction has values from -1 to -1, expected numbers in \[0, 2\*\*31\)",
        ),
        (EMPTY + 2**31, EMPTY, "target has values from 2147483648 to 2147483648"),
    ],
)
def test_invalid_label_maps_are_an_error(target, prediction, words):
    with pytest.raises(ValueError, match=f"^match_instances: {words}"):
        match_instances(target, prediction)
    for metric in (average_precision, panoptic_quality):
        with pytest.raises(ValueError, match=f"^{metric.__name__}: image 1: {words}"):
            metric([EMPTY, target], [EMPTY, prediction])


@pytest.mark.parametrize("metric", [average_precision, panoptic_quality])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"void": [EMPTY]}, r"image 0: void is int64 of shape \(4, 5\), expected bool of shape"),
        ({"void": [EMPTY.T > 0]}, r"image 0: void is bool of shape \(5, 4\)"),
        ({"void": []}, "0 void, but more targets"),
        ({"crowd": [[1], [2]]}, "1 targets, but more crowd"),
        ({"crowd": [3]}, r"image 0: crowd is 3, expected .*np.flatnonzero"),
        ({"crowd": [[0, 1]]}, r"image 0: crowd is \[0, 1\], expected the numbers of the crowds"),
        ({"crowd": [np.array([True, False])]}, "image 0: crowd is .*True"),
    ],
)
def test_invalid_void_and_crowd_are_an_error(metric, arguments, words):
    with pytest.raises(ValueError, match=f"^{metric.__name__}: {words}"):
        metric([EMPTY], [EMPTY], **arguments)


@pytest.mark.parametrize("threshold", [0.49, 1.01, -1, math.nan])
def test_a_threshold_out_of_range_is_an_error(threshold):
    with pytest.raises(
        ValueError, match=r"match_instances: threshold .*, expected an IoU in \[0.5, 1\]"
    ):
        match_instances(EMPTY, EMPTY, threshold)
    with pytest.raises(ValueError, match="average_precision: threshold"):
        average_precision([EMPTY], [EMPTY], (0.5, threshold))


@pytest.mark.parametrize("metric", [average_precision, panoptic_quality])
def test_unequal_numbers_of_targets_and_predictions_are_an_error(metric):
    with pytest.raises(ValueError, match=f"{metric.__name__}: 1 predictions, but more targets"):
        metric([EMPTY, EMPTY], [EMPTY])
    with pytest.raises(ValueError, match=f"{metric.__name__}: 0 targets, but more predictions"):
        metric([], [EMPTY])
