"""Files that appear whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(file) -> Iterator[Path]:
    """Yield a temporary path in the folder of `file`; rename it to `file` if the block succeeds.

    If the process is killed, the old file or the complete new one is left, never a part. The
    temporary path has the suffix of `file`, since Keras and OpenCV infer the format from it.

    Args:
        file: path to write. Its folder is created if it does not exist.

    Example:
        >>> with atomic_write("scores/run.json") as path:
        ...     _ = path.write_text("{}")
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{uuid.uuid4().hex}-{file.name}")  # unique: threads may write one file
    try:
        yield part
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def remove_leftovers(folder) -> None:
    """Remove the temporary files that `atomic_write` left in a folder if a process was killed.

    Example:
        >>> from tfseg.files import remove_leftovers
        >>> remove_leftovers("scores")
    """
    for path in Path(folder).glob("." + "[0-9a-f]" * 32 + "-*"):
        path.unlink(missing_ok=True)
