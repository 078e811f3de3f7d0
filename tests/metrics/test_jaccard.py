import math

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tfseg.metrics import aggregated_jaccard


def draw(text):
    """Return a label map from rows of digits; '.' is background."""
    return np.array([[int(pixel.replace(".", "0")) for pixel in row] for row in text.split()])


# Target 1 has 6 pixels, 4 of them in the 5 of prediction 5: union 7. Target 2 has 4 pixels, 3 in
# the 3 of prediction 3: union 4. Target 4 has 3, 1 in prediction 2: union 3. Prediction 9 has one
# pixel, target 6 two, each without an overlap.
TARGET = draw("111..22. 111..22. .......6 444....6")
PREDICTION = draw("55..933. 55..9.3. 5....... 2.......")


def test_sums_by_hand():
    assert aggregated_jaccard([TARGET], [PREDICTION]) == pytest.approx(8 / (7 + 4 + 3 + 2 + 2))
    # the second image: 2 of 3 pixels. Pooled, and as the mean of the images.
    images = (TARGET, draw("33.")), (PREDICTION, draw("777"))
    assert aggregated_jaccard(*images) == pytest.approx(10 / 21)
    expected = (8 / 18 + 2 / 3) / 2
    assert aggregated_jaccard(*images, by_image=True) == pytest.approx(expected)


def test_a_prediction_may_be_the_partner_of_several_targets():
    # Prediction 5 covers targets 1 and 2 with IoU 2 / 4 each: 2 + 2 of 4 + 4.
    assert aggregated_jaccard([draw("1122")], [draw("5555")]) == pytest.approx(4 / 8)
    # Two predictions in one target: the larger is its partner, the smaller adds its pixels.
    assert aggregated_jaccard([draw("1111")], [draw("6555")]) == pytest.approx(3 / (4 + 1))


def test_void_is_removed():
    void = draw("1.......") > 0
    images = [draw("111.....")], [draw("55555...")]
    # 2 of 2 target pixels, 4 of the 5 predicted ones
    assert aggregated_jaccard(*images, void=[void]) == pytest.approx(2 / 4)
    assert aggregated_jaccard([draw("1.")], [draw("2.")], void=[draw("1.") > 0]) != 1


labels = st.sampled_from([(4, 5), (1, 8), (2, 3, 2)]).flatmap(
    lambda shape: st.tuples(*[arrays("uint8", shape, elements=st.integers(0, 4))] * 2)
)


@given(st.lists(labels, min_size=1, max_size=3))
@settings(deadline=None, max_examples=60)
def test_the_index_matches_the_slow_definition(pairs):
    sums = [oracles.jaccard_sums(*pair) for pair in pairs]
    columns = list(zip(*pairs, strict=True))
    first, second = (sum(column) for column in zip(*sums, strict=True))
    expected = first / second if second else math.nan
    assert aggregated_jaccard(*columns) == pytest.approx(expected, nan_ok=True)
    scores = [first / second for first, second in sums if second]
    expected = np.mean(scores) if scores else math.nan
    assert aggregated_jaccard(*columns, by_image=True) == pytest.approx(expected, nan_ok=True)


def test_images_without_objects():
    nothing = draw("..")
    assert math.isnan(aggregated_jaccard([], []))
    assert math.isnan(aggregated_jaccard([nothing], [nothing], by_image=True))
    assert aggregated_jaccard([nothing], [nothing + 1]) == 0
    assert aggregated_jaccard([nothing + 1], [nothing]) == 0
    with pytest.raises(ValueError, match="aggregated_jaccard: image 0: prediction is bool"):
        aggregated_jaccard([nothing], [nothing > 0])
