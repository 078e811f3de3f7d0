"""Evaluate a model and write the scores as tables and figures."""

from collections.abc import Callable
from pathlib import Path

from tfseg import viz
from tfseg.data.readers.image_listing import printable
from tfseg.files import check_overwrites
from tfseg.inference.evaluation import Evaluation, evaluate, format_score
from tfseg.inference.predictor import predict

NUM_WORST = 2  # shown in samples.png, after the best and the median image
DPI = 120
FIGURES = ("confusion.png", "samples.png", "curves.png")
RUN_FILES = ("run.json", "folds.json")  # in the folder of a run, or of a training in folds


def report(
    model,
    reader,
    folder: str | Path,
    history: dict | None = None,
    batch_size: int = 8,
    track: Callable = lambda batches, total: batches,
    window: int | tuple[int, int] | None = None,
    monitor: str | None = None,
) -> Evaluation:
    """Evaluate a model and write tables and figures.

    The files are evaluation.json, evaluation.csv, image_scores.csv (scores of every image),
    confusion.png, samples.png (image, ground truth, prediction and errors of the images with the
    highest, the median and the two lowest mean IoUs) and, with a history, curves.png.

    Args:
        model: a model of `tfseg.models`.
        reader: a `tfseg.data.Reader` with masks.
        folder: output folder; created if missing.
        history: {name: one value per epoch}, or None.
        batch_size, track, window: see `evaluate`.
        monitor: name of the values in `history` that select the best epoch, which curves.png
            marks; None for no mark.

    Returns:
        Evaluation.

    Raises:
        FileExistsError: the folder has figures of these names that tfseg did not write.
        ValueError: see `evaluate`.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf"])
        >>> model = tfseg.models.unet(2, filters=(4, 8))
        >>> scores = tfseg.inference.report(model, reader.subset([0]), "scores")
        >>> from pathlib import Path
        >>> sorted(file.name for file in Path("scores").iterdir())
        ['confusion.png', 'evaluation.csv', 'evaluation.json', 'image_scores.csv', 'samples.png']
    """
    check_report_files(folder)
    evaluation = evaluate(model, reader, batch_size, track, window=window)

    def predicted(index):
        return predict(model, reader[index]["image"], window=window)

    write_report(evaluation, reader, folder, predicted)
    if history:
        viz.save_figure(viz.curves(history, monitor), Path(folder) / "curves.png", DPI)
    return evaluation


def check_report_files(folder: str | Path) -> None:
    """Refuse a folder with figures that tfseg did not write.

    The folder of a run contains only what tfseg wrote.
    """
    folder = Path(folder)
    if not any((folder / name).is_file() for name in RUN_FILES):
        check_overwrites([folder / name for name in FIGURES])


def write_report(evaluation: Evaluation, reader, folder: str | Path, predicted: Callable) -> None:
    """Write the tables and figures of an evaluation, without the curves of a training.

    Args:
        evaluation: the `Evaluation` of the reader's images.
        reader: a `tfseg.data.Reader` with masks.
        folder: output folder; created if missing.
        predicted: function of the position of an image -> (H, W) class ids.
    """
    folder = Path(folder)
    evaluation.save(folder)
    figure = viz.confusion_matrix(evaluation.matrix, evaluation.class_names)
    viz.save_figure(figure, folder / "confusion.png", DPI)
    figure = _draw_samples(reader, evaluation, predicted)
    viz.save_figure(figure, folder / "samples.png", DPI)


def _draw_samples(reader, evaluation, predicted):
    kinds = _images_to_show(evaluation.images.ranking())
    samples = [reader[index] for index in kinds]
    images = [sample["image"] for sample in samples]
    masks = [sample["mask"] for sample in samples]
    predictions = [predicted(index) for index in kinds]
    scores, names = evaluation.images.mean_iou, evaluation.images.names
    titles = [
        f"{printable(names[index])}\n{kind}: mean IoU {format_score(scores[index])}"
        for index, kind in kinds.items()
    ]
    return viz.samples(images, masks, predictions, evaluation.class_names, titles)


def _images_to_show(ranking):
    """Return {position: "best", "median" or "worst"}, each image once.

    Args:
        ranking: positions of the images from the best to the worst.
    """
    if not len(ranking):  # no image has a labeled pixel
        return {0: "unlabeled"}
    chosen = {
        "best": ranking[:1],
        "median": ranking[[(len(ranking) - 1) // 2]],
        "worst": ranking[-NUM_WORST:],
    }
    kinds = {}
    for kind, indices in chosen.items():
        for index in indices.tolist():
            kinds.setdefault(index, kind)
    return kinds
