"""The doctor's report as one HTML file that needs no other: figures, findings, and images of what was found."""

import base64
import io
from html import escape
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from tfseg import viz
from tfseg.checks import IGNORE_INDEX
from tfseg.doctor.dataset_report import NO_CLASS, short

SIDE = 260  # pixels of a thumbnail's longer side
MOST = 6  # thumbnails of a finding
MARK = (255, 0, 255)  # RGB of labels that are no class

STYLE = """
:root { --ink: #1d2430; --soft: #5d6675; --line: #dfe3ea; --paper: #fff; --ground: #f4f6f9;
  --error: #c0392b; --warning: #b7791f; --note: #2b6cb0; --fine: #2f855a }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 1060px; margin: 0 auto; padding: 28px 20px 60px }
h1 { font-size: 26px; margin: 0 12px 0 0; display: inline } h2 { font-size: 18px; margin: 32px 0 10px }
h3 { font-size: 16px; margin: 0 0 4px } p { margin: 4px 0 }
.badge { color: #fff; border-radius: 99px; padding: 2px 11px; font-size: 13px; font-weight: 600; white-space: nowrap }
.error > .badge, .badge.error { background: var(--error) } .badge.warning { background: var(--warning) }
.badge.note { background: var(--note) } .badge.fine { background: var(--fine) }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px;
  margin: 12px 0 }
.finding { border-left: 5px solid var(--note) } .finding.error { border-left-color: var(--error) }
.finding.warning { border-left-color: var(--warning) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0 }
dt { color: var(--soft) } dd { margin: 0; min-width: 0 }
code { background: #eef1f6; border-radius: 5px; padding: 2px 6px; font: 13px/1.5 ui-monospace, monospace;
  overflow-wrap: anywhere }
.fix { display: block; padding: 8px 12px; margin-top: 8px }
.fix::before { content: "fix  "; color: var(--fine); font-weight: 700 }
table { border-collapse: collapse; width: 100% } td, th { padding: 4px 10px; text-align: right; white-space: nowrap }
th { color: var(--soft); font-weight: 500; border-bottom: 1px solid var(--line) }
td:nth-child(2), th:nth-child(2) { text-align: left } td.bar { width: 38%; padding-right: 0 }
.bar i { display: block; height: 12px; border-radius: 3px; min-width: 2px; box-shadow: inset 0 0 0 1px #0002 }
.swatch { display: inline-block; width: 14px; height: 14px; border-radius: 4px; border: 1px solid #0003;
  vertical-align: -2px; margin-right: 8px }
.shots { display: flex; flex-wrap: wrap; gap: 14px; margin-top: 12px }
figure { margin: 0; max-width: 100% } figure img { display: inline-block; border-radius: 6px; margin-right: 4px;
  max-height: 140px; vertical-align: top; background: #ddd }
figcaption { color: var(--soft); font-size: 12px; max-width: 260px; overflow-wrap: anywhere }
.gone { width: 150px; height: 90px; border: 1px dashed var(--soft); border-radius: 6px; display: grid;
  place-items: center; color: var(--soft); font-size: 13px }
.more, .small { color: var(--soft); font-size: 13px }
"""


def write_doctor_page(report, path, title="Dataset"):
    """Write a report as a self-contained HTML file.

    Args:
        report: a `tfseg.data.Report`; its files are read again for the thumbnails, at most six a finding.
        path: file.
        title: heading of the page.
    """
    worst = report.findings[0].severity if report.findings else "fine"
    head = f"<h1>{escape(title)}</h1><span class='badge {worst}'>{escape(report.verdict())}</span>"
    body = [head, _facts(report), _classes(report), _samples(report), *_findings(report)]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>"
    meta = "<meta name=viewport content='width=device-width, initial-scale=1'>"
    Path(path).write_text(f"{page}{meta}<main>{''.join(body)}</main></html>\n", encoding="utf-8")


def _facts(report):
    rows = []
    for what, text in report.facts().items():
        shown = f"<code>{escape(text)}</code>" if "=" in text else escape(text)
        rows.append(f"<dt>{escape(what)}</dt><dd>{shown}</dd>")
    return f"<dl class=card style='margin-top:18px'>{''.join(rows)}</dl>"


def _classes(report):
    if not report.classes:
        return ""
    colors = viz.palette(len(report.classes))
    rows = report.to_dict()["classes"]
    most = max(row["share"] for row in rows) or 1
    objects = any(row["objects"] for row in rows)
    names = ["id", "class", "", "share", "pixels", "images", *["objects"] * objects, "weight"]
    lines = ["<tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr>"]
    for row, color in zip(rows, colors, strict=True):
        paint = f"background:rgb({color[0]},{color[1]},{color[2]})"
        cells = [
            f"{row['share']:.2%}",
            f"{row['pixels']:,}",
            row["images"],
            *[row["objects"]] * objects,
        ]
        lines.append(
            f"<tr><td>{row['id']}</td><td><span class=swatch style='{paint}'></span>{escape(row['name'])}</td>"
            f"<td class=bar><i style='{paint};width:{row['share'] / most:.1%}'></i></td>"
            + "".join(f"<td>{cell}</td>" for cell in (*cells, f"{row['weight']:.4f}"))
            + "</tr>"
        )
    note = (
        f"<p class=small>{report.ignored_pixels:,} pixels without a label stay bare in the images below; values that "
        "stand for no class are magenta. Weight: median frequency / frequency of the class.</p>"
    )
    return f"<h2>Classes</h2><div class=card><table>{''.join(lines)}</table>{note}</div>"


def _samples(report):
    names = [
        name
        for name, sample in report.samples.items()
        if sample.moments is not None and not sample.val
    ]
    chosen = (
        [names[i] for i in np.unique(np.linspace(0, len(names) - 1, MOST).astype(int))]
        if names
        else []
    )
    return (
        f"<h2>Samples</h2><div class='card shots'>{_shots(report, sorted(chosen))}</div>"
        if chosen
        else ""
    )


def _findings(report):
    if not report.findings:
        yield "<h2>Findings</h2><div class=card>Nothing found: the dataset is fit to train on.</div>"
        return
    yield "<h2>Findings</h2>"
    for finding in report.findings:
        more = len(finding.files) - MOST
        yield (
            f"<section class='card finding {finding.severity}'><h3>{escape(finding.kind.replace('_', ' '))} "
            f"<span class='badge {finding.severity}'>{finding.severity}</span></h3><p>{escape(finding.message)}</p>"
            f"<code class=fix>{escape(finding.fix)}</code>"
            f"<div class=shots>{_shots(report, finding.files[:MOST])}</div>"
            + f"<p class=more>and {more} more</p>" * (more > 0)
            + "</section>"
        )


def _shots(report, names):
    return "".join(
        f"<figure>{''.join(_shot(*report.picture(name), len(report.classes)))}"
        f"<figcaption title='{escape(name)}'>{escape(short(name))}</figcaption></figure>"
        for name in names
    )


def _shot(image, labels, boxes, count):
    """Yield an image with its labels laid over it; beside each other where they do not fit."""
    if image is None and labels is None:
        yield "<div class=gone>cannot be read</div>"
        return
    if image is not None:
        boxes = None if boxes is None else boxes * (SIDE / max(image.shape[:2]))
        image = _sized(viz.as_rgb(image), cv2.INTER_AREA)
    if labels is not None:
        is_image = labels.ndim == 3
        labels = _sized(viz.as_rgb(labels) if is_image else labels, cv2.INTER_NEAREST)
        if image is not None and image.shape[:2] == labels.shape:
            image, labels = _marked(viz.blend, labels, image, count), None
        elif not is_image:
            labels = _marked(
                lambda _, ids, count: viz.color_labels(ids, count), labels, None, count
            )
    for array, what in ((image, "image"), (labels, "mask")):
        if array is not None:
            yield f"<img alt={what} src='{_embedded(array, boxes if what == 'picture' else None)}'>"


def _marked(draw, labels, image, count):
    """Draw labels, and mark those that are no class."""
    unknown = labels == NO_CLASS
    drawn = draw(image, np.where(unknown, IGNORE_INDEX, labels), count)
    drawn[unknown] = MARK
    return drawn


def _sized(array, how):
    scale = SIDE / max(array.shape[:2])
    return cv2.resize(
        array, [max(1, round(side * scale)) for side in array.shape[1::-1]], interpolation=how
    )


def _embedded(array, boxes=None):
    picture, file = Image.fromarray(array), io.BytesIO()
    if boxes is not None:
        draw = ImageDraw.Draw(picture)
        for box in boxes:
            draw.rectangle([round(float(side)) for side in box], outline=(230, 159, 0), width=2)
    picture.save(file, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
