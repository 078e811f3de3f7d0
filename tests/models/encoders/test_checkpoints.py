import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from tfseg.models.encoders.checkpoints import read_checkpoint

FACTS = {
    "protocol_version": 1001,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}


class Named:
    """Pickles as a call of a function by name; the function does not have to exist."""

    def __init__(self, module, name, *args):
        self.module, self.name, self.args = module, name, args


class Storage(tuple):
    """Pickles as a persistent id."""


class Pickler(pickle._Pickler):  # the Python implementation, whose `save` can be overridden
    def persistent_id(self, value):
        if isinstance(value, Storage):
            return tuple(value)
        return None

    def save(self, value, save_persistent_id=True):
        if not isinstance(value, Named):
            return super().save(value, save_persistent_id)
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        if value.args:
            super().save(value.args)
            self.write(pickle.REDUCE)


def write(path, state, storages, magic=0x1950A86A20F9469CFC6C, facts=FACTS, tail=b""):
    """Write a legacy file; `storages` is {key: array}."""
    with path.open("wb") as file:
        for value in (magic, 1001, facts, state, list(storages)):
            Pickler(file, 2).dump(value)
        for array in storages.values():
            file.write(struct.pack("<q", array.size) + array.tobytes())
        file.write(tail)
    return path


def tensor(key, count, offset, shape, strides, kind="FloatStorage"):
    storage = Storage(("storage", Named("torch", kind), key, "cpu", count, None))
    return Named(
        "torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False, OrderedDict()
    )


def test_tensors_are_views_into_storages(tmp_path):
    state = {
        "plain": tensor("7", 6, 0, (2, 3), (3, 1)),
        "transposed": tensor("7", 6, 0, (3, 2), (1, 3)),
        "part": tensor("7", 6, 4, (2,), (1,)),
        "scalar": tensor("8", 1, 0, (), (), "LongStorage"),
    }
    storages = {"7": np.array([1, 2, 3, 4, 5, 6.5], "<f4"), "8": np.array([-3], "<i8")}
    tensors = read_checkpoint(write(tmp_path / "a.pth", state, storages))
    assert tensors["plain"].tolist() == [[1, 2, 3], [4, 5, 6.5]]
    assert tensors["transposed"].tolist() == [[1, 4], [2, 5], [3, 6.5]]
    assert tensors["part"].tolist() == [5, 6.5]
    assert tensors["plain"].dtype == np.float32
    assert (tensors["scalar"].tolist(), tensors["scalar"].dtype) == (-3, np.int64)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("collections", "Counter"),
        ("torch", "load"),
    ],
)
def test_other_functions_are_not_called(tmp_path, module, name):
    state = {"weight": Named(module, name, f"touch {tmp_path / 'run'}")}
    write(tmp_path / "evil.pth", state, {})
    with pytest.raises(
        ValueError, match=rf"evil.pth' tries to call '{module}.{name}' when unpickled.*blocked"
    ):
        read_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "run").exists()


def test_the_header_cannot_call_functions_either(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'run'}",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil(), 2))
    with pytest.raises(ValueError, match="tries to call 'posix.system'"):
        read_checkpoint(tmp_path / "evil.pth")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil(), 5))
    with pytest.raises(ValueError, match="tries to call 'posix.system'"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "run").exists()


STATE = {"w": tensor("0", 4, 0, (4,), (1,))}
STORAGE = {"0": np.arange(4, dtype="<f4")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"magic": 5}, "the magic number is missing"),
        ({"facts": FACTS | {"little_endian": False}}, "the elements are big-endian"),
        ({"tail": b"x"}, "bytes after the last tensor"),
        ({"storages": {"0": np.arange(3, dtype="<f4")}}, "storage has 3 elements, expected 4"),
        ({"storages": {"1": np.arange(4, dtype="<f4")}}, "damaged"),
        ({"storages": {}}, "damaged"),
        (
            {"state": {"w": tensor("0", 4, 1, (4,), (1,))}},
            r"tensor \(4,\) reaches beyond its 4 elements",
        ),
        ({"state": {"w": tensor("0", 4, 0, (2, 2), (3, 1))}}, "reaches beyond"),
        ({"state": {"w": tensor("0", 4, -1, (2,), (1,))}}, "reaches beyond"),
        ({"state": {"w": tensor("0", 4, 3, (2,), (-1,))}}, "reaches beyond"),
        # would fill the memory
        ({"state": {"w": tensor("0", 4, 0, (10**12,), (0,))}}, "reaches beyond"),
        ({"state": [1, 2]}, "damaged"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, options, message):
    path = write(tmp_path / "bad.pth", **{"state": STATE, "storages": STORAGE} | options)
    with pytest.raises(
        ValueError,
        match=rf"(?s)bad.pth' is not a legacy PyTorch checkpoint.*{message}.*Download it again",
    ):
        read_checkpoint(path)


def test_a_truncated_file_is_an_error(tmp_path):
    whole = write(tmp_path / "a.pth", STATE, STORAGE).read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut.pth"):
            read_checkpoint(tmp_path / "cut.pth")


def test_a_missing_file_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.pth")
