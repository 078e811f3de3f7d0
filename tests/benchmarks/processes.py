"""Run each side of a benchmark in its own process, since thread pools disturb each other.

This is not a script.
"""

import multiprocessing


def start(function, *arguments):
    """Start `function(*arguments, pipe)` and return the process and our end of the pipe."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=function, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()  # so that recv() raises if the process fails
    return process, ours


def answer(pipe, request):
    """Send a request and return the answer."""
    pipe.send(request)
    return pipe.recv()
