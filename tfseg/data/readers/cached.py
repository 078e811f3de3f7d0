"""A cache of the last results of a function, for use from several threads."""

import functools
import threading
from collections import defaultdict
from collections.abc import Callable


def thread_safe_lru(load: Callable, count: int) -> Callable:
    """Return a function that caches the last `count` results of `load`.

    Threads that ask for the same key at once wait until one of them has loaded it, so that
    nothing is loaded twice.

    Args:
        load: function of one hashable argument.
        count: number of results to keep.

    Example:
        >>> load = thread_safe_lru(lambda path: print("reading", path), 2)
        >>> load("a"), load("a")
        reading a
        (None, None)
    """
    remembered = functools.lru_cache(maxsize=count)(load)
    locks = defaultdict(threading.Lock)

    def loaded(key):
        with locks[key]:
            return remembered(key)

    return loaded
