import json
from types import SimpleNamespace

import pytest

from tfseg.cli.export_metadata import network_of, scores_of_run, show_metadata
from tfseg.training import TrainConfig

OLD = {"class_names": ["sky", "car"], "palette": [[86, 180, 233], [230, 159, 0]], "model": "unet_1"}
LABELS = {"images": "photos", "labels": "boxes.json"}


@pytest.fixture(autouse=True)
def _terminal_is_wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def printed_lines(capsys, metadata):
    show_metadata(metadata)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model": "tiny_unet"}, {"model": "tiny_unet"}),
        ({"model": "unet", "encoder": "resnet50"}, {"model": "unet", "encoder": "resnet50"}),
        (
            {"model": "segformer", "weights": None},
            {"model": "segformer", "encoder": "mit_b0"},
        ),
        ({"model": "tiny_unet", "folds": 5}, {"model": "tiny_unet", "folds": 5}),
        ({"model": "tiny_unet", "folds": 5, "fold": 1}, {"model": "tiny_unet"}),
        ({"model": None}, {"model": "my_network"}),
        (
            {"task": "detect", "head": "faster_rcnn", **LABELS},
            {"model": "faster_rcnn", "encoder": "efficientnet_lite0"},
        ),
        (
            {"task": "instances", "head": "star", **LABELS},
            {"model": "unet", "encoder": "efficientnet_lite0", "head": "star"},
        ),
    ],
)
def test_the_network_of_a_run(options, expected):
    run = SimpleNamespace(config=TrainConfig(out="run", **options))
    assert network_of(run, SimpleNamespace(name="my_network")) == expected


def test_the_scores_of_a_run(tmp_path):
    run = SimpleNamespace(folder=tmp_path)
    assert scores_of_run(run) == {"metrics": None, "class_scores": None}
    classes = [{"class": "sky", "iou": 0.5}]
    report = {"mean_iou": 0.5, "classes": classes, "confusion_matrix": [[1]]}
    (tmp_path / "evaluation.json").write_text(json.dumps(report))
    assert scores_of_run(run) == {"metrics": {"mean_iou": 0.5}, "class_scores": classes}


def test_network_images_and_scores_are_shown_first(capsys):
    metadata = {
        **OLD,
        "network": {"model": "fpn", "encoder": "resnet50"},
        "image_shape": [None, None, 3],
        "value_range": [0, 4095],
        "normalization": {"mean": [100.5, 90, 80], "std": [50, 45, 40]},
        "class_scores": [
            {"class": "sky", "dice": 0.75, "iou": 0.6, "pixels": 90},
            {"class": "car", "dice": None, "iou": float("nan"), "pixels": 0},
        ],
        "metrics": {"mean_iou": 0.6},
    }
    # Lines may be wrapped at the width of the terminal.
    printed = " ".join(printed_lines(capsys, metadata)).split()
    assert (
        printed
        == " ".join(
            [
                "network: fpn, encoder resnet50",
                "images: any size, 3 channels, values 0 to 4095",
                "normalization: inside the model, (value - mean) / std with mean 100.5, 90, 80 "
                "and std 50, 45, 40",
                "id class dice iou pixels",
                "0 sky 0.7500 0.6000 90",
                "1 car - - 0",
                "model: unet_1",
                "metrics:",
                "mean_iou: 0.6",
            ]
        ).split()
    )


def test_older_exports_without_network_and_scores_are_shown(capsys):
    assert printed_lines(capsys, OLD) == ["id class", "0 sky", "1 car", "model: unet_1"]
    fixed = {**OLD, "image_shape": [32, 48, 1], "value_range": None, "normalization": "image"}
    assert printed_lines(capsys, fixed)[:2] == [
        "images: 32 x 48 pixels, 1 channel",
        "normalization: inside the model, by the mean and std of each image",
    ]


def test_detectors_show_the_scores_of_their_object_categories(capsys):
    classes = [{"class": "cell", "ap": 0.5, "ap50": 0.7, "objects": 9}]
    metadata = {"object_names": ["cell"], "palette": [[230, 159, 0]], "class_scores": classes}
    lines = printed_lines(capsys, {**metadata, "head": "faster_rcnn"})
    assert lines == ["id class ap ap50 objects", "0 cell 0.5000 0.7000 9", "head: faster_rcnn"]
