"""`tfseg predict` for runs that predict instances, with or without boxes."""

from tfseg.cli.console import plural, say, track, warnings_said
from tfseg.cli.image_paths import named_images
from tfseg.cli.result_paths import images_to_do, named, raise_failures
from tfseg.cli.run_data import require_depth, window_of


def predict_instances(paths, run, out, thresholds, window, skip_existing):
    """Write the label map, the overlay and the outlines of each image, and tables of all objects.

    Of a run that predicts stuff, also the class ids of all pixels.

    Args:
        paths: image files and folders of images.
        run: a `tfseg.training.Run` of the task "instances".
        out: folder of the results.
        thresholds: {"score_threshold", "nms_iou", "max_detections": value or None}.
        window: side of the tiles of larger images, or None for the run's.
        skip_existing: leave out images that have all results.
    """
    from tfseg import inference
    from tfseg.inference.instance_files import existing_map, instance_files, write_instances

    files, names, failures = named_images(paths), run.data.object_names, []
    has_stuff = run.data.thing_ids is not None
    label_names = run.data.label_names if has_stuff else None
    results = {
        name: [existing_map(out / name), *instance_files(out / name, has_stuff)] for name in files
    }
    boxes = inference.DetectionFile(out / "detections.json", names, keep=skip_existing)
    tables = inference.ObjectTables(out, names, keep=skip_existing)
    listed = [file for file in files.values() if file in boxes and file in tables]
    to_do, found_objects = images_to_do(files, results, skip_existing, listed), 0
    with boxes, tables:
        predicted = _predicted(to_do, run, thresholds, window, failures)
        for name, image, found, detections in track("predicting")(predicted, len(to_do)):
            write_instances(out / name, files[name], image, found, names, label_names)
            boxes.add(files[name], image.shape[:2], detections)
            tables.add(files[name], image, found)
            found_objects += len(found["scores"])
    raise_failures(failures, len(to_do))
    say(
        f"{plural(found_objects, 'object')} in {plural(len(to_do), 'image')} -> {out}; counts.csv "
        "has the number of every image, objects.csv all objects."
    )


def _predicted(files, run, thresholds, window, failures):
    """Yield (name, image, objects, detections) for each {name: file}.

    Images that cannot be predicted are left out; their messages are added to `failures`.
    """
    from tfseg import data

    facts, predict = run.data, _predictor(run, thresholds, window)
    for name, file in files.items():
        try:
            image = data.read_image(file, facts.channels)
            require_depth(file, image, run)
            with warnings_said():
                found, detections = predict(image, str(file))
        except (OSError, ValueError) as error:
            failures.append(named(file, error))
            continue
        yield name, image, found, detections


def _predictor(run, thresholds, window):
    """Return a function of an image and its file to its objects, and detections for COCO."""
    from tfseg import models
    from tfseg.data.readers.objects import boxes_around
    from tfseg.inference.instance_predictor import instances_of
    from tfseg.inference.object_predictor import detections_of, without_xla

    facts, model, score = run.data, run.model(), thresholds["score_threshold"]

    def without_boxes(image, owner):
        tile = window_of(facts, [image.shape[:2]], window)
        found = instances_of(model, image, tile, score, owner=owner, trained=facts.value_range)
        return found, {**found, "boxes": boxes_around(found["instances"])}

    if run.config.is_boxless:
        return without_boxes
    detector = without_xla(models.with_thresholds(model, **thresholds))

    def with_boxes(image, owner):
        detections = detections_of(detector, image, owner, facts.value_range)
        return models.decode_instances(detector, detections, image.shape[:2], score), detections

    return with_boxes
