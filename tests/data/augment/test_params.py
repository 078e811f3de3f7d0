import math

import numpy as np
import pytest
from keras import ops

from tfseg.data.augment.params import (
    IDENTITY,
    KINDS,
    PER_AXIS,
    STREAMS,
    UNIFORM,
    draw,
    param_names,
    read_probabilities,
    read_range,
    to_params,
)

KEYS = np.stack([np.full(4000, 3), np.arange(4000)], 1)
RANDOM = draw(KEYS)
ALWAYS = dict.fromkeys(KINDS, 1.0)
NAMES = {*KINDS, *UNIFORM, *(f"{name}_y" for name in PER_AXIS)}


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
def test_numbers_become_ranges_and_pairs_stay(name, value, expected):
    assert read_range(name, value) == pytest.approx(expected, abs=0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scale", (0, 1), r"scale=\(0, 1\) must be \(low, high\) with low <= high, both positive"),
        ("scale", -1, r"scale=-1 must be a number or a pair \(low, high\)"),  # 1 / (1 - 1)
        ("scale", -0.5, "scale=-0.5 must be .*both positive"),
        ("gamma", (2, 0.5), r"gamma=\(2, 0.5\) must be \(low, high\) with low <= high"),
        ("contrast", (1, math.inf), "both positive"),
        ("rotate", -5, "rotate=-5 must be .*both finite"),
        ("rotate", (0, math.inf), "both finite"),
        ("rotate", (-math.inf, 0), "both finite"),
        ("hue", math.nan, "hue=nan must be"),
        ("blur", (-1, 1), r"blur=\(-1, 1\) must be .*both at least 0"),
        ("noise", -0.1, "both at least 0"),
        ("jpeg", 0, r"jpeg=0 must be .*in \[1, 100\]"),
        ("jpeg", 101, r"in \[1, 100\]"),
        ("jpeg", (50, 150), r"in \[1, 100\]"),
        ("cutout", 1.5, r"cutout=1.5 must be .*in \[0, 1\]"),
        ("shear", 90, r"shear=90 must be .*in \[-60, 60\]"),
        ("scale", (1, 2, 3), r"scale=\(1, 2, 3\) must be a number or a pair"),
        ("scale", (1,), "must be a number or a pair"),
        ("scale", "large", "scale='large' must be a number or a pair"),
        ("rotate", (None, 1), "must be a number or a pair"),
    ],
)
def test_invalid_ranges_raise(name, value, message):
    with pytest.raises(ValueError, match=f"^Augment: .*{message}"):
        read_range(name, value)


def test_probabilities():
    assert read_probabilities({}) == ALWAYS
    assert read_probabilities({"blur": 0.2, "jpeg": 0}) == {**ALWAYS, "blur": 0.2, "jpeg": 0}
    for probability, message in (
        ({"blurr": 0.5}, "probability of='blurr' is unknown.*Did you mean 'blur'"),
        ({"flip": 0.5}, "probability of='flip' is unknown"),
        ({"blur": 1.5}, r"probability of blur is 1.5, but must be in \[0, 1\]"),
        ({"blur": -0.1}, r"probability of blur is -0.1, but must be in \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=f"^Augment: {message}"):
            read_probabilities(probability)


def test_operations_without_a_range_get_their_identity():
    params = to_params(RANDOM[:5], {}, ALWAYS)
    assert params.keys() == NAMES
    for operation, kind in KINDS.items():
        for name in param_names(operation):
            assert params[name].dtype == "float32"
            assert params[name].tolist() == [IDENTITY[kind]] * 5


@pytest.mark.parametrize("operation", KINDS)
def test_values_cover_their_range(operation):
    kind = KINDS[operation]
    low, high = {"factor": (0.5, 4.0), "quality": (10.0, 90.0)}.get(kind, (0.25, 0.75))
    params = to_params(RANDOM, {operation: (low, high)}, ALWAYS)
    for name in param_names(operation):
        values = params[name].astype("float64")
        assert low * (1 - 1e-6) <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high * (1 + 1e-6)
        fraction = (values - low) / (high - low)
        if kind == "factor":  # 0.5 to 4 is three doublings
            fraction = np.log2(2 * values) / 3
        # A uniform number has the standard deviation 12**-0.5; four of a mean of 4000.
        assert fraction.mean() == pytest.approx(0.5, abs=4 * 12**-0.5 / 4000**0.5)
    if operation in PER_AXIS:
        x, y = params[operation], params[f"{operation}_y"]
        assert abs(np.corrcoef(x, y)[0, 1]) < 4 / 4000**0.5


@pytest.mark.parametrize(("probability", "tolerance"), [(0, 0), (0.3, 4 * 0.5 / 4000**0.5), (1, 0)])
def test_operations_are_applied_with_their_probability(probability, tolerance):
    ranges = {"translate": (0.1, 0.2), "blur": (1, 2)}
    params = to_params(RANDOM, ranges, {**ALWAYS, "translate": probability})
    applied = params["translate"] != 0
    assert applied.mean() == pytest.approx(probability, abs=tolerance)
    assert np.array_equal(applied, params["translate_y"] != 0)  # both axes or none
    assert (params["blur"] >= 1).all()


def test_an_additional_operation_does_not_change_the_others():
    alone = to_params(RANDOM[:50], {"rotate": (-9, 9)}, {**ALWAYS, "rotate": 0.5})
    others = {name: (1.5, 2) for name in KINDS if name not in ("rotate", "jpeg")}
    probabilities = {**ALWAYS, "rotate": 0.5, "scale": 0.5}
    together = to_params(RANDOM[:50], {**others, "rotate": (-9, 9)}, probabilities)
    for name in ("rotate", *UNIFORM):
        assert np.array_equal(alone[name], together[name])


def test_streams_are_independent():
    assert sorted(STREAMS.values()) == list(range(len(STREAMS)))
    params = to_params(RANDOM, {}, ALWAYS)
    correlations = np.corrcoef(np.stack([params[name] for name in UNIFORM]))
    assert np.abs(correlations - np.eye(len(UNIFORM))).max() < 4.5 / 4000**0.5


def test_tensors_give_the_same_as_numpy():
    ranges = {"scale": (0.5, 2.0), "rotate": (-30, 30), "blur": (0, 3), "jpeg": (10, 100)}
    probabilities = {**ALWAYS, "scale": 0.5}
    random = draw(ops.convert_to_tensor(KEYS[:200].astype("int32")))
    assert np.array_equal(ops.convert_to_numpy(random), RANDOM[:200])
    expected = to_params(RANDOM[:200], ranges, probabilities)
    params = to_params(random, ranges, probabilities)
    assert params.keys() == expected.keys() == NAMES
    for name, values in params.items():
        values = ops.convert_to_numpy(values)
        assert isinstance(expected[name], np.ndarray)
        assert values.dtype == expected[name].dtype == "float32"
        assert np.allclose(values, expected[name], rtol=1e-6, atol=1e-6)
    for name in UNIFORM:  # equal to the bit, since they choose pixels and corners
        assert np.array_equal(ops.convert_to_numpy(params[name]), expected[name])
    assert np.array_equal(ops.convert_to_numpy(params["scale"]) == 1, expected["scale"] == 1)


def test_every_seed_and_number_has_its_own_random_numbers():
    keys = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [-1, 0], [0, 2**31]])
    column = draw(keys)[:, STREAMS["crop_x"]]
    assert len(set(column.tolist())) == len(keys)
    assert draw(keys[::-1])[:, STREAMS["crop_x"]].tolist() == column[::-1].tolist()
