"""Versions of an export, which appear whole or not at all."""

import contextlib
import shutil
import tempfile
from pathlib import Path


def next_version(folder, write):
    """Make the next free version `<folder>/<number>`, once it is whole.

    Args:
        folder: made if need be.
        write: function that is given an empty folder to fill. If it raises, or the process is killed, there is no new
            version.

    Returns:
        pathlib.Path of the version.
    """
    folder = Path(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    # TF Serving looks at folders whose name is a number, and at no others.
    beside = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    try:
        write(beside)
        beside.chmod(0o755)  # mkdtemp's folders are closed to others, a server may be one
        return _rename(beside, folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):  # another export may have put something there
                folder.rmdir()
        raise


def _rename(beside, folder):
    while True:
        taken = [int(p.name) for p in folder.iterdir() if p.name.isdecimal()]
        version = folder / str(max(taken, default=0) + 1)
        try:
            return beside.rename(version)
        except OSError:
            if not version.exists():  # else another export took this number just now
                raise
