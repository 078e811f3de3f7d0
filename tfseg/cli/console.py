"""What the commands say, and how."""

import contextlib
import os
import shlex

from rich.console import Console
from rich.progress import track as rich_track

console = Console()
stderr = Console(stderr=True)


def say(text):
    """Print words that may hold what rich takes for markup, such as a class named [x]."""
    console.print(text, markup=False, highlight=False)


def say_commands(*commands):
    """Print what may be typed next; each command is a sequence of words."""
    say("Next:")
    for command in commands:
        console.print(
            f"  {shlex.join(map(str, command))}",
            style="cyan",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def track(description):
    """Return the `track` that library functions take: it shows a bar while they iterate."""
    return lambda items, total: rich_track(
        items, description, total=total, console=console, transient=True
    )


@contextlib.contextmanager
def quiet_start():
    """Import TensorFlow without the remarks that its C++ part makes on its own channel."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere, console.status("starting TensorFlow"):
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
            import tensorflow  # noqa: F401
        finally:
            os.dup2(kept, 2)
            os.close(kept)
