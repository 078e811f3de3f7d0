import numpy as np
import pytest

from tfseg import checks


def test_one_of_suggests_the_closest():
    assert checks.one_of("f", "kind", "dice", ["dice", "iou"]) == "dice"
    with pytest.raises(
        ValueError,
        match=r"f: kind='dise' is unknown. Choose from 'dice', 'iou'. Did you mean 'dice'",
    ):
        checks.one_of("f", "kind", "dise", ["dice", "iou"])


@pytest.mark.parametrize("value", [0, -1, 1.5, True, [4, 8], None, float("nan")])
def test_positive_int_rejects(value):
    with pytest.raises(ValueError, match="f: n=.* at least 1"):
        checks.positive_int("f", "n", value)


@pytest.mark.parametrize("value", [[0, 255], (255,), "255", True, 2.5, float("nan"), {255}])
def test_ignore_index_rejects(value):
    with pytest.raises(ValueError, match=r"^f: ignore_index=.* must be one class id.*mask_values"):
        checks.ignore_index("f", value)


@pytest.mark.parametrize("value", [None, 255, -100, np.uint16(65535), 255.0])
def test_ignore_index_accepts_whole_numbers_and_none(value):
    assert checks.ignore_index("f", value) == value


@pytest.mark.parametrize(
    "value", [{0: "sky", 1: "car"}, {"sky", "car"}, "sky", b"sky", 3, {}.keys()]
)
def test_in_order_rejects_what_has_no_order(value):
    with pytest.raises(
        ValueError, match=r"^f: names=.* is a \w+; expected a list of class names\."
    ):
        checks.in_order("f", "names", value, "class names")


@pytest.mark.parametrize("value", [["sky", "car"], ("sky", "car"), np.array(["sky", "car"])])
def test_in_order_accepts_sequences(value):
    assert checks.in_order("f", "names", value, "class names") == ["sky", "car"]


def test_positive_int_accepts_whole_floats():
    assert checks.positive_int("f", "n", 3.0) == 3


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_fraction_rejects(value):
    with pytest.raises(ValueError, match="below 1"):
        checks.fraction("f", "part", value)


def test_a_missing_package_is_reported_with_its_extra():
    with pytest.raises(ImportError, match=r"'no_such_module'.*pip install 'tfseg-keras\[demo\]'"):
        checks.require_package("no_such_module", "demo")
