import io

import numpy as np
import pytest
from clean_folder import draw_clean
from PIL import Image

from tfseg.data import image_files, read_image
from tfseg.doctor.duplicates import NEAR, fingerprint, groups, nearest


def distance(first, second):
    return (first ^ second).bit_count()


def resaved(image, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, **options)
    return np.asarray(Image.open(file))


def test_copies_are_near_and_other_images_are_not():
    image, other = draw_clean(0)[0], draw_clean(1)[0]
    hashed = fingerprint(image)
    copies = {
        "jpeg": resaved(image, format="JPEG", quality=30),
        "half": np.asarray(Image.fromarray(image).resize((40, 32))),
        "brighter": np.clip(image * 1.1 + 5, 0, 255).astype(np.uint8),
        "gray": np.asarray(Image.fromarray(image).convert("L"))[..., None],
        "16 bit": image.astype(np.uint16) * 257,
        "float": image / 255,
    }
    is_near = {name: distance(hashed, fingerprint(copy)) <= NEAR for name, copy in copies.items()}
    assert is_near == dict.fromkeys(copies, True)
    assert distance(hashed, fingerprint(other)) > 2 * NEAR
    assert distance(hashed, fingerprint(image[:, ::-1])) > 2 * NEAR


def test_half_of_the_64_bits_are_set():
    hashed = fingerprint(draw_clean(3)[0])
    # half of 63 frequencies are above their median; the mean of the image may be, too
    assert 31 <= hashed.bit_count() <= 33
    assert hashed < 2**64


def test_flat_images_have_no_hash():
    noise = np.random.default_rng(0).integers(0, 2, (40, 40, 1)).astype(np.uint8)
    assert fingerprint(np.full((9, 9, 3), 7, np.uint8)) is None
    assert fingerprint(100 + noise) is None
    assert fingerprint(np.zeros((40, 40, 1), np.float32)) is None


def test_nearest_among_others():
    # distances of 0b1011: 1 to 0b0011 and 0b1111 (the first is taken); of 0b0000: 2 to 0b0011
    indices, distances = nearest([0b1011, 0b0000], [0b111000, 0b0011, 0b1111])
    assert indices.tolist() == [1, 1]
    assert distances.tolist() == [1, 2]
    assert [part.tolist() for part in nearest([5], [])] == [[-1], [65]]
    assert [part.tolist() for part in nearest([], [5])] == [[], []]


def test_nearest_among_preceding():
    # 0b111 is the first; 0b100 differs from it in 2 bits; 0b101 in 1 from both (the first is
    # taken); the second 0b100 equals the first
    indices, distances = nearest([0b111, 0b100, 0b101, 0b100])
    assert indices.tolist() == [-1, 0, 0, 1]
    assert distances.tolist() == [65, 2, 1, 0]


def test_blocks_give_the_same_result(monkeypatch):
    hashes = np.random.default_rng(0).integers(0, 2**63, 50).astype(np.uint64)
    preceding, others = nearest(hashes), nearest(hashes[:20], hashes[20:])
    monkeypatch.setattr("tfseg.doctor.duplicates.BLOCK", 7)
    assert np.array_equal(preceding, nearest(hashes))
    assert np.array_equal(others, nearest(hashes[:20], hashes[20:]))
    for i in range(1, 50):
        expected = min((distance(int(hashes[i]), int(hashes[j])), j) for j in range(i))
        assert (preceding[1][i], preceding[0][i]) == expected


def test_groups_are_linked_through_other_members():
    assert groups([(4, 1), (2, 0), (6, 4), (5, 2)]) == [[0, 2, 5], [1, 4, 6]]
    assert groups([]) == []


@pytest.mark.parametrize(
    ("folder", "count"), [("coco64/images/train2017", 0), ("bccd/JPEGImages", 1)]
)
def test_different_photographs_are_not_near(shared_data, folder, count):
    # BCCD has one pair of photographs of the same view (BloodImage_00037 and _00038)
    hashes = [fingerprint(read_image(path)) for path in image_files(shared_data / folder)]
    _, distances = nearest(hashes)
    assert (distances <= NEAR).sum() == count
    assert (distances <= 13).sum() == count  # no pairs at up to twice the distance
