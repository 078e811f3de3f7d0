"""Segmentation without training: thresholds, edges, regions, clusters, superpixels, graph cuts.

This package does not import TensorFlow.
"""

from tfseg.classical.clusters import gaussian_mixture, kmeans, mean_shift
from tfseg.classical.edges import (
    canny,
    closed_regions,
    hough_lines,
    laplacian_of_gaussian,
    marr_hildreth,
    ridges,
    scharr,
    sobel,
)
from tfseg.classical.interactive import grabcut, random_walker
from tfseg.classical.labels import connected_components, relabel
from tfseg.classical.pixel_classifier import PixelClassifier
from tfseg.classical.region_growing import flood_fill, region_growing
from tfseg.classical.regions import fill_holes, filter_objects, remove_small, smooth
from tfseg.classical.segmentation import METHODS, check_options, edge_regions, segment
from tfseg.classical.snakes import chan_vese, geodesic_active_contour, morphological_chan_vese
from tfseg.classical.split_merge import split_and_merge
from tfseg.classical.superpixels import compact_watershed, felzenszwalb, merge, seeds, slic
from tfseg.classical.thresholds import adaptive, hysteresis, multi_otsu, otsu, sauvola, triangle
from tfseg.classical.watershed import split_touching, watershed

__all__ = [
    "METHODS",
    "PixelClassifier",
    "adaptive",
    "canny",
    "chan_vese",
    "check_options",
    "closed_regions",
    "compact_watershed",
    "connected_components",
    "edge_regions",
    "felzenszwalb",
    "fill_holes",
    "filter_objects",
    "flood_fill",
    "gaussian_mixture",
    "geodesic_active_contour",
    "grabcut",
    "hough_lines",
    "hysteresis",
    "kmeans",
    "laplacian_of_gaussian",
    "marr_hildreth",
    "mean_shift",
    "merge",
    "morphological_chan_vese",
    "multi_otsu",
    "otsu",
    "random_walker",
    "region_growing",
    "relabel",
    "remove_small",
    "ridges",
    "sauvola",
    "scharr",
    "seeds",
    "segment",
    "slic",
    "smooth",
    "sobel",
    "split_and_merge",
    "split_touching",
    "triangle",
    "watershed",
]
