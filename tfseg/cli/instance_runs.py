"""What `train` and `evaluate` do with runs of the heads "star" and "center"."""

from pathlib import Path

from tfseg.cli.console import console, plural, say, track, warnings_said
from tfseg.cli.run_data import window_of


def report_instance_run(run, reader, out, score_threshold=None, window=None):
    """Evaluate a run's best model, write tables and images into `out`, and print the scores.

    Args:
        run: a `tfseg.training.Run` of a model without boxes.
        reader: a reader of objects.
        out: folder of the results.
        score_threshold: object threshold, or None for the model's.
        window: side of the tiles of larger images, or None for the run's.
    """
    from tfseg import inference

    history = run.history() if Path(out) == run.folder else None
    tile = window_of(run.data, reader.sizes, window)
    with warnings_said():
        scores = inference.report_instances(
            run.model(),
            reader,
            out,
            history,
            tile,
            score_threshold,
            track("evaluating"),
            monitor=run.config.monitor,
        )
    console.print(scores.table(f"{run.folder.name} on {plural(len(reader), 'image')}"))
    say(f"{scores.counting_error()} Aggregated Jaccard index {scores.means()['aji']:.4f}.")
    images = "worst.png, curves.png" if history else "worst.png"
    say(f"Tables and images in {out}: evaluation.json, evaluation.csv, image_scores.csv, {images}.")
