"""Durations as text, and how long something will still take."""

import time


def format_duration(seconds: float) -> str:
    """Return a duration such as "45 s", "1 min 10 s", "12 min" or "1 h 5 min".

    Example:
        >>> from tfseg.durations import format_duration
        >>> [format_duration(seconds) for seconds in (45.2, 70, 725, 3900)]
        ['45 s', '1 min 10 s', '12 min', '1 h 5 min']
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 600:
        minutes, rest = divmod(seconds, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


class Remaining:
    """Estimates how long the rest of some equal parts takes.

    The first part is not measured: it often waits for a compiler or the first file.
    """

    def __init__(self):
        self._began, self._done = None, 0

    def advance(self) -> None:
        """Note that one more part is done."""
        if self._began is None:
            self._began = time.monotonic()
        else:
            self._done += 1

    def text(self, left: int) -> str:
        """Return ", about 8 min left" for a number of parts; "" if that is unknown or 0."""
        if not self._done or not left:
            return ""
        seconds = (time.monotonic() - self._began) / self._done * left
        return f", about {format_duration(seconds)} left"
