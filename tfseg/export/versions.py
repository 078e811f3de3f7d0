"""Numbered versions of an export, which appear whole or not at all."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def next_version(folder, write: Callable[[Path], None]) -> Path:
    """Create the next free version `<folder>/<number>` once it is complete.

    Args:
        folder: created if it does not exist.
        write: function that fills the empty folder passed to it. If it raises, or the process is
            killed, no version appears.

    Returns:
        pathlib.Path of the version.
    """
    folder = Path(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    # TF Serving only looks at folders whose name is a number
    temporary = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    try:
        write(temporary)
        temporary.chmod(0o755)  # mkdtemp's folders are private, but a server must read this one
        return _rename_to_next(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):  # not empty: another export has written to it
                folder.rmdir()
        raise


def _rename_to_next(temporary, folder):
    while True:
        used = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
        version = folder / str(max(used, default=0) + 1)
        try:
            return temporary.rename(version)
        except OSError:
            if not version.exists():
                raise
            # another export took this number in the meantime: try the next
