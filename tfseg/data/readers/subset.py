"""Some samples of another reader."""

import numpy as np

from tfseg.data.readers.base import Reader


class Subset(Reader):
    """Some samples of another reader; see `Reader.subset`.

    Args:
        reader: a `Reader`.
        indices: positions of the samples, in the order wanted.
    """

    def __init__(self, reader: Reader, indices):
        self._reader = reader
        self._indices = np.asarray(indices, int)
        self.fields = reader.fields
        self.mask_values = reader.mask_values
        self.palette = reader.palette
        names = {reader.name(index) for index in self._indices.tolist()} if reader.dropped else ()
        self.dropped = [entry for entry in reader.dropped if entry[0] in names]
        super().__init__(
            reader.class_names, reader.sizes[self._indices], reader.channels, reader.dtype
        )

    @property
    def object_names(self) -> list[str]:
        """Names of the object categories of the other reader."""
        return self._reader.object_names

    def __getitem__(self, index: int) -> dict:
        return self._reader[int(self._indices[index])]

    def read(self, index: int, shrink: int = 1) -> dict:
        """Return a sample at 1 / `shrink` of its size; see `Reader.read`."""
        return self._reader.read(int(self._indices[index]), shrink)

    def name(self, index: int) -> str:
        """Return the sample's name in the other reader."""
        return self._reader.name(int(self._indices[index]))

    def image_path(self, index: int):
        """Return the file of the sample's image in the other reader."""
        return self._reader.image_path(int(self._indices[index]))

    def plain_files(self) -> tuple[list, dict] | None:
        """Return the files of these samples; see `Reader.plain_files`."""
        found = self._reader.plain_files() if type(self) is Subset else None
        if found is None:
            return None
        files, table = found
        return [files[index] for index in self._indices], table

    @property
    def has_exact_rle(self) -> bool:
        """Whether the other reader has exact masks of the objects; see `Reader.has_exact_rle`."""
        return self._reader.has_exact_rle

    def object_rle(self, index: int) -> list[dict]:
        """Return the masks of the sample's objects; see `Reader.object_rle`."""
        return self._reader.object_rle(int(self._indices[index]))

    def version_key(self, index: int) -> list | None:
        """Return the sample's version key in the other reader."""
        return self._reader.version_key(int(self._indices[index]))
