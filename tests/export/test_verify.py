import numpy as np
import pytest

from tfseg.export.verify import require_close

IDS, PROBABILITIES = np.zeros((1, 10, 100), np.uint8), np.full((1, 10, 100, 2), 0.5)


@pytest.mark.parametrize(
    ("wrong_pixels", "difference", "passes"),
    [(0, 0, True), (1, 0.0009, True), (2, 0, False), (0, 0.0011, False), (0, np.nan, False)],
)
def test_only_differences_within_the_tolerance_pass(wrong_pixels, difference, passes):
    ids, probabilities = IDS.copy(), PROBABILITIES.copy()
    ids[0, 0, :wrong_pixels] = 1
    probabilities[0, 3, 5, 0] += difference
    expected = {"class_ids": IDS, "probabilities": PROBABILITIES}
    found = {"class_ids": ids, "probabilities": probabilities}
    if passes:
        require_close(expected, found, "here", 0.999, 1e-3)
    else:
        with pytest.raises(RuntimeError, match="The export at here agrees with the model on"):
            require_close(expected, found, "here", 0.999, 1e-3)


def test_probabilities_may_be_missing():
    expected = {"class_ids": IDS, "probabilities": PROBABILITIES}
    require_close(expected, {"class_ids": IDS}, "here", 0.999, 1e-3)
