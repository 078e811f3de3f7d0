import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_equal

from tfseg.metrics import InstanceMetrics, aggregated_jaccard, average_precision

THINGS, VOID = [3, 1], 255


def draw(text):
    """Return a label map from rows of digits; '.' is background."""
    rows = text.replace(".", "0").split()
    return np.array([[int(pixel) for pixel in row] for row in rows])


def sample(text, classes):
    return {"instances": draw(text), "classes": np.array(classes, int)}


def test_scores_by_hand():
    # Category 0: object 1 (3 pixels) is found with IoU 3 / 4, object 2 is missed; category 1:
    # object 3 is found exactly, and a prediction of category 1 lies on nothing. Object 2 is
    # covered by a prediction of the wrong category.
    labels = sample("111.22 333... ......", [0, 0, 1])
    found = sample("1111.. 222.33 ...4..", [0, 1, 1, 1])
    found["instances"] = draw("111144 222... ....33")
    metric = InstanceMetrics(THINGS)
    metric.update_state(labels, found)
    # category 0: TP 1, FP 0, FN 1 up to IoU 0.75, else TP 0, FP 1, FN 2;
    # category 1: TP 1, FP 2, FN 0
    classes = metric.per_class()
    assert classes["ap50"] == pytest.approx([1 / 2, 1 / 3])
    assert classes["ap"] == pytest.approx([6 / 10 / 2, 1 / 3])
    assert classes["precision"] == pytest.approx([1, 1 / 3])
    assert classes["recall"] == pytest.approx([1 / 2, 1])
    assert classes["f1"] == pytest.approx([2 / 3, 1 / 2])
    result = metric.result()
    for name, values in classes.items():
        assert result[name] == pytest.approx(values.mean())
    # together: TP 2, FP 2, FN 1, or TP 1, FP 3, FN 2
    assert result["ap_by_image"] == pytest.approx((6 * 2 / 5 + 4 * 1 / 6) / 10)
    # without classes the prediction 4 covers object 2: (3 + 2 + 3) / (4 + 2 + 3 + 2)
    assert result["aji"] == pytest.approx(8 / 11)
    assert (result["count_error"], result["count_bias"]) == (1, 1)
    assert metric.image_f1.tolist() == pytest.approx([4 / 7])
    metric.update_state(sample("11. 222", [0, 1]), sample("... ...", []))
    metric.update_state(sample("...", []), sample("...", []))
    assert metric.numbers.tolist() == [[3, 4], [2, 0], [0, 0]]
    assert metric.image_f1.tolist() == pytest.approx([4 / 7, 0, 1])
    result = metric.result()
    assert (result["count_error"], result["count_bias"]) == (1, pytest.approx(-1 / 3))
    assert metric.per_class()["recall"] == pytest.approx([1 / 3, 1 / 2])


def test_unlabeled_pixels_and_crowds_are_not_counted():
    # the mask of the class without an object is a crowd; 255 has no label
    labels = sample("11....", [0]) | {"mask": np.array([[1, 1, 1, 255, 255, 0]])}
    found = sample("11.222", [0, 0])
    metric = InstanceMetrics([1])
    metric.update_state(labels, found)
    assert metric.per_class()["precision"] == pytest.approx([1])  # 2 of 3 pixels are void
    metric.reset_state()
    metric.update_state(labels, sample("112222", [0, 0]))
    assert metric.per_class()["precision"] == pytest.approx([1])  # 3 of 4
    metric.reset_state()
    # the IoU of 2 / 2: the crowd is not a part of the prediction
    metric.update_state(labels, sample("111...", [0]))
    assert metric.result()["ap"] == 1
    metric = InstanceMetrics([2], ignore_index=254)  # 1 and 255 are other classes
    metric.update_state({**labels, "mask": labels["mask"].astype(int)}, found)
    assert metric.per_class()["precision"] == pytest.approx([1 / 2])


label_maps = arrays("uint8", (3, 6), elements=st.integers(0, 4))
categories = arrays("int32", 4, elements=st.integers(0, 1))
images = st.tuples(label_maps, categories, label_maps, categories)


@given(st.lists(images, min_size=1, max_size=3))
@settings(deadline=None, max_examples=40)
def test_scores_are_those_of_the_label_maps_of_each_class(several):
    metric = InstanceMetrics(THINGS)
    for target, target_classes, prediction, classes in several:
        metric.update_state(
            {"instances": target, "classes": target_classes},
            {"instances": prediction, "classes": classes},
        )
    for place in range(2):
        maps = [
            [np.where(np.append(-1, ids)[labels] == place, labels, 0) for labels, ids in column]
            for column in (
                [(image[0], image[1]) for image in several],
                [(image[2], image[3]) for image in several],
            )
        ]
        expected = average_precision(*maps)
        found = {name: values[place] for name, values in metric.per_class().items()}
        assert found["ap"] == pytest.approx(expected["mean_ap"], nan_ok=True)
        assert found["ap50"] == pytest.approx(expected["ap"][0], nan_ok=True)
        assert found["ap75"] == pytest.approx(expected["ap"][5], nan_ok=True)
        assert found["f1"] == pytest.approx(expected["f1"][0], nan_ok=True)
    targets, predictions = [image[0] for image in several], [image[2] for image in several]
    aji = aggregated_jaccard(targets, predictions)
    assert metric.result()["aji"] == pytest.approx(aji, nan_ok=True)


@given(images, arrays("uint8", (3, 6), elements=st.sampled_from([0, 1, 3, VOID])))
@settings(deadline=None, max_examples=100)
def test_the_first_objects_have_the_scores_of_a_map_without_the_others(image, mask):
    target, target_classes, prediction, classes = image
    labels = {"instances": target, "classes": target_classes, "mask": mask}
    found = {"instances": prediction, "classes": classes}
    metrics = InstanceMetrics(THINGS).of_first_objects(labels, found, range(5))
    for count, metric in metrics.items():
        kept = np.where(prediction <= count, prediction, 0)
        alone = InstanceMetrics(THINGS)
        alone.update_state(labels, {"instances": kept, "classes": classes[:count]})
        assert_equal(metric.result(), alone.result())
        assert_equal(metric.per_class(), alone.per_class())


def test_a_dataset_without_objects_has_no_scores():
    assert all(map(math.isnan, InstanceMetrics().result().values()))
    metric = InstanceMetrics()
    metric.update_state(sample("...", []), sample("...", []))
    result = metric.result()
    assert result["count_error"] == 0
    assert math.isnan(result["ap"])


def test_ten_thousand_objects():
    # Squares of 4 x 4 pixels, 2 pixels apart. Predictions are a pixel farther right, so that
    # 12 pixels of 20 are common: a match at 3 of the 10 thresholds.
    square = np.pad(np.ones((4, 4), int), (0, 2))
    target = np.kron(np.arange(1, 10001).reshape(100, 100), square)
    classes = np.zeros(10000, int)
    metric = InstanceMetrics()
    begin = time.process_time()
    metric.update_state(
        {"instances": target, "classes": classes},
        {"instances": np.roll(target, 1, axis=1), "classes": classes},
    )
    result = metric.result()
    assert time.process_time() - begin < 2
    assert (result["ap50"], result["ap"], result["aji"]) == pytest.approx((1, 0.3, 0.6))
    assert metric.numbers.tolist() == [[10000, 10000]]
