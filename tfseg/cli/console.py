"""How the commands print."""

import contextlib
import os
import shlex
import sys
import time
import warnings

from rich.console import Console, ConsoleDimensions
from rich.progress import track as rich_track

from tfseg.durations import Remaining

LINE_EVERY = 30  # seconds, where there is no bar
FILE_WIDTH = 120  # of tables


class CommandConsole(Console):
    """A console that does not squeeze tables into 80 columns where there is no terminal."""

    @property
    def size(self) -> ConsoleDimensions:
        """The width and height of the output."""
        size = super().size
        if self.is_terminal or "COLUMNS" in os.environ:
            return size
        return ConsoleDimensions(FILE_WIDTH, size.height)


console = CommandConsole()
stderr = Console(stderr=True)


def accept_all_characters() -> None:
    r"""Print characters that the terminal or the log file cannot encode as escapes like \u732b.

    Otherwise a class name in Chinese would end a command under an encoding such as cp1252.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print text without interpreting rich's markup, for class names such as [x].

    Lines are wrapped on a terminal, not in a file.
    """
    console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def plural(count: int, noun: str) -> str:
    """Return "1 image" or "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def say_commands(*commands) -> None:
    """Print the next commands to try; each is a sequence of words."""
    say_program("Next:", "\n".join(shlex.join(map(str, command)) for command in commands))


def say_program(title: str, text: str) -> None:
    """Print a title, and under it lines of code to copy, which are never broken."""
    say(title)
    lines = "\n".join(f"  {line}" for line in text.splitlines())
    console.print(lines, style="cyan", markup=False, highlight=False, soft_wrap=True)


def track(description: str):
    """Return the `track` argument of library functions: it shows a bar while they iterate.

    In a file there is a line every 30 seconds instead.
    """

    def show(items, total):
        if console.is_terminal:
            return rich_track(items, description, total=total, console=console, transient=True)
        return _print_progress(items, description, total)

    return show


def _print_progress(items, description, total):
    remaining, last_line = Remaining(), time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        remaining.advance()
        if time.monotonic() - last_line >= LINE_EVERY:
            say(f"{description}: {done} of {total}{remaining.text(total - done)}")
            last_line = time.monotonic()


def spinner(text: str):
    """Return a context that shows what is being done, on a terminal."""
    return console.status(text) if console.is_terminal else contextlib.nullcontext()


@contextlib.contextmanager
def quiet_start():
    """Import TensorFlow without the messages that its C++ code writes to stderr."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere, spinner("starting TensorFlow"):
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
            import tensorflow  # noqa: F401
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def warnings_said():
    """Print the warnings of a block as messages of the command, each text once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for text in dict.fromkeys(str(warning.message) for warning in caught):
                say(f"Warning: {text}")


def print_warning(message, category, *location) -> None:
    """Print a warning of ours as a message of the command, as `warnings.showwarning`.

    Other categories, which are for programmers, keep their place in the code.
    """
    if issubclass(category, UserWarning):
        say(f"Warning: {message}")
    else:
        stderr.print(warnings.formatwarning(message, category, *location[:2]), markup=False)
