from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfseg.data.readers.formats.tfds import Tfds
from tfseg.data.readers.objects import BOX_FIELDS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from tfds
BOXES = [[0.1, 0.25, 0.5, 0.75], [0.5, 0.0, 1.0, 0.5]]  # y_min, x_min, y_max, x_max
EMPTY = [0.25, 0.5, 0.25, 0.75]
LABELS = ["dog", "cat", "cat", "dog"]


def example(index):
    rng = np.random.default_rng(index)
    size = (10 + index, 8)
    return {
        "image": rng.integers(0, 256, (*size, 3), np.uint8),
        "deep": rng.integers(0, 2**16, (*size, 1)).astype(np.uint16),
        "segmentation_mask": rng.integers(1, 4, (*size, 1), np.uint8),
        "labeled": rng.integers(0, 2, (*size, 1), np.uint8),
        "objects": [
            {"bbox": tfds.features.BBox(*box), "label": label, "is_crowd": crowd}
            for box, label, crowd in zip(
                [*BOXES, BOXES[0], EMPTY], LABELS, [False, False, True, False], strict=True
            )
        ][: 4 * (index % 2)],
        "text": f"sample {index}",
    }


class Tiny(tfds.core.GeneratorBasedBuilder):
    pkg_dir_path = Path(__file__).parent  # another package may be called `tests`, too
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        objects = {
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            "is_crowd": tfds.features.Scalar(np.bool_),
        }
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "deep": tfds.features.Image(shape=(None, None, 1), dtype=np.uint16),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
            "labeled": tfds.features.LabeledImage(labels=["ground", "roof"], shape=(None, None, 1)),
            "objects": tfds.features.Sequence(objects),
            "text": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, _):
        return {
            "train": ((i, example(i)) for i in range(5)),
            "empty": ((i, example(2 * i)) for i in range(2)),
        }

    def _generate_examples(self):
        raise NotImplementedError


@pytest.fixture(scope="module", params=["array_record", "tfrecord"])
def builder(request, tmp_path_factory):
    tiny = Tiny(data_dir=tmp_path_factory.mktemp(request.param), file_format=request.param)
    tiny.download_and_prepare()
    return tiny


PETS = {"class_names": ["pet", "ground", "border"], "mask_values": {1: 0, 2: 1, 3: 2}}


def index_of(sample):
    return int(sample["image"].shape[0]) - 10  # tfds shuffles when it prepares a dataset


def test_images_and_masks_are_restored(builder):
    reader = Tfds(builder, "train", **PETS)
    assert (len(reader), reader.fields, reader.channels, reader.dtype) == (
        5,
        ("image", "mask"),
        3,
        np.uint8,
    )
    assert reader.name(3) == "train/00003"
    with ThreadPoolExecutor(4) as pool:
        samples = list(pool.map(reader.__getitem__, range(5)))
    assert sorted(index_of(sample) for sample in samples) == [0, 1, 2, 3, 4]
    for sample, size in zip(samples, reader.sizes.tolist(), strict=True):
        expected = example(index_of(sample))
        assert np.array_equal(sample["image"], expected["image"])
        assert np.array_equal(sample["mask"], expected["segmentation_mask"][..., 0] - 1)
        assert (list(sample["mask"].shape), sample["mask"].dtype) == (size, np.uint8)


def test_sixteen_bit_images_are_kept(builder):
    reader = Tfds(builder, "train", image="deep", **PETS)
    assert (reader.channels, reader.dtype) == (1, np.uint16)
    assert np.array_equal(reader[2]["image"], example(index_of(reader[2]))["deep"])


def test_the_mask_feature_names_the_classes(builder):
    reader = Tfds(builder, "train", mask="labeled")
    assert reader.class_names == ["ground", "roof"]
    assert np.array_equal(reader[1]["mask"], example(index_of(reader[1]))["labeled"][..., 0])
    with pytest.raises(ValueError, match="does not name its classes. Pass `class_names`"):
        Tfds(builder, "train")


def test_objects_are_boxes_in_pixels(builder):
    reader = Tfds(builder, "train", mask=None, objects="objects")
    assert (reader.fields, reader.class_names) == (("image", *BOX_FIELDS), ["cat", "dog"])
    odd = [i for i in range(5) if index_of(reader[i]) % 2]
    empty = [name for name, reason in reader.dropped if "has no area in the image" in reason]
    assert empty == [reader.name(i) for i in odd]
    crowds = [name for name, reason in reader.dropped if "it is a crowd" in reason]
    assert len(crowds) + len(empty) == len(reader.dropped)
    assert crowds
    for i in range(5):
        sample = reader[i]
        index = index_of(sample)
        height = 10 + index
        first = [2, 0.1 * height, 6, 0.5 * height]
        expected = [first, [0, 0.5 * height, 4, height], first] if index % 2 else []
        np.testing.assert_allclose(sample["boxes"], np.reshape(expected, (-1, 4)), atol=1e-5)
        assert sample["classes"].tolist() == ([1, 0, 0] if index % 2 else [])
        assert sample["crowd"].tolist() == ([False, False, True] if index % 2 else [])
        assert (sample["boxes"].dtype, sample["classes"].dtype) == (np.float32, np.int32)


def test_a_single_class_of_boxes_has_id_1(builder):
    with pytest.raises(ValueError, match="an object with the label 1, which has no name"):
        Tfds(builder, "train", mask=None, objects="objects", class_names=["cat"])
    empty = Tfds(builder, "empty", mask=None, objects="objects", class_names=["cat"])
    assert empty[0]["boxes"].shape == (0, 4)


def test_masks_and_objects_together(builder):
    reader = Tfds(builder, "train[:60%]", objects="objects", **PETS)
    assert (len(reader), reader.name(2)) == (3, "train[:60%]/00002")
    assert list(reader[0]) == ["image", "mask", *BOX_FIELDS]


def test_values_that_map_to_no_class_are_named(builder):
    with pytest.raises(ValueError, match=r"the mask of train/00001 contains values .*: 3 "):
        Tfds(builder, "train", class_names=["a", "b", "c"])[1]


def test_unknown_features_and_unprepared_datasets_are_named(builder, tmp_path):
    with pytest.raises(
        ValueError, match="Tfds: tiny: mask='segmentation' is unknown.*'segmentation_mask'"
    ):
        Tfds(builder, "train", mask="segmentation")
    with pytest.raises(
        FileNotFoundError,
        match=r"tiny is not at .*download_and_prepare\(file_format='array_record'\)",
    ):
        Tfds(Tiny(data_dir=tmp_path), "train", **PETS)


def test_a_damaged_image_is_named(builder):
    reader = Tfds(builder, "train", **PETS)
    samples = [dict(reader._samples[i]) for i in range(5)]
    samples[2]["image"] = samples[2]["image"][:40]
    reader._samples = samples
    with pytest.raises(OSError, match="The image of train/00002 is damaged"):
        reader[2]
    samples[3]["segmentation_mask"] = samples[2]["segmentation_mask"]
    with pytest.raises(
        ValueError,
        match=r"The mask of train/00003 has size \(\d+, 8\), but the image .*\(\d+, 8\)",
    ):
        reader[3]
