import pytest

from tfseg.data import Folder, check
from tfseg.training import Run, remember, train_folder


def test_a_file_damaged_after_the_check_is_named_and_the_run_goes_on_once_it_is_whole(folder, tmp_path):
    reader = Folder(folder / "images", folder / "masks", ["ground", "disc", "band"])
    settings = {
        "size": 32,
        "batch_size": 2,
        "epochs": 1,
        "filters": [4, 8],
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "seed": 0,
    }
    settings = remember(settings, reader, reader, check(reader))
    damaged = folder / "images" / "p4.jpg"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:400])
    with pytest.raises(OSError, match=r"p4\.jpg") as error:
        train_folder(reader, reader, settings, tmp_path / "run")
    assert "Traceback" not in str(error.value)
    damaged.write_bytes(whole)
    train_folder(reader, reader, settings, tmp_path / "run")
    assert Run(tmp_path / "run").history()["epoch"] == [1]
