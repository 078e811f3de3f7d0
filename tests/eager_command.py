"""The command `tfseg` in a process that does not trace: it takes longer than a few steps."""

import sys

SCRIPT = """
import tensorflow as tf
tf.config.run_functions_eagerly(True)
from tfseg.cli import main
main()
"""


def eager_command(*words):
    """Return the words of a process that runs `tfseg` with these words."""
    return [sys.executable, "-c", SCRIPT, *map(str, words)]
