"""Some samples of another reader."""

import numpy as np

from tfseg.data.readers.base import Reader


class Subset(Reader):
    """Some samples of another reader; see `Reader.subset`.

    Args:
        reader: a `Reader`.
        indices: positions of the samples, in the order wanted.

    Attributes:
        reader: the other reader.
        indices: (N,) int array.
    """

    def __init__(self, reader: Reader, indices):
        self.reader = reader
        self.indices = np.asarray(indices, int)
        self.fields = reader.fields
        self.mask_values = reader.mask_values
        self.palette = reader.palette
        names = {reader.name(index) for index in self.indices.tolist()} if reader.dropped else ()
        self.dropped = [entry for entry in reader.dropped if entry[0] in names]
        super().__init__(
            reader.class_names, reader.sizes[self.indices], reader.channels, reader.dtype
        )

    @property
    def object_names(self) -> list[str]:
        """Names of the object categories of the other reader."""
        return self.reader.object_names

    def __getitem__(self, index: int) -> dict:
        return self.reader[int(self.indices[index])]

    def read(self, index: int, shrink: int = 1) -> dict:
        """Return a sample at 1 / `shrink` of its size; see `Reader.read`."""
        return self.reader.read(int(self.indices[index]), shrink)

    def name(self, index: int) -> str:
        """Return the sample's name in the other reader."""
        return self.reader.name(int(self.indices[index]))

    def image_path(self, index: int):
        """Return the file of the sample's image in the other reader."""
        return self.reader.image_path(int(self.indices[index]))

    @property
    def has_exact_rle(self) -> bool:
        """Whether the other reader has exact masks of the objects; see `Reader.has_exact_rle`."""
        return self.reader.has_exact_rle

    def object_rle(self, index: int) -> list[dict]:
        """Return the masks of the sample's objects; see `Reader.object_rle`."""
        return self.reader.object_rle(int(self.indices[index]))

    def version_key(self, index: int) -> list | None:
        """Return the sample's version key in the other reader."""
        return self.reader.version_key(int(self.indices[index]))
