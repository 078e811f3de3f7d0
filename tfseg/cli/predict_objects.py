"""`tfseg predict` for runs of detectors."""

from tfseg.cli.console import plural, say, track, warnings_said
from tfseg.cli.image_paths import named_images
from tfseg.cli.result_paths import images_to_do, named, raise_failures
from tfseg.cli.run_data import require_depth

DRAWN_SCORE = 0.5  # without --score-threshold, overlays show detections from this score on


def predict_objects(paths, run, out, thresholds, skip_existing):
    """Write NAME_overlay.png for each image, and detections.json.

    Args:
        paths: image files and folders of images.
        run: a `tfseg.training.Run` of a detector.
        out: folder of the results.
        thresholds: {argument of `tfseg.models.with_thresholds`: value or None}.
        skip_existing: leave out images that have both results.
    """
    from tfseg import inference, viz
    from tfseg.files import write_png

    files = named_images(paths)
    overlays = {name: out / f"{name}_overlay.png" for name in files}
    names, failures = run.data.object_names, []
    drawn = thresholds["score_threshold"]
    file = inference.DetectionFile(out / "detections.json", names, keep=skip_existing)
    to_do = images_to_do(files, {n: [path] for n, path in overlays.items()}, skip_existing, file)
    with file:
        detected = _detected(to_do, run, thresholds, failures)
        for name, image, found in track("predicting")(detected, len(to_do)):
            file.add(files[name], image.shape[:2], found)
            score = DRAWN_SCORE if drawn is None else drawn
            write_png(overlays[name], viz.draw_detections(image, found, names, score))
    raise_failures(failures, len(to_do))
    say(f"{plural(len(to_do), 'image')} -> {out}; detections.json has the boxes of all images.")


def _detected(files, run, thresholds, failures):
    """Yield (name, image, detections) for each {name: file}.

    Images that cannot be predicted are left out; their messages are added to `failures`.
    """
    from tfseg import data, models
    from tfseg.inference.object_predictor import detections_of, without_xla

    model, facts = without_xla(models.with_thresholds(run.model(), **thresholds)), run.data
    for name, file in files.items():
        try:
            image = data.read_image(file, facts.channels)
            require_depth(file, image, run)
            with warnings_said():
                found = detections_of(model, image, str(file), facts.value_range)
        except (OSError, ValueError) as error:
            failures.append(named(file, error))
            continue
        yield name, image, found
