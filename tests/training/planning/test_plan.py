"""Plans of drawn datasets, and their files."""

import json

import numpy as np
import pytest

from conftest import draw_sample
from tfseg.data import Arrays
from tfseg.doctor import check
from tfseg.training import TrainConfig, TrainingPlan, plan, plan_training, train

NAMES = ["ground", "disc", "band"]
TINY = {"model": "tiny_unet"}  # built in a tenth of a second, to predict its memory


def as_drawn(image, mask):
    return image, mask


def drawn(count=10, height=32, width=32, change=as_drawn):
    samples = [change(*draw_sample(index, height, width)) for index in range(count)]
    images, masks = zip(*samples, strict=True)
    return Arrays(list(images), list(masks), NAMES)


def test_the_same_samples_and_options_give_the_same_bytes():
    def planned(minutes, summary=None):
        return plan_training(drawn(), minutes, given=TINY, summary=summary).to_json()

    assert planned(5) == planned(5) == planned(5, check(drawn()))
    assert planned(5) != planned(6)


def test_every_decision_has_its_reason():
    found = plan_training(drawn())
    named = {name for names in found.reasons for name in names.split(", ")}
    fields = set(found.values) - {"augment"} | {
        f"augment.{name}" for name in found.values["augment"]
    }
    assert named == fields
    assert all(found.reasons.values())
    assert "minutes: 20 (" in str(found)


def test_given_fields_are_kept_and_not_explained():
    given = {"model": "tiny_unet", "filters": 4, "epochs": 2, "augment.size": (16, 16)}
    found = plan_training(drawn(), given=given)
    assert not set(given).intersection(", ".join(found.reasons).split(", "))
    config = found.config("runs/x")
    assert (config.model, config.filters, config.epochs, config.minutes) == (
        "tiny_unet",
        4,
        2,
        None,
    )
    assert config.augment["size"] == (16, 16)
    assert config.patience is None  # of rounds of minutes


def test_an_edited_plan_is_trained_as_it_says(tmp_path):
    file = tmp_path / "plan.json"
    plan_training(drawn(), minutes=5, given=TINY).save(file)
    text = json.loads(file.read_text())
    text["values"]["learning_rate"] = 0.5
    text["values"]["augment"]["rotate"] = 33
    file.write_text(json.dumps(text))
    config = TrainingPlan.load(file).config(tmp_path / "run", epochs=3, minutes=None)
    assert (config.learning_rate, config.augment["rotate"], config.epochs) == (0.5, 33, 3)
    text["values"]["learning_rat"] = 1
    file.write_text(json.dumps(text))
    with pytest.raises(ValueError, match="learning_rat are not fields"):
        TrainingPlan.load(file).config(tmp_path / "run")


def test_files_that_are_not_plans_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="tfseg plan"):
        TrainingPlan.load(tmp_path / "plan.json")
    for content in ("{}", "[", '{"schema": 7}', "[1]"):
        (tmp_path / "plan.json").write_text(content)
        with pytest.raises(ValueError, match=r"plan\.json' is not a plan of `tfseg plan`"):
            TrainingPlan.load(tmp_path / "plan.json")


def test_changes_replace_values_and_their_reasons():
    found = plan_training(drawn(), minutes=5, given=TINY)
    changed = found.changed({"epochs": 3, "augment.size": (16, 16), "optimizer": "sgd"})
    assert changed.values["augment"]["size"] == (16, 16)
    assert "minutes" not in changed.values
    assert changed.reasons["epochs, augment.size, optimizer"] == "as given"
    assert "learning_rate, schedule" in changed.reasons
    assert found.changed({}) is found
    assert found.values["optimizer"] == "adamw"


def test_images_whose_labels_are_alike_in_all_halves_are_turned():
    def augment(change):
        return plan_training(drawn(change=change), given=TINY).values["augment"]

    upright = augment(lambda image, mask: (image, np.sort(mask, axis=0)))
    assert (upright["rotate"], upright["flip"]) == (10, "horizontal")
    free = augment(lambda image, mask: (image, np.indices((32, 32)).sum(0) % 2))
    assert (free["rotate"], free["flip"]) == (180, "both")


@pytest.mark.parametrize("bits", [12, 16])
def test_images_of_more_than_8_bits_are_planned_in_their_own_range(bits, tmp_path):
    reader = drawn(change=lambda image, mask: (image.astype(np.uint16) << (bits - 8), mask))
    eight_bit, deep = (plan_training(each, given=TINY) for each in (drawn(), reader))
    assert deep.values["augment"] == eight_bit.values["augment"]
    assert deep.facts["brightness"] == eight_bit.facts["brightness"]


def test_blank_images_are_not_dark_ones():
    def blanked(image, mask):
        return image * np.uint8(image.sum() % 2), mask

    reader = drawn(20, change=blanked)
    blank = sum(not reader[index]["image"].any() for index in range(20))
    assert 4 < blank < 20
    assert plan_training(reader, given=TINY).values["normalization"] == "dataset"


def test_less_memory_makes_batches_and_crops_smaller():
    reader = drawn(120, 200, 200)
    given = {"model": "unet", "encoder": None, "filters": (32, 64)}
    much = plan_training(reader, given=given)
    assert much.memory_gb < 8
    limit = (1.2 + much.memory_gb) / 2
    less = plan_training(reader, memory_gb=limit, given=given)
    assert less.memory_gb <= limit
    assert less.values["batch_size"] < much.values["batch_size"]
    assert less.values["val_batch_size"] == 1 < much.values["val_batch_size"]
    uncached = plan_training(reader, given={**given, "cache": None})
    cached_gb = 120 * 200 * 200 * 4 / 1e9
    assert much.memory_gb - uncached.memory_gb == pytest.approx(cached_gb, abs=0.01)
    assert any("fits into" in reason for reason in less.reasons.values())
    fixed = plan_training(reader, memory_gb=limit, given={**given, "batch_size": 9})
    assert (fixed.values["batch_size"], fixed.memory_gb > limit) == (9, True)
    with pytest.raises(ValueError, match=r"memory_gb=0.5 is not enough: a crop of .* takes \d"):
        plan_training(reader, memory_gb=0.5, given=given)
    for name in ("minutes", "memory_gb"):
        with pytest.raises(ValueError, match=name):
            plan_training(reader, **{name: 0})


def test_a_plan_is_a_config_to_train_with(tmp_path):
    reader = drawn(6)
    found = plan_training(reader, given={**TINY, "filters": 4, "epochs": 1})
    config = found.config(tmp_path / "run")
    assert isinstance(config, TrainConfig)
    assert train(config, *reader.split(0.3)).config == config
    assert plan(reader).minutes == 20
