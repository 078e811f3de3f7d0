import pytest

from tfseg.datasets import DATASETS
from tfseg.datasets.dataset_dir import dataset_dir


def test_the_user_or_the_environment_says_where_a_dataset_is(tmp_path, monkeypatch):
    (tmp_path / "camvid").mkdir()
    monkeypatch.setenv("TFSEG_DATA", str(tmp_path))
    assert dataset_dir(None, "camvid", "somewhere") == tmp_path / "camvid"
    assert dataset_dir(str(tmp_path), "camvid", "somewhere") == tmp_path
    monkeypatch.delenv("TFSEG_DATA")
    (tmp_path / "work").mkdir()
    (tmp_path / "shared" / "data" / "camvid").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert (
        dataset_dir(None, "camvid", "somewhere").resolve()
        == tmp_path / "shared" / "data" / "camvid"
    )


@pytest.mark.parametrize("name", ["bccd", "camvid", "dsb2018", "isbi2012"])
def test_a_missing_dataset_says_where_to_get_it(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TFSEG_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(
        FileNotFoundError,
        match=rf"nowhere/{name}.*Download the dataset from github\.com/.*TFSEG_DATA.*`folder`",
    ):
        DATASETS[name]()
