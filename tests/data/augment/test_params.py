import math

import numpy as np
import pytest
from keras import ops

from tfseg.data.augment.params import (
    IDENTITY,
    KINDS,
    PLACES,
    SECOND,
    STREAMS,
    draw,
    read_probability,
    read_range,
)

KEYS = np.stack([np.full(4000, 3), np.arange(4000)], 1)
ALWAYS = dict.fromkeys(KINDS, 1.0)
NAMES = {*KINDS, *PLACES, *(f"{name}_y" for name in SECOND)}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("scale", 1.0, (0.5, 2.0)),
        ("scale", (0.7, 1.5), (0.7, 1.5)),
        ("contrast", 0.25, (0.8, 1.25)),
        ("rotate", 10, (-10.0, 10.0)),
        ("rotate", (5, 10), (5.0, 10.0)),
        ("translate", np.float32(0.5), (-0.5, 0.5)),
        ("blur", 2, (0.0, 2.0)),
        ("blur", [1, 2], (1.0, 2.0)),
        ("jpeg", 30, (30.0, 100.0)),
        ("jpeg", np.array([20, 40]), (20.0, 40.0)),
        ("cutout", 1, (0.0, 1.0)),
        ("shear", (-60, 60), (-60.0, 60.0)),
    ],
)
def test_a_number_stands_for_a_range_and_a_pair_for_itself(name, value, expected):
    assert read_range(name, value) == pytest.approx(expected, abs=0)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("scale", (0, 1), r"scale=\(0, 1\) must be \(smallest, largest\), both above 0"),
        ("scale", -1, r"scale=-1 must be a number or \(smallest, largest\)"),  # 1 / (1 - 1)
        ("scale", -0.5, "scale=-0.5 must be .*both above 0"),
        ("gamma", (2, 0.5), r"gamma=\(2, 0.5\) must be \(smallest, largest\)"),
        ("contrast", (1, math.inf), "both above 0"),
        ("rotate", -5, "rotate=-5 must be .*both finite"),
        ("rotate", (0, math.inf), "both finite"),
        ("rotate", (-math.inf, 0), "both finite"),
        ("hue", math.nan, "hue=nan must be"),
        ("blur", (-1, 1), r"blur=\(-1, 1\) must be .*both not below 0"),
        ("noise", -0.1, "both not below 0"),
        ("jpeg", 0, "jpeg=0 must be .*from 1 to 100"),
        ("jpeg", 101, "from 1 to 100"),
        ("jpeg", (50, 150), "from 1 to 100"),
        ("cutout", 1.5, "cutout=1.5 must be .*from 0 to 1"),
        ("shear", 90, "shear=90 must be .*from -60 to 60"),
        ("scale", (1, 2, 3), r"scale=\(1, 2, 3\) must be a number or"),
        ("scale", (1,), "must be a number or"),
        ("scale", "large", "scale='large' must be a number or"),
        ("rotate", (None, 1), "must be a number or"),
    ],
)
def test_ranges_without_sense_are_refused(name, value, why):
    with pytest.raises(ValueError, match=f"^Augment: .*{why}"):
        read_range(name, value)


def test_probabilities():
    assert read_probability({}) == ALWAYS
    assert read_probability({"blur": 0.2, "jpeg": 0}) == {**ALWAYS, "blur": 0.2, "jpeg": 0}
    with pytest.raises(
        ValueError, match=r"Augment: probability of='blurr' is unknown.*Did you mean 'blur'"
    ):
        read_probability({"blurr": 0.5})
    with pytest.raises(ValueError, match="Augment: probability of='flip' is unknown"):
        read_probability({"flip": 0.5})
    with pytest.raises(ValueError, match="the probability of blur, 1.5, must be from 0 to 1"):
        read_probability({"blur": 1.5})
    with pytest.raises(ValueError, match="the probability of blur, -0.1, must be from 0 to 1"):
        read_probability({"blur": -0.1})


def test_what_is_left_out_is_the_identity():
    drawn = draw(KEYS[:5], {}, ALWAYS)
    assert drawn.keys() == NAMES
    for name, kind in KINDS.items():
        for axis in ("", "_y") if name in SECOND else ("",):
            assert drawn[name + axis].dtype == "float32"
            assert drawn[name + axis].tolist() == [IDENTITY[kind]] * 5


@pytest.mark.parametrize("name", KINDS)
def test_values_fill_their_range(name):
    low, high = {"factor": (0.5, 4.0), "quality": (10.0, 90.0)}.get(KINDS[name], (0.25, 0.75))
    drawn = draw(KEYS, {name: (low, high)}, ALWAYS)
    for axis in ("", "_y") if name in SECOND else ("",):
        values = drawn[name + axis].astype("float64")
        assert low * (1 - 1e-6) <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high * (1 + 1e-6)
        # as many doublings below the middle of the factors 1/2 .. 4 as above; four deviations of a mean
        share = (
            np.log2(2 * values) / 3 if KINDS[name] == "factor" else (values - low) / (high - low)
        )
        assert share.mean() == pytest.approx(0.5, abs=4 * 12**-0.5 / 4000**0.5)
    if name in SECOND:
        assert abs(np.corrcoef(drawn[name], drawn[f"{name}_y"])[0, 1]) < 4 / 4000**0.5


@pytest.mark.parametrize("probability", [0, 0.3, 1])
def test_an_operation_is_drawn_as_often_as_its_probability_says(probability):
    drawn = draw(
        KEYS, {"translate": (0.1, 0.2), "blur": (1, 2)}, {**ALWAYS, "translate": probability}
    )
    shown = drawn["translate"] != 0
    assert shown.mean() == pytest.approx(
        probability, abs=4 * (0.25 / 4000) ** 0.5 * (probability == 0.3)
    )
    assert np.array_equal(shown, drawn["translate_y"] != 0)  # both or none
    assert (drawn["blur"] >= 1).all()


def test_one_operation_more_changes_nothing_about_the_others():
    alone = draw(KEYS[:50], {"rotate": (-9, 9)}, {**ALWAYS, "rotate": 0.5})
    others = {name: (1.5, 2) for name in KINDS if name not in ("rotate", "jpeg")}
    together = draw(
        KEYS[:50], {**others, "rotate": (-9, 9)}, {**ALWAYS, "rotate": 0.5, "scale": 0.5}
    )
    for name in ("rotate", *PLACES):
        assert np.array_equal(alone[name], together[name])


def test_the_streams_numbers_are_their_own():
    assert sorted(STREAMS.values()) == list(range(len(STREAMS)))
    drawn = draw(KEYS, {}, ALWAYS)
    places = np.stack([drawn[name] for name in PLACES])
    correlated = np.corrcoef(places) - np.eye(len(PLACES))
    assert np.abs(correlated).max() < 4.5 / 4000**0.5


def test_tensors_give_what_numpy_gives():
    ranges = {"scale": (0.5, 2.0), "rotate": (-30, 30), "blur": (0, 3), "jpeg": (10, 100)}
    probabilities = {**ALWAYS, "scale": 0.5}
    slow = draw(KEYS[:200], ranges, probabilities)
    fast = draw(ops.convert_to_tensor(KEYS[:200].astype("int32")), ranges, probabilities)
    assert slow.keys() == fast.keys() == NAMES
    for name, values in fast.items():
        values = ops.convert_to_numpy(values)
        assert isinstance(slow[name], np.ndarray)
        assert values.dtype == slow[name].dtype == "float32"
        assert np.allclose(values, slow[name], rtol=1e-6, atol=1e-6)
    for name in PLACES:  # those that choose pixels and windows to the bit
        assert np.array_equal(ops.convert_to_numpy(fast[name]), slow[name])
    assert np.array_equal(ops.convert_to_numpy(fast["scale"]) == 1, slow["scale"] == 1)


def test_seed_and_number_tell_samples_apart():
    keys = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [-1, 0], [0, 2**31]])
    drawn = draw(keys, {}, ALWAYS)["crop_x"]
    assert len(set(drawn.tolist())) == len(keys)
    assert draw(keys[::-1], {}, ALWAYS)["crop_x"].tolist() == drawn[::-1].tolist()
