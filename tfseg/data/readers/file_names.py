"""Find files whose names are written in another way than on disk."""

import unicodedata
from pathlib import Path, PurePosixPath

from tfseg.data.readers.pillow_files import SUFFIXES


def is_hidden(path: Path) -> bool:
    """Return whether a file is hidden, such as the "._" files of macOS beside every file."""
    return path.name.startswith(".")


def same_form(name: str) -> str:
    """Return a name in Unicode's composed form (NFC); macOS decomposes accents (NFD)."""
    return unicodedata.normalize("NFC", name)


def with_slashes(name: str) -> str:
    """Return a path of Windows with forward slashes."""
    return name.replace("\\", "/")


def without_suffix(name: str) -> str:
    """Return a name without the suffix of an image file, if it has one."""
    stem, _, suffix = name.rpartition(".")
    return stem if f".{suffix.lower()}" in SUFFIXES else name


class FileFinder:
    """Finds the files that a label file names, as they are called on disk.

    Names may differ from those on disk in upper and lower case, in the Unicode form of accents, or
    in backslashes for slashes, and may begin with folders that lead to the folder searched. The
    exact name takes precedence.

    Example:
        >>> FileFinder().find("photos", "C:\\\\data\\\\Photos\\\\LEAF0.jpg").as_posix()
        'photos/leaf0.jpg'
    """

    def __init__(self):
        self._listings = {}

    def find(self, folder: str | Path, name: str) -> Path:
        """Return the path of a file; where it should be if there is none.

        Args:
            folder: folder that the name is relative to.
            name: path, usually relative.
        """
        folder = Path(folder)
        exact = folder / name
        if exact.exists():
            return exact
        parts = PurePosixPath(with_slashes(name)).parts
        return self._walk(folder, parts) or self._walk(folder, _below(folder, parts)) or exact

    def _walk(self, folder, parts):
        """Return the entry that the parts of a path lead to, or None."""
        path = folder
        for part in parts:
            path = self._entry(path, part)
            if path is None:
                return None
        return path if parts else None

    def _entry(self, folder, name):
        """Return the only entry of a folder with such a name, or None."""
        if (folder / name).exists():
            return folder / name
        if folder not in self._listings:
            self._listings[folder] = _listing(folder)
        found = self._listings[folder].get(_key(name), [])
        return folder / found[0] if len(found) == 1 else None


def _below(folder, parts):
    """Return the parts after the last one with the folder's own name; none without such a part."""
    names = [_key(part) for part in parts]
    own = _key(folder.resolve().name)
    if own not in names:
        return ()
    return parts[len(names) - names[::-1].index(own) :]


def _listing(folder):
    """Return {key: names} of a folder; empty if there is no such folder."""
    listing = {}
    if folder.is_dir():
        for path in folder.iterdir():
            listing.setdefault(_key(path.name), []).append(path.name)
    return listing


def _key(name):
    return same_form(name).casefold()
