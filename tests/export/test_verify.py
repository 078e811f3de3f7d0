import numpy as np
import pytest

from tfseg.export.verify import require_same

IDS, SHARES = np.zeros((1, 10, 100), np.uint8), np.full((1, 10, 100, 2), 0.5)


@pytest.mark.parametrize(
    ("wrong", "off", "passes"),
    [(0, 0, True), (1, 0.0009, True), (2, 0, False), (0, 0.0011, False), (0, np.nan, False)],
)
def test_rounding_is_borne_and_no_more(wrong, off, passes):
    ids, shares = IDS.copy(), SHARES.copy()
    ids[0, 0, :wrong] = 1
    shares[0, 3, 5, 0] += off
    expected, found = (
        {"class_ids": IDS, "probabilities": SHARES},
        {"class_ids": ids, "probabilities": shares},
    )
    if passes:
        require_same(expected, found, "here")
    else:
        with pytest.raises(RuntimeError, match="The export at here agrees with the model on"):
            require_same(expected, found, "here")


def test_probabilities_need_not_be_answered():
    require_same({"class_ids": IDS, "probabilities": SHARES}, {"class_ids": IDS}, "here")
