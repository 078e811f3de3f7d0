import json

import keras
import pytest

from tfseg.models import tiny_unet, unet
from tfseg.training import Run, RunRecord, compile_for
from tfseg.training.record import resolved_defaults


def compiled(model, **options):
    compile_for(model, **{"steps": 100, **options})
    return model


def test_json_keeps_a_record(finished):
    record = Run(finished).record
    assert RunRecord.from_json(record.to_json(), "run.json") == record


def test_mask_values_stay_numbers(finished):
    text = Run(finished).record.to_json()
    values = json.loads(text)
    values["data"]["mask_values"] = {"0": 0, "255": 1}
    assert RunRecord.from_json(json.dumps(values), "run.json").data.mask_values == {0: 0, 255: 1}


def test_runs_of_before_the_value_range_was_kept_are_read(finished):
    values = json.loads(Run(finished).record.to_json())
    del values["data"]["value_range"]
    assert RunRecord.from_json(json.dumps(values), "run.json").data.value_range is None


def test_runs_whose_length_was_named_plan_are_read(finished):
    values = json.loads(Run(finished).record.to_json())
    del values["length"]
    values["plan"] = {"epochs": 3, "steps_per_epoch": 2}
    assert RunRecord.from_json(json.dumps(values), "run.json") == Run(finished).record


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_damaged_file_is_an_error(text):
    with pytest.raises(ValueError, match=r"run.json is damaged .* Start a new run"):
        RunRecord.from_json(text, "run.json")


def test_missing_and_unknown_entries_are_an_error(finished):
    complete = json.loads(Run(finished).record.to_json())
    del complete["schema"]
    for part in (None, "data", "length"):
        for changes in ({"unknown": 1}, {}):
            values = json.loads(json.dumps(complete))
            entry = values if part is None else values[part]
            if changes and part is not None:
                entry |= changes
            else:
                entry.pop("window" if part == "data" else next(iter(entry)))
            text = json.dumps({"schema": 1, **values})
            with pytest.raises(ValueError, match=r"run.json is damaged .* Start a new run"):
                RunRecord.from_json(text, "run.json")


def test_the_same_network_resolves_to_the_same_defaults():
    # Keras numbers names within a process: the second loss is "dice_1"
    first, second = (compiled(tiny_unet(2, filters=4)) for _ in range(2))
    assert first.loss.losses[1].name != second.loss.losses[1].name
    assert resolved_defaults(first) == resolved_defaults(second)
    image = keras.Input((None, None, 3))
    unnamed = [keras.Model(image, keras.layers.Conv2D(2, 1)(image)) for _ in range(2)]
    assert unnamed[0].layers[1].name != unnamed[1].layers[1].name
    first, second = (resolved_defaults(compiled(model)) for model in unnamed)
    assert first == second


def test_names_of_operations_do_not_count():
    image = keras.Input((None, None, 3))

    def network(added):
        return keras.Model(image, keras.layers.Conv2D(2, 1)(image) + added)

    models = [network(1.0), network(1.0), network(2.0)]
    assert models[0].operations[-1].name != models[1].operations[-1].name
    # also if the network is a layer of another one
    nested = [keras.Model(image, model(image)) for model in models]
    for group in (models, nested):
        first, second, other = (resolved_defaults(compiled(model)) for model in group)
        assert first == second
        assert first != other


@pytest.mark.parametrize(
    ("other", "options", "changed"),
    [
        (lambda: unet(2, filters=(4, 8), dropout=0.1), {}, "architecture"),
        (lambda: unet(2, filters=(4, 8), normalization=(1, 2)), {}, "architecture"),
        (lambda: unet(2, filters=(4, 8)), {"optimizer": "sgd"}, "optimizer"),
        (lambda: unet(2, filters=(4, 8)), {"steps": 7}, "optimizer"),
        (lambda: unet(2, filters=(4, 8)), {"class_weights": [1, 2]}, "loss"),
    ],
)
def test_what_changes_the_training_changes_the_record(other, options, changed):
    before = resolved_defaults(compiled(unet(2, filters=(4, 8))))
    after = resolved_defaults(compiled(other(), **options))
    assert [name for name in before if before[name] != after[name]] == [changed]


def test_connections_count():
    image = keras.Input((8, 8, 2), name="image")
    first = keras.layers.Conv2D(2, 1, name="a")
    second = keras.layers.Conv2D(2, 1, name="b")
    chain = keras.Model(image, second(first(image)))
    add = keras.layers.Add(name="c")
    fork = keras.Model(image, add([first(image), second(image)]))
    digests = [resolved_defaults(compiled(model))["architecture"] for model in (chain, fork)]
    assert digests[0] != digests[1]
    json.dumps(resolved_defaults(chain))
