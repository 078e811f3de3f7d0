"""Each side of a benchmark in a process of its own, as thread pools of libraries disturb each other. Not a script."""

import multiprocessing


def start(function, *arguments):
    """The process, and our end of the pipe that is its last argument."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=function, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()  # so that a side that fails ends the wait
    return process, ours


def answer(pipe, order):
    pipe.send(order)
    return pipe.recv()
