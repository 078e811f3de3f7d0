"""Run each side of a benchmark in its own process, since thread pools disturb each other.

This is not a script.
"""

import multiprocessing
import os
import site
import sys
from pathlib import Path


def start(function, *arguments):
    """Start `function(*arguments, pipe)` and return the process and our end of the pipe."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=function, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()  # so that recv() raises if the process fails
    return process, ours


def start_with(variable, function, *arguments):
    """Like `start`, with the interpreter that an environment variable names, if it is set.

    It must have the version of this one. `function` must call `own_packages_first`.
    """
    multiprocessing.set_executable(os.environ.get(variable, sys.executable))
    try:
        return start(function, *arguments)
    finally:
        multiprocessing.set_executable(sys.executable)


def own_packages_first():
    """Import the packages of this interpreter; a child process gets the path of its parent."""
    sys.path[:0] = site.getsitepackages()


def answer(pipe, request):
    """Send a request and return the answer."""
    pipe.send(request)
    return pipe.recv()


def memory(field):
    """Return the memory of this process in bytes: VmRSS now, VmHWM at its peak (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def reset_peak_memory():
    """Let VmHWM start again from the present memory."""
    Path("/proc/self/clear_refs").write_text("5")
