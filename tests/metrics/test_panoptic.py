import math
from pathlib import Path

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_equal
from panoptic_cases import COCO_IMAGES, STUFF, THINGS, VOID, change

from tfseg.datasets import coco64
from tfseg.metrics import PanopticQuality, panoptic_quality

GOLDENS = Path(__file__).parents[1] / "goldens" / "panoptic_goldens.npz"


def draw(text):
    """Return an array from rows of digits; '.' is 0 and 'v' is void."""
    table = {".": 0, "v": VOID}
    return np.array([[table.get(c) or int(c.replace(".", "0")) for c in row] for row in text])


def sample(instances, classes, mask):
    """Return the arrays of a sample; objects are drawn into the mask."""
    instances, mask = draw(instances.split()), draw(mask.split())
    classes = np.array(classes, int)
    for number, category in enumerate(classes.tolist(), 1):
        mask[instances == number] = THINGS[category]
    return {"instances": instances, "classes": classes, "mask": mask}


def scores(*pairs):
    metric = PanopticQuality(THINGS, STUFF)
    for pair in pairs:
        metric.update_state(*pair)
    return metric


def test_things_stuff_crowds_and_void_by_hand():
    # Object 1 (category 0, id 3): 4 pixels, 3 predicted by object 2, and 1 void pixel: IoU 3 / 4.
    # Object 2 (category 1, id 1) is predicted as category 0: one miss of id 1 and one error of 3.
    # Stuff 2: 5 pixels, 4 of them predicted, and 1 pixel elsewhere: IoU 4 / 6. Stuff 5 is predicted
    # on 2 pixels only: one error. The last row has a crowd of id 3: object 3 is mostly in it and
    # does not count, object 4 of category 1 is too, but not of the class of the crowd.
    labels = sample(
        "1111.... 22...... ........ ........",
        [0, 1],
        "....v... ..22222. ........ 333333..",
    )
    found = sample(
        ".2222... 11...... ........ 333444..",
        [0, 0, 0, 1],
        "........ ..2222.. 2.....55 ........",
    )
    metric = scores((labels, found))
    classes = metric.per_class()
    assert classes["tp"].tolist() == [1, 0, 1, 0]
    assert classes["fp"].tolist() == [1, 1, 0, 1]
    assert classes["fn"].tolist() == [0, 1, 0, 0]
    assert classes["sq"] == pytest.approx([3 / 4, 0, 4 / 6, 0])
    assert classes["rq"] == pytest.approx([1 / 1.5, 0, 1, 0])
    assert classes["pq"] == pytest.approx([3 / 4 / 1.5, 0, 4 / 6, 0])
    result = metric.result()
    assert result["pq"] == pytest.approx((1 / 2 + 0 + 2 / 3 + 0) / 4)
    assert result["pq_things"] == pytest.approx(1 / 4)
    assert result["pq_stuff"] == pytest.approx(1 / 3)
    assert result["sq_stuff"] == pytest.approx(1 / 3)
    assert result["rq_things"] == pytest.approx(1 / 3)
    # a second image, without an error, is pooled: 3/4 and 1 of two matches
    perfect = sample("11 ..", [0], ".. 22")
    metric.update_state(perfect, perfect)
    assert metric.per_class()["pq"] == pytest.approx([1.75 / 2.5, 0, (4 / 6 + 1) / 2, 0])
    metric.reset_state()
    assert math.isnan(metric.result()["pq"])


def test_half_a_segment_does_not_match():
    labels, found = sample("1111", [0], "...."), sample("11..", [0], "....")
    assert scores((labels, found)).per_class()["tp"].tolist() == [0, 0, 0, 0]
    half_void = sample("1111", [0], "vvvv"), sample("1111", [0], "....")
    assert scores(half_void).result()["pq"] == 1  # objects are not void


def test_background_is_neither_stuff_nor_void():
    # a prediction on background is wrong, one on void is not counted
    nothing = sample("....", [], "....")
    found = sample("11..", [0], "....")
    assert scores((nothing, found)).per_class()["fp"].tolist() == [1, 0, 0, 0]
    unlabeled = sample("....", [], "vv..")
    assert scores((unlabeled, found)).per_class()["fp"].tolist() == [0, 0, 0, 0]
    assert math.isnan(scores((unlabeled, found)).result()["pq"])


def slow_segments(labels, is_target):
    """Return [(mask, class, is crowd)] or [(mask, class)] by the definition."""
    instances, mask = labels["instances"], labels["mask"]
    found = [
        (instances == number, THINGS[category], False)
        for number, category in enumerate(labels["classes"].tolist(), 1)
    ]
    rest = instances == 0
    found += [(rest & (mask == i), i, False) for i in STUFF]
    if is_target:
        found += [(rest & (mask == i), i, True) for i in THINGS]
    found = [segment for segment in found if segment[0].any()]
    return found if is_target else [segment[:2] for segment in found]


def as_sample(arrays):
    instances, mask, classes = arrays
    return {"instances": instances.astype("int32"), "mask": mask, "classes": classes}


samples = st.tuples(
    arrays("uint8", (4, 6), elements=st.integers(0, 4)),
    arrays("uint8", (4, 6), elements=st.sampled_from([0, 1, 2, 3, 5, VOID])),
    arrays("int32", 4, elements=st.integers(0, 1)),
).map(as_sample)


@given(st.lists(st.tuples(samples, samples), min_size=1, max_size=2))
@settings(deadline=None, max_examples=60)
def test_random_segments_match_panopticapi(pairs):
    metric, expected = scores(*pairs), {}
    for labels, found in pairs:
        void = (labels["mask"] == VOID) & (labels["instances"] == 0)
        counts = oracles.class_panoptic_counts(
            slow_segments(labels, True), slow_segments(found, False), void
        )
        for name, values in counts.items():
            expected[name] = np.add(expected.get(name, 0), values)
    check_against(metric, [*THINGS, *STUFF], expected)


def check_against(metric, ids, expected):
    """Compare a metric with {class id: [tp, fp, fn, sum of IoU]}."""
    classes, all_pq = metric.per_class(), []
    for place, class_id in enumerate(ids):
        tp, fp, fn, iou_sum = expected.get(class_id, (0, 0, 0, 0))
        total = tp + (fp + fn) / 2
        assert [classes[name][place] for name in ("tp", "fp", "fn")] == [tp, fp, fn]
        pq = iou_sum / total if total else math.nan
        assert classes["pq"][place] == pytest.approx(pq, nan_ok=True)
        all_pq += [pq] if total else []
    mean = np.mean(all_pq) if all_pq else math.nan
    assert metric.result()["pq"] == pytest.approx(mean, nan_ok=True)


@given(samples, samples)
@settings(deadline=None, max_examples=25)
def test_one_class_of_things_has_the_panoptic_quality_of_label_maps(labels, found):
    ones = {"classes": np.zeros(4, int), "mask": np.where(labels["mask"] == VOID, VOID, 0)}
    metric = PanopticQuality([1])
    metric.update_state({**labels, **ones}, {"instances": found["instances"], **ones})
    void = (labels["mask"] == VOID) & (labels["instances"] == 0)
    expected = panoptic_quality([labels["instances"]], [found["instances"]], void=[void])
    assert metric.result() == pytest.approx(expected, nan_ok=True)


@given(samples, samples)
@settings(deadline=None, max_examples=100)
def test_the_first_objects_have_the_scores_of_a_prediction_without_the_others(labels, found):
    found["mask"][found["instances"] > 0] = THINGS[0]  # removed objects leave no stuff
    metrics = PanopticQuality(THINGS, STUFF).of_first_objects(labels, found, range(5))
    for count, metric in metrics.items():
        kept = np.where(found["instances"] <= count, found["instances"], 0)
        alone = scores((labels, {**found, "instances": kept, "classes": found["classes"][:count]}))
        assert_equal(metric.result(), alone.result())
        assert_equal(metric.per_class(), alone.per_class())


def golden_counts(metric):
    """Return (C, 4) TP, FP, FN and the sum of IoU."""
    classes = metric.per_class()
    iou = np.nan_to_num(classes["sq"]) * classes["tp"]
    return np.stack([classes["tp"], classes["fp"], classes["fn"], iou], axis=1)


def golden_scores(metric):
    """Return (3, 3) PQ, SQ and RQ of all classes, things and stuff."""
    result = metric.result()
    return [
        [result[f"{s}{kind}"] for s in ("pq", "sq", "rq")] for kind in ("", "_things", "_stuff")
    ]


def test_small_segments_have_the_scores_of_panopticapi():
    with np.load(GOLDENS) as goldens:
        goldens = dict(goldens)
    sides = [
        {name: goldens[f"{side}_{name}"] for name in ("instances", "mask", "classes")}
        for side in ("labels", "found")
    ]
    metric = PanopticQuality(THINGS, STUFF)
    for case in range(len(goldens["labels_mask"])):
        labels, found = ({name: side[name][case] for name in side} for side in sides)
        metric.update_state(labels, found)
    assert_allclose(golden_counts(metric), goldens["random_counts"], rtol=1e-12)
    assert_allclose(golden_scores(metric), goldens["random_scores"], rtol=1e-12)


def test_coco64_has_the_scores_of_panopticapi(shared_data):
    reader = coco64("panoptic", shared_data / "coco64")
    things = reader.object_label_ids.tolist()
    stuff = sorted(set(range(len(reader.label_names))) - set(things))
    metric = PanopticQuality(things, stuff, reader.ignore_index)
    crowds = 0
    for index in COCO_IMAGES:
        labels = reader[index]
        crowds += labels["crowd"].sum()
        metric.update_state(labels, change(labels, index, len(things)))
    assert crowds == 5
    with np.load(GOLDENS) as goldens:
        assert_allclose(golden_counts(metric), goldens["coco_counts"], rtol=1e-12)
        assert_allclose(golden_scores(metric), goldens["coco_scores"], rtol=1e-12)


def test_what_is_wrong_is_named():
    labels = sample("11..", [0], "..22")
    metric = PanopticQuality(THINGS, STUFF)
    for changes, message in (
        ({"instances": labels["instances"] * 2}, "numbered up to 2, but there are 1 classes"),
        ({"classes": np.array([2])}, "has the category 2, expected 0 to 1: one per id in things"),
        ({"mask": None}, "the prediction has instances, classes, mask"),
        ({"mask": labels["mask"] / 2}, r"mask is float64 of shape \(1, 4\), expected class ids"),
        (
            {"instances": np.zeros((1, 5), int), "mask": np.zeros((1, 5), int)},
            "the labels have the",
        ),
    ):
        with pytest.raises(ValueError, match=f"^PanopticQuality: .*{message}"):
            metric.update_state(labels, {**labels, **changes})
    assert metric.per_class()["tp"].sum() == 0
    for things, stuff in (([1, 1], []), ([1], [1]), ([-1], []), ([0.5], [])):
        with pytest.raises(ValueError, match="must be ids in masks, each once"):
            PanopticQuality(things, stuff)
