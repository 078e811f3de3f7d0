"""Files that appear whole or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(file):
    """Yield a temporary path beside `file`, and rename it to `file` once the block has ended without an error.

    A kill at any moment leaves the old file or the new one, never a part. The temporary path keeps the suffix, which
    Keras and OpenCV read the format from.

    Args:
        file: path to write; its folder is created if missing.

    Example:
        >>> with atomic_write("scores/run.json") as path:
        ...     _ = path.write_text("{}")
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{os.getpid()}-{file.name}")
    try:
        yield part
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
