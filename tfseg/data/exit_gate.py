"""Calls from tf.data into Python, which must end before the interpreter does.

The threads of tf.data read ahead, whether or not anybody asks for the next batch. A call into
Python never returns once the interpreter has begun to shut down, and the iterator's destructor
would wait for it forever. So at exit running calls are awaited, and later ones do nothing, until
all buffers are full and no thread calls anymore.
"""

import atexit
import functools
import threading
import time
from collections.abc import Callable

import tensorflow as tf

QUIET_SECONDS = 0.2  # without a call: then all buffers are full

_lock = threading.Lock()
_running = _calls = 0
_is_closed = False


def until_exit(function: Callable, at_exit: Callable) -> Callable:
    """Return a function for tf.data that does no work after Python has begun to exit.

    Args:
        function: called until then.
        at_exit: called without arguments from then on; returns quickly what has the structure,
            dtypes and shapes of the results of `function`. Nobody sees it.
    """

    # AutoGraph would give a copy of this function variables of its own.
    @tf.autograph.experimental.do_not_convert
    @functools.wraps(function)
    def call(*arguments):
        global _running, _calls
        with _lock:
            _running += 1
            _calls += 1
        try:
            return at_exit() if _is_closed else function(*arguments)
        finally:
            with _lock:
                _running -= 1

    return call


@atexit.register
def _await_calls():
    global _is_closed
    if not _calls:
        return
    _is_closed = True
    quiet_since, seen = time.monotonic(), _calls
    while _running or _calls != seen or time.monotonic() - quiet_since < QUIET_SECONDS:
        if _running or _calls != seen:
            quiet_since, seen = time.monotonic(), _calls
        time.sleep(0.01)
