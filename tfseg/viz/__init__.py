"""Figures of data and results.

Figures are matplotlib `Figure` objects that need no display; a notebook shows the returned figure.
`blend`, `color_labels`, `draw_detections`, `draw_instances`, `errors` and `regions` return uint8
images instead.
"""

from tfseg.viz.charts import confusion_matrix, curves, rate_search, reliability
from tfseg.viz.class_colors import blend, color_labels, palette, without_background
from tfseg.viz.detection_charts import detection_confusion, precision_recall
from tfseg.viz.drawn_detections import draw_detections
from tfseg.viz.drawn_instances import (
    draw_instances,
    draw_panoptic,
    instance_samples,
    panoptic_samples,
)
from tfseg.viz.error_maps import errors
from tfseg.viz.figures import save_figure
from tfseg.viz.images import labeled, legend, overlay, samples
from tfseg.viz.object_samples import object_samples
from tfseg.viz.region_outlines import regions
from tfseg.viz.rgb import as_rgb
from tfseg.viz.trade_off import trade_off

__all__ = [
    "as_rgb",
    "blend",
    "color_labels",
    "confusion_matrix",
    "curves",
    "detection_confusion",
    "draw_detections",
    "draw_instances",
    "draw_panoptic",
    "errors",
    "instance_samples",
    "labeled",
    "legend",
    "object_samples",
    "overlay",
    "palette",
    "panoptic_samples",
    "precision_recall",
    "rate_search",
    "regions",
    "reliability",
    "samples",
    "save_figure",
    "trade_off",
    "without_background",
]
