"""`tfseg predict`."""

from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import plural, quiet_start, say, track
from tfseg.cli.image_paths import Images, named_images
from tfseg.cli.options import OtherWindow, RunFolder
from tfseg.cli.run_data import window_of


def predict(
    paths: Images,
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("predictions"),
    window: OtherWindow = None,
):
    """Segment images: writes NAME_labels.png (class ids) and NAME_overlay.png, at the image's size.

    Example:  [cyan]tfseg predict holiday/ --run runs/leaves --out predictions[/]
    """
    with quiet_start():
        from PIL import Image

        from tfseg import data, inference, training, viz
    trained = training.Run(run)
    facts, model = trained.data, trained.model()
    names = data.label_names(facts.class_names)
    files = named_images(paths, facts.dtype)
    out.mkdir(parents=True, exist_ok=True)
    for name, file in track("predicting")(files.items(), len(files)):
        image = data.read_image(file, facts.channels)
        side = window_of(facts, [image.shape[:2]], window)
        labels = inference.predict(model, image, window=side)
        Image.fromarray(labels).save(out / f"{name}_labels.png")
        overlay = viz.blend(image, viz.without_background(labels, names), len(names))
        Image.fromarray(overlay).save(out / f"{name}_overlay.png")
    viz.legend(names).savefig(out / "legend.png", dpi=120)
    say(f"{plural(len(files), 'image')} -> {out}; legend.png explains the colors.")
