import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from conftest import draw_sample, untraced
from tfseg.data import Arrays
from tfseg.training import FoldRuns, Run, train, train_folds
from tfseg.training.folds import fold_config

from .conftest import NAMES, small_config
from .test_trainer import Kill, assert_same_training, final_state

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def reader():
    samples = [draw_sample(index, 32, 32) for index in range(5)]
    return Arrays(*zip(*samples, strict=True), NAMES)


def folds_config(out, **changes):
    return small_config(out, **{"folds": 3, "epochs": 2, **changes})


@pytest.fixture(scope="module")
def undisturbed(reader, tmp_path_factory):
    """Return the training in three folds that ended; do not change it."""
    with untraced():
        return train_folds(folds_config(tmp_path_factory.mktemp("folds") / "cv"), reader)


def test_each_sample_is_validated_on_once_and_not_trained_on_there(undisturbed, reader):
    validated = []
    for run, names in zip(undisturbed.runs, undisturbed.val_names, strict=True):
        facts = run.data
        assert facts.val_names == names
        assert sorted(facts.train_names + facts.val_names) == list("01234")
        validated += names
    assert sorted(validated) == list("01234")
    assert list(undisturbed.fold_of) == list("01234")
    assert [run.config.fold for run in undisturbed.runs] == [1, 2, 3]


def test_the_record_is_that_of_all_samples(undisturbed):
    facts, first = undisturbed.data, undisturbed.runs[0].data
    assert facts.train_names == facts.val_names == list("01234")
    total = 5 * 32 * 32
    assert sum(facts.class_pixels) + facts.ignored_pixels == total
    assert sum(first.class_pixels) + first.ignored_pixels < total
    lows, highs = zip(*(run.data.value_range for run in undisturbed.runs), strict=True)
    assert facts.value_range == [min(lows), max(highs)]
    assert undisturbed.config.out == str(undisturbed.folder)


def test_the_model_is_the_mean_of_the_folds(undisturbed, reader):
    image = reader[0]["image"][None]
    logits = [run.model().predict_on_batch(image).astype(float) for run in undisturbed.runs]
    assert np.abs(logits[0] - logits[1]).max() > 1e-3
    powers = [np.exp(x) for x in logits]
    mean = np.mean([power / power.sum(-1, keepdims=True) for power in powers], axis=0)
    found = undisturbed.model().predict_on_batch(image)
    assert_allclose(np.exp(found), mean, atol=1e-6)


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_killed_training_goes_on_with_its_fold_and_ends_the_same(
    undisturbed, reader, tmp_path, epoch
):
    config = folds_config(tmp_path / "cv")
    with pytest.raises(KeyboardInterrupt):
        train_folds(config, reader, callbacks=lambda fold: [Kill(epoch)] if fold == 2 else [])
    before = (tmp_path / "cv/fold_1/history.csv").stat().st_mtime_ns
    with pytest.raises(FileNotFoundError, match=r"no model yet in (fold_2, )?fold_3 of 3 folds"):
        FoldRuns(tmp_path / "cv").model()
    begun = []
    folds = train_folds(config, reader, callbacks=lambda fold: begun.append(fold) or [])
    assert begun == [2, 3]
    assert (tmp_path / "cv/fold_1/history.csv").stat().st_mtime_ns == before
    for run, other in zip(folds.runs, undisturbed.runs, strict=True):
        assert_same_training(run, other)


def test_a_fold_is_a_run_like_others(undisturbed, reader, tmp_path):
    """The same samples and settings give the same weights, without any folds."""
    names = undisturbed.val_names[1]
    train_names = [name for name in list("01234") if name not in names]
    config = folds_config(tmp_path / "alone", folds=None)
    run = train(config, reader.select(train_names), reader.select(names))
    for name, value in final_state(run).items():
        assert_array_equal(value, final_state(undisturbed.runs[1])[name])


def test_the_samples_stay_in_their_folds_when_the_reader_grows(undisturbed, reader, tmp_path):
    config = folds_config(tmp_path / "cv", epochs=1)
    with pytest.raises(KeyboardInterrupt):
        train_folds(config, reader, callbacks=lambda fold: [Kill(0)])
    samples = [draw_sample(index, 32, 32) for index in range(8)]
    larger = Arrays(*zip(*samples, strict=True), NAMES)
    folds = train_folds(config, larger)
    assert folds.val_names == undisturbed.val_names
    assert sorted(folds.runs[2].data.train_names + folds.runs[2].data.val_names) == list("01234")
    with pytest.raises(ValueError, match="1 of the run's images are missing: 4"):
        train_folds(config, reader.subset(range(4)))


def test_the_config_of_a_fold_shares_the_minutes_and_has_its_own_cache():
    config = folds_config("cv", folds=4, epochs=None, minutes=6, cache="decoded")
    fold = fold_config(config, 3)
    assert (fold.fold, fold.folds, fold.minutes) == (3, 4, 1.5)
    assert fold.out.endswith("/cv/fold_3")
    assert fold.cache.endswith("/decoded/fold_3")
    assert fold_config(replace(config, cache="memory"), 1).cache == "memory"


def test_wrong_configs_are_refused(undisturbed, reader, tmp_path):
    config = folds_config(undisturbed.folder)
    with pytest.raises(ValueError, match=r"folds with other folds, epochs\. Resume with the same"):
        train_folds(replace(config, epochs=9, folds=2), reader)
    with pytest.raises(ValueError, match=r"config.folds=None and config.fold=None\. Pass a config"):
        train_folds(replace(config, folds=None), reader)
    with pytest.raises(ValueError, match="config.folds=3 is for `train_folds`"):
        train(replace(config, out=str(tmp_path / "x")), reader, reader)
    with pytest.raises(ValueError, match="images=None names no folder. Pass a reader"):
        train_folds(replace(config, out=str(tmp_path / "x")))
    with pytest.raises(ValueError, match="k_fold: got 5 samples, expected at least 6"):
        train_folds(replace(config, folds=6, out=str(tmp_path / "x")), reader)
    groups = replace(config, groups="[0-4]", out=str(tmp_path / "x"))
    with pytest.raises(ValueError, match=r"k_fold: got 2 groups \(0, 1\), expected at least 3"):
        train_folds(groups, reader.subset([0, 1]))
    assert not (tmp_path / "x").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(FileExistsError, match="is not empty"):
        train_folds(replace(config, out=str(tmp_path / "full")), reader)


def test_other_folders_are_named_for_what_they_are(undisturbed, tmp_path):
    with pytest.raises(FileNotFoundError, match="has a training in folds. Open it with"):
        _ = Run(undisturbed.folder).record
    with pytest.raises(FileExistsError, match="already contains a training in folds"):
        undisturbed.raise_if_exists()
    with pytest.raises(FileNotFoundError, match="has no training in folds"):
        _ = FoldRuns(tmp_path).config
    text = (undisturbed.folder / "folds.json").read_text()
    assert json.loads(text)["config"]["folds"] == 3
    (tmp_path / "folds.json").write_text(text[:-9])
    with pytest.raises(ValueError, match=r"folds\.json is damaged \(.*Start a new training"):
        _ = FoldRuns(tmp_path).fold_of
