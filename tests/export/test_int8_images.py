import sys

import numpy as np
import pytest
from export.informative_models import one_conv

from tfseg.export import litert, saved_model
from tfseg.export.int8_images import split_samples, spread

# one convolution loses more in int8 than a network
pytestmark = pytest.mark.filterwarnings("ignore:litert. quantize:UserWarning")
MODULE = sys.modules["tfseg.export.litert"]  # the function of that name hides it


@pytest.mark.parametrize(
    ("count", "calibration", "compared"),
    [(1, 1, 1), (2, 1, 1), (4, 3, 1), (10, 8, 2), (50, 40, 10), (110, 100, 10), (997, 100, 10)],
)
def test_samples_are_split_into_disjoint_parts(count, calibration, compared):
    first, second = split_samples(range(count))
    assert (len(first), len(second)) == (calibration, compared)
    assert count == 1 or not set(first) & set(second)
    if count > 10:  # both reach from the first to the last tenth
        for part in (first, second):
            assert min(part) <= count / 10
            assert max(part) >= 0.9 * count - 1


def test_an_iterable_without_a_length_is_split_too():
    assert split_samples(iter(range(6))) == split_samples(range(6))
    assert split_samples(iter(())) == ([], [])


def test_only_the_chosen_samples_are_read():
    class Samples:
        read = 0

        def __len__(self):
            return 1000

        def __getitem__(self, index):
            self.read += 1
            return index

    samples = Samples()
    split_samples(samples)
    assert samples.read == 110


def test_spread_indices():
    assert spread(0, 5) == []
    assert spread(3, 5) == [0, 1, 2]
    assert spread(101, 5) == [0, 25, 50, 75, 100]


@pytest.fixture
def seen(monkeypatch):
    """First pixel of the images that calibrate, and of those that are compared, in two lists."""
    calibration, compared = [], []
    convert, compare = MODULE._convert, MODULE._compare

    def record_convert(model, quantize, images):
        calibration.extend(int(image[0, 0, 0]) for image in images)
        return convert(model, quantize, images)

    def record_compare(model, folded, path, quantize, images):
        compared.extend(int(image[0, 0, 0]) for image in images)
        return compare(model, folded, path, quantize, images)

    monkeypatch.setattr(MODULE, "_convert", record_convert)
    monkeypatch.setattr(MODULE, "_compare", record_compare)
    return calibration, compared


def labeled_images(count):
    images = list(np.random.default_rng(0).integers(0, 256, (count, 9, 12, 3), np.uint8))
    for index, image in enumerate(images):
        image[0, 0, 0] = index
    return images


def test_an_int8_file_is_compared_on_images_that_did_not_calibrate_it(seen, tmp_path):
    litert(one_conv(), tmp_path / "m.tflite", "int8", labeled_images(20))
    calibration, compared = seen
    assert (len(calibration), len(compared)) == (16, 4)
    assert not set(calibration) & set(compared)


def test_all_formats_of_a_saved_model_are_compared_on_these_images(seen, tmp_path, monkeypatch):
    formats = sys.modules["tfseg.export.formats"]
    images = []
    parity = formats.parity

    def record(runners, compared, sizes):
        images.extend(int(image[0, 0, 0]) for image in compared)
        return parity(runners, compared, sizes)

    monkeypatch.setattr(formats, "parity", record)
    monkeypatch.setattr(formats, "require_parity", lambda *_: None)
    saved_model(one_conv(), tmp_path, formats=("litert_int8",), images=labeled_images(12))
    assert images == seen[1]
    assert not set(images) & set(seen[0])
