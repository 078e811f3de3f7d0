"""A memory of what was decoded last."""

import functools
import threading
from collections import defaultdict


def thread_safe_lru(load, count):
    """Return a function like `load`, of one hashable argument, that remembers its last `count` results.

    Threads that ask for the same thing at once wait for one of them to load it.
    """
    remembered = functools.lru_cache(maxsize=count)(load)
    locks = defaultdict(threading.Lock)

    def loaded(key):
        with locks[key]:
            return remembered(key)

    return loaded
