"""The reporting room: results to one self-contained HTML page.

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
