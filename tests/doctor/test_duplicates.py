import io

import numpy as np
import pytest
from clean_folder import draw_clean
from PIL import Image

from tfseg.data import image_files, read_image
from tfseg.doctor.duplicates import NEAR, fingerprint, groups, nearest


def bits(first, second):
    return (first ^ second).bit_count()


def resaved(image, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, **options)
    return np.asarray(Image.open(file))


def test_copies_are_near_and_others_are_not():
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
    assert {
        name: bits(hashed, fingerprint(copy)) <= NEAR for name, copy in copies.items()
    } == dict.fromkeys(copies, True)
    assert bits(hashed, fingerprint(other)) > 2 * NEAR
    assert bits(hashed, fingerprint(image[:, ::-1])) > 2 * NEAR


def test_a_hash_has_64_bits_half_of_them_set():
    hashed = fingerprint(draw_clean(3)[0])
    assert (
        31 <= hashed.bit_count() <= 33
    )  # above the median of 63 frequencies, and perhaps the mean
    assert hashed < 2**64


def test_flat_images_have_no_hash():
    noise = np.random.default_rng(0).integers(0, 2, (40, 40, 1)).astype(np.uint8)
    assert fingerprint(np.full((9, 9, 3), 7, np.uint8)) is None
    assert fingerprint(100 + noise) is None
    assert fingerprint(np.zeros((40, 40, 1), np.float32)) is None


def test_the_nearest_of_others():
    # distances 0b1011 -> 0b0011: 1, 0b1111: 1 (the first wins); 0b0000 -> 0b0011: 2
    indices, distances = nearest([0b1011, 0b0000], [0b111000, 0b0011, 0b1111])
    assert indices.tolist() == [1, 1]
    assert distances.tolist() == [1, 2]
    assert [part.tolist() for part in nearest([5], [])] == [[-1], [65]]
    assert [part.tolist() for part in nearest([], [5])] == [[], []]


def test_the_nearest_before():
    # 0b111 has none before it; 0b100 -> 0b111: 2; 0b101 -> 0b111 and 0b100: 1, the first wins; 0b100 -> itself: 0
    indices, distances = nearest([0b111, 0b100, 0b101, 0b100])
    assert indices.tolist() == [-1, 0, 0, 1]
    assert distances.tolist() == [65, 2, 1, 0]


def test_blocks_change_nothing(monkeypatch):
    hashes = np.random.default_rng(0).integers(0, 2**63, 50).astype(np.uint64)
    whole = nearest(hashes), nearest(hashes[:20], hashes[20:])
    monkeypatch.setattr("tfseg.doctor.duplicates.ROWS", 7)
    for before, after in zip(
        whole, (nearest(hashes), nearest(hashes[:20], hashes[20:])), strict=True
    ):
        assert np.array_equal(before, after)
    slow = [
        min((bits(int(h), int(o)), j) for j, o in enumerate(hashes[:i]))
        for i, h in enumerate(hashes)
        if i
    ]
    assert [(d, j) for j, d in zip(*whole[0], strict=True)][1:] == slow


def test_groups_are_linked_through_others():
    assert groups([(4, 1), (2, 0), (6, 4), (5, 2)]) == [[0, 2, 5], [1, 4, 6]]
    assert groups([]) == []


@pytest.mark.parametrize(
    ("images", "alike"), [("coco64/images/train2017", 0), ("bccd/JPEGImages", 1)]
)
def test_different_photographs_are_not_near(shared_data, pictures, alike):
    # BCCD holds one pair of the same view, which the eye confirms (BloodImage_00037 and _00038)
    hashes = [fingerprint(read_image(path)) for path in image_files(shared_data / pictures)]
    _, distances = nearest(hashes)
    assert (distances <= NEAR).sum() == alike
    assert (distances <= 13).sum() == alike  # twice as far there is still nothing
