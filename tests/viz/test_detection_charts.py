import numpy as np
import pytest

from tfseg import viz


def curves(ap):
    """Return curves that are constant at the AP."""
    ap = np.array(ap, float)
    return {"recall": [0, 0.5, 1], "precision": np.repeat(ap[:, None], 3, 1), "ap": ap}


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_precision_recall_has_a_curve_per_class_and_the_mean():
    figure = viz.precision_recall(curves([0.25, np.nan, 0.5]), ["cat", "dog", "bird"])
    assert legend_texts(figure) == ["all classes 0.375", "bird 0.500", "cat 0.250"]
    bird, cat, mean = figure.axes[0].lines
    assert bird.get_xydata().tolist() == [[0, 0.5], [0.5, 0.5], [1, 0.5]]
    assert cat.get_ydata().tolist() == [0.25] * 3
    assert mean.get_ydata().tolist() == [0.375] * 3
    assert bird.get_color() == pytest.approx(viz.palette(3)[2] / 255)


def test_of_many_classes_the_best_and_the_worst_are_in_color():
    figure = viz.precision_recall(curves(np.arange(20) / 20), [f"c{i}" for i in range(20)])
    names = [text.split()[0] for text in legend_texts(figure)[1:]]
    assert names == ["c19", "c18", "c17", "c16", "c15", "c4", "c3", "c2", "c1", "c0"]
    lines = figure.axes[0].lines
    assert len(lines) == 21
    assert [line.get_color() for line in lines[5:15]] == ["lightgray"] * 10


def test_eleven_classes_are_ten_in_color():
    figure = viz.precision_recall(curves(np.arange(11) / 20), [f"c{i}" for i in range(11)])
    assert len(legend_texts(figure)) == 11


def test_classes_without_objects_have_no_curve():
    figure = viz.precision_recall(curves([np.nan, np.nan]), ["cat", "dog"])
    assert not figure.axes[0].lines
    assert not figure.legends


def test_the_confusion_of_detections_shows_fractions_and_counts():
    matrix = [[3, 0, 1], [0, 0, 0], [1, 1, 0]]
    axis = viz.detection_confusion(matrix, ["cat", "dog"]).axes[0]
    assert [text.get_text() for text in axis.texts] == ["75%\n3", "25%\n1", "50%\n1", "50%\n1"]
    assert [text.get_position() for text in axis.texts] == [(0, 0), (2, 0), (0, 2), (1, 2)]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["cat", "dog", "background"]
    assert np.asarray(axis.images[0].get_array())[2].tolist() == [0.5, 0.5, 0]


def test_names_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="^precision_recall: got curves of 2 classes and 1 names"):
        viz.precision_recall(curves([1, 1]), ["cat"])
    with pytest.raises(ValueError, match=r"shape \(2, 2\) for 2 names, expected \(3, 3\)"):
        viz.detection_confusion([[1, 0], [0, 1]], ["cat", "dog"])
