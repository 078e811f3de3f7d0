import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image

from conftest import draw_sample
from tfseg import viz
from tfseg.files import is_own_result
from tfseg.viz.figures import add_legend, finish_figure, legend_columns
from tfseg.viz.fonts import readable_names

NAMES = ["ground", "disc", "band"]


def test_every_figure_can_be_rendered_and_leaves_pyplot():
    image, mask = draw_sample(0)
    figures = [
        viz.overlay(image, mask, NAMES),
        viz.samples([image], [mask], [np.roll(mask, 5, 1)], NAMES),
        viz.labeled([{"image": image, "mask": mask}], NAMES),
        viz.curves({"loss": [2, 1], "val_loss": [2.5, 2], "mean_iou": [0.1, 0.4]}),
        viz.confusion_matrix([[5, 1, 0], [0, 3, 2], [0, 0, 0]], NAMES),
        viz.reliability({"confidence": [0.3, 0.9], "accuracy": [0.4, 0.8], "count": [1, 3]}),
        viz.legend(NAMES),
        viz.trade_off(["a", "b"], [1, 2], [0.5, 0.6], [1, 2]),
    ]
    for figure in figures:
        assert isinstance(figure, Figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=20)
        buffer.seek(0)
        assert plt.imread(buffer)[..., :3].std() > 0.01
    assert plt.get_fignums() == []


def test_finish_figure_returns_the_figure_and_removes_it_from_pyplot():
    figure = plt.figure()
    assert finish_figure(figure) is figure
    assert not plt.fignum_exists(figure.number)


def test_a_legend_lists_the_classes_of_all_label_maps():
    figure = Figure()
    add_legend(figure, [np.array([[2, 2]]), np.array([[0, 255]])], ["a", "b", "c"])
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["a", "c", "ignored"]
    colors = [patch.get_facecolor()[:3] for patch in legend.get_patches()]
    expected = [*(viz.palette(3)[[0, 2]] / 255), (1, 1, 1)]
    assert np.allclose(colors, expected)


@pytest.mark.parametrize(
    ("width", "names", "columns"),
    [(6, ["a" * 5], 4), (6, ["a" * 5, "a" * 45], 1), (1, ["a" * 50], 1), (6, [], 8)],
)
def test_legend_columns_depend_on_the_longest_name(width, names, columns):
    # an entry takes 0.75 inches and 0.1 inches per letter: 6 / 1.25 = 4.8
    assert legend_columns(width, names) == columns


@pytest.mark.parametrize(("count", "rows"), [(4, 1), (5, 2), (9, 3)])
def test_the_height_of_a_legend_fits_its_rows(count, rows):
    # four names of five letters fit into 6 inches
    figure = viz.legend([f"name{i}" for i in range(count)])
    assert tuple(figure.get_size_inches()) == (6, 0.3 + 0.25 * rows)
    assert len(figure.legends[0].get_texts()) == count


@pytest.mark.parametrize(
    "draw",
    [
        viz.legend,
        lambda names: viz.overlay(np.zeros((9, 16)), np.arange(144).reshape(9, 16) % 20, names),
    ],
)
def test_a_legend_of_many_long_names_stays_inside_the_figure(draw):
    figure = draw([f"a rather long class name {i}" for i in range(20)])
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1


def test_a_legend_of_a_hundred_classes_leaves_the_image_visible():
    labels = np.arange(120).reshape(8, 15)
    names = [f"class number {i}" for i in range(120)]
    figure = viz.overlay(np.zeros((8, 15, 3), np.uint8), labels, names)
    figure.draw_without_rendering()
    axes, legend = figure.axes[0].get_window_extent(), figure.legends[0].get_window_extent()
    assert not axes.overlaps(legend)
    assert axes.height > 200  # pixels, of the 600 of a figure with a small legend


def test_names_without_a_font_become_ids(monkeypatch):
    monkeypatch.setattr(font_manager.fontManager, "ttflist", font_manager.fontManager.ttflist[:1])
    names, _ = readable_names(["leaf", "\U000f0000", "Blatt mit Öhrchen"])  # a private character
    assert names == ["leaf", "class 1", "Blatt mit Öhrchen"]
    figure = viz.legend(["background", "\U000f0000"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["class 1"]
    axis = viz.confusion_matrix([[1, 0], [0, 1]], ["leaf", "\U000f0000"]).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["leaf", "class 1"]


def test_characters_are_taken_from_an_installed_font(recwarn):
    # matplotlib installs fonts of symbols that its default font, DejaVu Sans, does not have
    default = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    symbols = font_manager.get_font(font_manager.findfont("STIXNonUnicode")).get_charmap()
    name = f"leaf {chr(min(set(symbols) - set(default)))}"
    assert readable_names(["stem", name])[0] == ["stem", name]
    sample = {"image": np.zeros((4, 4, 3), np.uint8)}
    for figure in (
        viz.legend([name]),
        viz.confusion_matrix([[1, 0], [0, 1]], ["stem", name]),
        viz.labeled([sample], ["stem"], titles=[name]),
        viz.trade_off([name], [1], [0.5], [1]),
    ):
        figure.savefig(io.BytesIO(), format="png", dpi=20)
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_characters_of_an_italic_font_alone_are_not_drawn(recwarn):
    upright = font_manager.get_font(font_manager.findfont("STIXNonUnicode")).get_charmap()
    italic = font_manager.get_font(font_manager.findfont("STIXNonUnicode:italic")).get_charmap()
    for symbol in sorted(set(italic) - set(upright))[:3]:
        viz.legend([f"leaf {chr(symbol)}"]).savefig(io.BytesIO(), format="png", dpi=20)
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_saved_figures_are_results_of_tfseg(tmp_path):
    viz.save_figure(viz.legend(NAMES), tmp_path / "new" / "legend.png", dpi=50)
    assert is_own_result(tmp_path / "new" / "legend.png")
    assert Image.open(tmp_path / "new" / "legend.png").width == 300  # 6 inches
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["legend.png"]
