import pytest

from tfseg import durations
from tfseg.durations import Remaining, format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.3, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (599, "9 min 59 s"),
        (640, "11 min"),
        (3590, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_are_as_precise_as_people_need(seconds, text):
    assert format_duration(seconds) == text


def test_the_rest_takes_as_long_per_part_as_all_parts_but_the_first(monkeypatch):
    clock = iter([0, 100, 100, 130])
    monkeypatch.setattr(durations.time, "monotonic", lambda: next(clock))
    remaining = Remaining()
    next(clock)
    assert remaining.text(5) == ""
    for _ in range(4):
        remaining.advance()  # only the first one reads the clock: 100
    assert remaining.text(0) == ""
    # three parts took 0 s, then 30 s
    assert remaining.text(5) == ", about 0 s left"
    assert remaining.text(5) == ", about 50 s left"
