import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tfseg.metrics import average_precision, match_instances, panoptic_quality

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def draw(text):
    """A label map from rows of digits; '.' is background."""
    return np.array([[int(pixel.replace(".", "0")) for pixel in row] for row in text.split()])


def slow_table(truth, prediction):
    """{(true number, predicted number): IoU} of all pairs, by masks."""
    table = {}
    for t, p in itertools.product(
        sorted(set(truth.flat) - {0}), sorted(set(prediction.flat) - {0})
    ):
        table[t, p] = ((truth == t) & (prediction == p)).sum() / (
            (truth == t) | (prediction == p)
        ).sum()
    return table


def largest_matching(table, threshold):
    """(number, sum of IoU) of the best one-to-one matching, trying all."""
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
    """Discs that overlap, and the same moved, some missing and one too many; numbers with gaps, unlike the truth's."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    truth, prediction = np.zeros(shape, "uint16"), np.zeros(shape, "int32")
    for number in range(1, count + 1):
        center, radius, shift = rng.uniform(0, shape), rng.uniform(4, 9), rng.uniform(-2.5, 2.5, 2)
        truth[np.hypot(y - center[0], x - center[1]) < radius] = number
        if rng.random() < 0.85:
            prediction[np.hypot(y - center[0] - shift[0], x - center[1] - shift[1]) < radius] = (
                100 - 3 * number
            )
    prediction[2:6, 3:9] = 7
    return truth, prediction


# True 1 has 6 pixels, 4 in predicted 5 of 5: IoU 4 / 7. True 2 has 4, 3 in predicted 3 of 3: 3 / 4.
# True 4 has 3, 1 in predicted 2 of 1: 1 / 3. Predicted 9 is nowhere.
TRUTH = draw("111..22 111..22 ....... 444....")
PREDICTION = draw("55..933 55..9.3 5...... 2......")


def test_matching_by_hand():
    match = match_instances(TRUTH, PREDICTION)
    assert (match.tp, match.fp, match.fn) == (2, 2, 1)
    assert match.pairs == ((1, 5), (2, 3))
    assert match.iou_sum == pytest.approx(4 / 7 + 3 / 4)
    assert match_instances(TRUTH, PREDICTION, 0.6).pairs == ((2, 3),)
    assert match_instances(PREDICTION, TRUTH, 0.75).pairs == ((3, 2),)  # the IoU itself is enough
    assert match_instances(TRUTH, PREDICTION, 0.76).pairs == ()
    assert all(type(value) is int for value in (match.tp, match.fp, match.fn, *match.pairs[0]))


def test_average_precision_by_hand():
    # 3 true and 4 predicted objects. Two found: 2 / (2 + 2 + 1); one: 1 / (1 + 3 + 2).
    # The second image has 1 true object, found exactly: 3 / 6, 2 / 7, 1 / 8.
    result = average_precision([TRUTH], [PREDICTION], (0.5, 0.6, 0.8))
    assert result["ap"] == pytest.approx([2 / 5, 1 / 6, 0])
    result = average_precision((TRUTH, draw("1.")), (PREDICTION, draw("8.")), (0.5, 0.6, 0.8))
    assert result["ap"] == pytest.approx([3 / 6, 2 / 7, 1 / 8])
    assert result["mean_ap"] == pytest.approx((3 / 6 + 2 / 7 + 1 / 8) / 3)
    assert type(result["mean_ap"]) is float


def test_panoptic_quality_by_hand():
    # Found 2 and 1, in all 4 true and 5 predicted: rq 2 * 3 / (4 + 5), sq the mean of 4/7, 3/4 and 1.
    result = panoptic_quality([TRUTH, draw("1.")], [PREDICTION, draw("8.")])
    sq, rq = (4 / 7 + 3 / 4 + 1) / 3, 6 / 9
    assert result == pytest.approx({"pq": sq * rq, "sq": sq, "rq": rq})
    assert all(type(value) is float for value in result.values())


def test_panoptic_quality_wants_more_than_one_half():
    half = draw("11.."), draw("1111")
    assert match_instances(*half).tp == 1
    assert panoptic_quality(*([labels] for labels in half)) == {"pq": 0, "sq": 0, "rq": 0}


@pytest.mark.parametrize(
    ("truth", "prediction"), [("1111", "2233"), ("2233", "1111"), ("1111..5", "2233.55")]
)
def test_halves_tie_and_only_one_matches(truth, prediction):
    truth, prediction = draw(truth), draw(prediction)
    match = match_instances(truth, prediction)
    count, total = largest_matching(slow_table(truth, prediction), 0.5)
    assert (match.tp, match.iou_sum) == (count, total)
    for numbers in zip(*match.pairs, strict=True):
        assert len(set(numbers)) == len(numbers)


def test_objects_need_be_neither_whole_nor_numbered_in_order():
    # True 7 lies in two pieces, 3 of its 4 pixels in predicted 1000000.
    truth = draw("77..7 ...77") * (draw("11111 11110") > 0)
    prediction = np.array([[10**6, 10**6, 0, 0, 10**6], [0, 0, 0, 0, 0]])
    assert match_instances(truth, prediction).pairs == ((7, 10**6),)
    assert match_instances(truth, prediction).iou_sum == 3 / 4


labels = st.sampled_from([(4, 5), (1, 8), (2, 3, 2)]).flatmap(
    lambda shape: st.tuples(*[arrays("uint8", shape, elements=st.integers(0, 4))] * 2)
)


@given(labels, st.sampled_from((*THRESHOLDS, 1)))
@settings(deadline=None, max_examples=200)
def test_matching_is_the_largest_one_to_one_matching(pair, threshold):
    truth, prediction = pair
    match, table = match_instances(truth, prediction, threshold), slow_table(truth, prediction)
    assert (match.tp, pytest.approx(match.iou_sum)) == largest_matching(table, threshold)
    assert match.tp + match.fn == len(set(truth.flat) - {0})
    assert match.tp + match.fp == len(set(prediction.flat) - {0})
    assert match.iou_sum == pytest.approx(sum(table[pair] for pair in match.pairs))
    assert all(table[pair] >= threshold for pair in match.pairs)
    for numbers in zip(*match.pairs, strict=True):
        assert len(set(numbers)) == len(numbers) == match.tp


@given(labels, st.permutations(range(1, 5)), st.permutations((3, 70, 600, 5000)))
@settings(deadline=None, max_examples=50)
def test_other_numbers_for_the_same_objects_change_no_digit(pair, first, second):
    others = [
        np.array([0, *numbers])[labels]
        for labels, numbers in zip(pair, (first, second), strict=True)
    ]
    one, other = match_instances(*pair), match_instances(*others)
    assert (one.tp, one.fp, one.fn, one.iou_sum) == (other.tp, other.fp, other.fn, other.iou_sum)


@given(st.lists(labels, min_size=1, max_size=3), st.randoms())
@settings(deadline=None, max_examples=50)
def test_scores_stay_in_their_range_and_forget_the_order(pairs, random):
    truths, predictions = zip(*pairs, strict=True)
    result = average_precision(truths, predictions)
    if not any(labels.any() for pair in pairs for labels in pair):
        assert np.isnan(result["ap"]).all()
        return
    assert ((result["ap"] >= 0) & (result["ap"] <= 1)).all()
    assert (np.diff(result["ap"]) <= 0).all()
    quality = panoptic_quality(truths, predictions)
    assert all(0 <= value <= 1 for value in quality.values())
    assert panoptic_quality(predictions, truths) == quality
    shuffled = random.sample(pairs, len(pairs))
    assert panoptic_quality(*zip(*shuffled, strict=True)) == quality
    assert average_precision(*zip(*shuffled, strict=True))["ap"].tolist() == result["ap"].tolist()
    if any(truth.any() for truth in truths):
        assert (
            average_precision(truths, truths)["mean_ap"]
            == panoptic_quality(truths, truths)["pq"]
            == 1
        )


def test_figures_of_stardist_and_monai():
    truths, predictions = zip(*map(cells, range(4)), strict=True)
    result = average_precision(truths, predictions)
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
    # MONAI 1.6.1, compute_panoptic_quality (float32): tp, fp, fn and sum of IoU an image; StarDist at 0.500001 alike.
    # One of StarDist's 41 has an IoU of exactly one half, and is none here.
    expected = {"pq": 0.49396235, "sq": 0.6545001, "rq": 0.754717}
    assert panoptic_quality(truths, predictions) == pytest.approx(expected, rel=1e-6)
    match = match_instances(truths[1], predictions[1])
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


def test_the_order_of_numbers_and_images_changes_no_digit_of_a_sum():
    pairs = [cells(seed) for seed in range(4)]
    quality = panoptic_quality(*zip(*pairs, strict=True))
    for order in itertools.permutations(pairs):
        assert panoptic_quality(*zip(*order, strict=True)) == quality
    for truth, prediction in pairs:
        for seed in range(10):
            numbers = np.append(0, np.random.default_rng(seed).permutation(truth.max()) + 1)
            assert (
                match_instances(numbers[truth], prediction).iou_sum
                == match_instances(truth, prediction).iou_sum
            )


def test_thousands_of_objects():
    # 4096 squares of 13 x 13, moved by 1 and 2: overlap 12 * 11, so IoU 132 / (2 * 169 - 132) each.
    y, x = np.indices((1024, 1024))
    truth = np.where((y % 16 < 3) | (x % 16 < 3), 0, y // 16 * 64 + x // 16 + 1)
    match = match_instances(truth, np.roll(truth, (1, 2), (0, 1)))
    assert (match.tp, match.fp, match.fn) == (4096, 0, 0)
    assert match.iou_sum == pytest.approx(4096 * 132 / 206)


def test_real_nuclei_against_themselves_and_worse(shared_data):
    folder = shared_data / "dsb2018_fluo"
    names = (folder / "val.txt").read_text().split()
    truths = [np.array(Image.open(folder / "labels" / f"{name}.png")) for name in names]
    assert (
        average_precision(truths, truths)["mean_ap"] == panoptic_quality(truths, truths)["pq"] == 1
    )
    # Every fifth nucleus is missing, the others are two pixels aside.
    moved = [np.roll(np.where(labels % 5 == 0, 0, labels), 2, 1) for labels in truths]
    result = average_precision(truths, moved)
    kept = sum(len(np.unique(labels[labels % 5 > 0])) for labels in truths)
    total = sum(len(np.unique(labels[labels > 0])) for labels in truths)
    assert result["ap"][0] < kept / total
    assert (np.diff(result["ap"]) <= 0).all()
    for truth, prediction in zip(truths[:3], moved[:3], strict=True):
        found = sum(iou > 0.5 for iou in slow_table(truth, prediction).values())
        assert match_instances(truth, prediction, 0.5 + 1e-9).tp == found > 0


def test_nothing_to_find():
    nothing = np.zeros((3, 4), int)
    for pairs in ([], [(nothing, nothing)]):
        truths, predictions = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        result = average_precision(truths, predictions)
        assert np.isnan([*result["ap"], result["mean_ap"]]).all()
        assert all(map(math.isnan, panoptic_quality(truths, predictions).values()))
    assert panoptic_quality([nothing], [nothing + 1]) == {"pq": 0, "sq": 0, "rq": 0}
    assert average_precision([nothing + 1], [nothing])["ap"].tolist() == [0] * 10
    match = match_instances(nothing, nothing)
    assert (match.tp, match.fp, match.fn, match.iou_sum, match.pairs) == (0, 0, 0, 0, ())


def test_images_may_come_one_by_one_and_differ_in_size():
    images = [TRUTH, draw("1."), np.ones((2, 3, 4), "int16")]
    assert average_precision(iter(images), iter(images))["mean_ap"] == 1


GROUND = np.zeros((4, 5), int)


@pytest.mark.parametrize(
    ("truth", "prediction", "words"),
    [
        (GROUND, GROUND.T, r"truth of shape \(4, 5\) and prediction of shape \(5, 4\) differ"),
        (
            GROUND[0],
            GROUND[0],
            r"truth of shape \(5,\), expected a label map \(H, W\) or \(D, H, W\)",
        ),
        (GROUND, GROUND[None, None], r"prediction of shape \(1, 1, 4, 5\)"),
        (GROUND.astype("float32"), GROUND, "truth is float32, expected integers"),
        (GROUND, GROUND > 0, "prediction is bool, expected integers"),
        (GROUND, GROUND - 1, r"prediction from -1 to -1, expected numbers in \[0, 2\*\*31\)"),
        (GROUND + 2**31, GROUND, "truth from 2147483648 to 2147483648"),
    ],
)
def test_label_maps_that_do_not_fit(truth, prediction, words):
    with pytest.raises(ValueError, match=f"^match_instances: {words}"):
        match_instances(truth, prediction)
    for metric in (average_precision, panoptic_quality):
        with pytest.raises(ValueError, match=f"^{metric.__name__}: image 1: {words}"):
            metric([GROUND, truth], [GROUND, prediction])


@pytest.mark.parametrize("threshold", [0.49, 1.01, -1, math.nan])
def test_a_threshold_out_of_range(threshold):
    with pytest.raises(
        ValueError, match=r"match_instances: threshold .*, expected an IoU in \[0.5, 1\]"
    ):
        match_instances(GROUND, GROUND, threshold)
    with pytest.raises(ValueError, match="average_precision: threshold"):
        average_precision([GROUND], [GROUND], (0.5, threshold))


@pytest.mark.parametrize("metric", [average_precision, panoptic_quality])
def test_as_many_truths_as_predictions(metric):
    with pytest.raises(ValueError, match=f"{metric.__name__}: 1 predictions, but more truths"):
        metric([GROUND, GROUND], [GROUND])
    with pytest.raises(ValueError, match=f"{metric.__name__}: 0 truths, but more predictions"):
        metric([], [GROUND])
