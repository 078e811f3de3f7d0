import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from torch_files import FACTS, Named, tensor, write_legacy, write_zip

from tfseg.models.encoders.checkpoints import read_checkpoint

GOLDENS = Path(__file__).parents[2] / "goldens"
WRITERS = pytest.mark.parametrize("write", [write_legacy, write_zip])


@WRITERS
def test_tensors_are_views_into_storages(tmp_path, write):
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


@pytest.mark.parametrize("name", ["torch_legacy.pth", "torch_zip.pth"])
def test_files_of_pytorch_are_read(name):
    # written by torch 2.14.1: tests/goldens/torch_checkpoints.py
    tensors = read_checkpoint(GOLDENS / name)
    assert list(tensors) == [
        *("0.weight", "0.bias", "1.weight", "1.bias"),
        *("1.running_mean", "1.running_var", "1.num_batches_tracked"),
    ]
    assert tensors["0.weight"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensors["0.bias"].tolist() == [0.5, 1.5, 2.5]
    assert tensors["1.running_mean"].tolist() == [-1, 0, 7]
    assert tensors["1.num_batches_tracked"] == 41


@WRITERS
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
def test_other_functions_are_not_called(tmp_path, module, name, write):
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
    path = write_legacy(tmp_path / "bad.pth", **{"state": STATE, "storages": STORAGE} | options)
    with pytest.raises(
        ValueError,
        match=rf"(?s)bad.pth' is not a PyTorch checkpoint.*{message}.*Download it again",
    ):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"more": {"byteorder": b"big\0\0\0"}}, "the elements are big-endian"),
        ({"more": {"byteorder": b"big"}}, "byteorder has 3 bytes, expected 6"),
        ({"more": {"other/data.pkl": b""}}, "contains 2 data.pkl, expected 1"),
        ({"compression": zipfile.ZIP_DEFLATED}, "is compressed"),
        (
            {"storages": {"0": np.arange(3, dtype="<f4")}},
            "archive/data/0 has 12 bytes, expected 16",
        ),
        ({"storages": {}}, "There is no item named 'archive/data/0'"),
        ({"state": {"w": tensor("0", 4, 1, (4,), (1,))}}, "reaches beyond its 4 elements"),
        # as training scripts save: {"model": state dict, "optimizer": ...}
        ({"state": {"model": STATE}}, "not a state dict: 'model' is of type dict.*state_dict"),
    ],
)
def test_a_damaged_zip_is_an_error_that_names_it(tmp_path, options, message):
    path = write_zip(tmp_path / "bad.pth", **{"state": STATE, "storages": STORAGE} | options)
    with pytest.raises(ValueError, match=rf"(?s)bad.pth' is not a PyTorch checkpoint.*{message}"):
        read_checkpoint(path)


@WRITERS
def test_a_truncated_file_is_an_error(tmp_path, write):
    whole = write(tmp_path / "a.pth", STATE, STORAGE).read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut.pth"):
            read_checkpoint(tmp_path / "cut.pth")


def test_a_missing_file_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.pth")
