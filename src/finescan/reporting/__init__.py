"""The reporting room: results to one self-contained HTML page.

Volumes take the same places as pictures (``Report.overview``, ``Report.crops``, ``RegistrationPicture.scene``):

``VolumeLayer(name, image, window=None, colours="grey", unit="")``
    one ZYX ``Image`` in the frame of the coarse volume, any voxel size, lazy or not; ``colours`` is "grey",
    "cividis" or "cividis_r" (a map, which needs its own ``window``).
``VolumeBox(label, start_nm, stop_nm, kind="fine")``, ``VolumeBox.of(label, region_or_grid, kind="fine")``
    a box in the frame of the coarse volume; ``kind`` is "fine", "held-out", "train" or "crop".
``VolumeScene(title, caption, grid, layers, at_nm=None, flags=None, boxes=(), mode="single", slices=49, max_px=512,
budget_mb=10.0, flag_shares=None)``
    XY slice with a slider along z, XZ and YZ cuts through ``at_nm``; ``mode`` is "single", "side" or "swipe". Only the
    slices shown are read. With one such scene a page stays below 15 MB.

>>> from finescan.reporting import Answer, Report, write_report  # doctest: +SKIP
>>> write_report("report.html", Report("map.tif", Answer("better", "1.2 dB better than bicubic.")))  # doctest: +SKIP
"""

from finescan.reporting.figures import checkerboard, colour_map, histogram_series, line_plot, residual_arrows
from finescan.reporting.page import render, write_report
from finescan.reporting.pictures import (
    crop_layer,
    flags_overview,
    grey_window,
    overview_layer,
    overview_of,
    png_data_uri,
)
from finescan.reporting.report import (
    Answer,
    Box,
    Column,
    Curves,
    Layer,
    MetricTable,
    Plot,
    RegistrationPicture,
    Report,
    Scene,
    Score,
    Series,
)
from finescan.reporting.volume import VolumeBox, VolumeLayer, VolumeScene

__all__ = [
    "Answer",
    "Box",
    "Column",
    "Curves",
    "Layer",
    "MetricTable",
    "Plot",
    "RegistrationPicture",
    "Report",
    "Scene",
    "Score",
    "Series",
    "VolumeBox",
    "VolumeLayer",
    "VolumeScene",
    "checkerboard",
    "colour_map",
    "crop_layer",
    "flags_overview",
    "grey_window",
    "histogram_series",
    "line_plot",
    "overview_layer",
    "overview_of",
    "png_data_uri",
    "render",
    "residual_arrows",
    "write_report",
]
