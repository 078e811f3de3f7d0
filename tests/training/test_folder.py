import numpy as np
import pytest
from numpy.testing import assert_allclose

from tfseg.data import Arrays, Folder
from tfseg.doctor import check
from tfseg.losses import CrossEntropy
from tfseg.training import Run, network_for, remember, train_folder

PLAIN = {"model": "unet", "encoder": None, "weights": "imagenet", "filters": [4, 8]}
MEASURED = {"normalization": ([10.0, 20.0, 30.0], [1.0, 2.0, 4.0])}


def first_scale(settings, dtype="uint8"):
    """The factors by which the network for a three-channel image of that dtype multiplies its channels."""
    reader = Arrays(
        np.zeros((2, 32, 32, 3), dtype), np.zeros((2, 32, 32), int), ["ground", "disc", "band"]
    )
    model = network_for(reader, PLAIN | MEASURED | settings)
    assert model.output_shape == (None, None, None, 3)
    return np.ravel(model.get_layer("normalize").scale)


def test_plain_network_is_normalized_as_the_images_are():
    assert_allclose(first_scale({}), [1, 1 / 2, 1 / 4])


@pytest.mark.parametrize(
    "settings", [{"encoder": "efficientnet_lite0", "filters": None}, {"model": "lraspp"}]
)
def test_encoder_sees_what_it_was_trained_on(settings):
    settings = {"weights": "none", "filters": None} | settings
    assert_allclose(first_scale(settings), [1 / 128] * 3)
    assert_allclose(first_scale(settings, "uint16"), [1, 1 / 2, 1 / 4])


def test_each_image_by_its_own_values():
    reader = Arrays(
        np.zeros((2, 32, 32, 3), "uint8"), np.zeros((2, 32, 32), int), ["ground", "disc", "band"]
    )
    model = network_for(reader, PLAIN | MEASURED | {"normalize_each": True})
    pixels = np.random.default_rng(0).uniform(0, 50, (1, 32, 32, 3)).astype("float32")
    assert_allclose(model(pixels), model(3 * pixels + 20), atol=1e-4)


@pytest.mark.parametrize(("asked", "weights"), [("median", [1 / 2, 1, 5]), ("none", None)])
def test_rare_classes_weigh_more_if_asked_for(asked, weights, tmp_path):
    # every class is in both images; 16 rows of the first, 8 of the second, 1.6 of the third
    mask = np.repeat([0] * 160 + [1] * 80 + [2] * 16, 4).reshape(32, 32)
    reader = Arrays(
        np.zeros((2, 32, 32, 3), "uint8"), np.stack([mask] * 2), ["ground", "disc", "band"]
    )
    options = {
        "size": 32,
        "batch_size": 2,
        "epochs": 1,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "seed": 0,
    }
    settings = remember(PLAIN | options | {"class_weights": asked}, reader, reader, check(reader))
    run = train_folder(reader, reader, settings, tmp_path / "run")
    cross_entropy = next(loss for loss in run.model().loss.losses if isinstance(loss, CrossEntropy))
    assert cross_entropy.class_weights == weights


def test_unknown_network_and_options_it_has_not():
    with pytest.raises(ValueError, match="'lrasp'.*lraspp"):
        first_scale({"model": "lrasp"})
    with pytest.raises(ValueError, match="lraspp.*filters"):
        first_scale({"model": "lraspp", "weights": "none"})


def test_a_file_damaged_after_the_check_is_named_and_the_run_goes_on_once_it_is_whole(
    folder, tmp_path
):
    reader = Folder(folder / "images", folder / "masks", ["ground", "disc", "band"])
    settings = {
        "size": 32,
        "batch_size": 2,
        "epochs": 1,
        **PLAIN,
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
