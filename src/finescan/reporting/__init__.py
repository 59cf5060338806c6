"""The reporting room: results to one self-contained HTML page.

>>> from finescan.reporting import Answer, Report, write_report  # doctest: +SKIP
>>> write_report("report.html", Report("map.tif", Answer("better", "1.2 dB better than bicubic.")))  # doctest: +SKIP

**Volumes** take the same places as pictures (``Report.overview``, ``Report.crops``, ``RegistrationPicture.scene``,
parts of a ``Chapter``):

``VolumeLayer(name, image, window=None, colours="grey", unit="")``
    one ZYX ``Image`` in the frame of the coarse volume, any voxel size, lazy or not; ``colours`` is "grey",
    "cividis" or "cividis_r" (a map, which needs its own ``window``).
``VolumeBox(label, start_nm, stop_nm, kind="fine")``, ``VolumeBox.of(label, region_or_grid, kind="fine")``
    a box in the frame of the coarse volume; ``kind`` is "fine", "held-out", "train" or "crop".
``VolumeScene(title, caption, grid, layers, at_nm=None, flags=None, boxes=(), mode="single", slices=49, max_px=512,
budget_mb=10.0, flag_shares=None)``
    XY slice with a slider along z, XZ and YZ cuts through ``at_nm``; ``mode`` is "single", "side" or "swipe". Only the
    slices shown are read. With one such scene a page stays below 15 MB.

**Measured** (``Report.measurements``, a tuple of chapters):

``PoreNumbers.of(name, measurements, matching=None, reference=False)`` from what ``quantify`` and ``match`` gave, or
``PoreNumbers(name, diameters_nm, sphericity, porosity, found=None, lost=None, invented=None, merged=None, split=None,
reference=False)``; ``pore_chapter(volumes, title=…, sentence="", caption="", bin_width_nm=None) -> Chapter``;
``pore_table(title, volumes, caption="", name="") -> Table``; ``pore_figures(volumes, …) -> (Figure, Figure)``.

``size_chapter(comparisons, title=…, words=(), name="sizes")``: objects of pictures, from
``quantification.compare``; ``tile_chapter(scores, candidate=…, words=(), name="tiles")`` from ``trust.tile_scores``.
Chapters about scores go into ``Report.distributions``.

**Trust** (``Report.trust``, a tuple of chapters): ``Places(title, columns, rows, caption="", window=None)`` of
``Place(cells, box, thumbnail)``: a table whose rows have a picture and a button that shows the place on the overview.
``Scene.overlay``: a layer laid over all pictures in colours, with opacity and threshold.

**Studies**:

``StudyReport(title, headline, sentence, chapters, verdict="equal", facts=(), notes=(), provenance={})``,
``Chapter(title, parts)`` with parts ``Figure``, ``Table``, ``Scene``, ``VolumeScene`` or words.
``Table(title, columns, rows, caption="", best_within="", name="")``: ``columns`` are ``Column(name, unit, better)``,
cells are words, numbers, ``Score`` or None.
``write_study(path, study, overwrite=False) -> Path``.
``write_figures(folder, figures=(), tables=(), overwrite=False) -> list[Path]``: ``name.svg``, ``.csv``, ``.md``;
``study.figures()`` and ``study.tables()`` give them all.

Figures, from plain arrays (``title`` first, ``note`` and ``name`` last, all options by name):

``grouped_bars(title, groups, values, x_label="", y_label="", errors=None, marks=None, marks_name="published",
limits=None, better="")``: ``values[name]`` is one number per group; ``marks`` are diamonds (published figures).
``histogram_panels(title, {heading: [Sample, …]}, bin_width=…, x_label=…, y_label="count", start=0.0)``
``box_plots(title, {heading: [Sample, …]}, y_label=…, limits=None, points=120)``
``curve_panels(title, {heading: [Series, …]}, x_label=…, y_label=…, minima=True, log_x=False, log_y=False)``
``picture_grid(title, {row: [picture or None, …]}, columns, pixel_size_nm=None, window=None, colours="grey",
unit="grey level", labels=None, cell=190.0, max_px=400)``: also for maps ("cividis_r": low is bright).
``Sample(name, values, note="", reference=False)``: ``note`` is shown beside the name (porosity).
"""

from finescan.reporting.bars import grouped_bars
from finescan.reporting.chapter import Chapter, Figure, Place, Places, StudyReport, Table
from finescan.reporting.chapters import markdown
from finescan.reporting.charts import Sample, box_plots, curve_panels, histogram_panels
from finescan.reporting.figures import checkerboard, colour_map, histogram_series, line_plot, residual_arrows
from finescan.reporting.mosaics import picture_grid
from finescan.reporting.page import render, write_report
from finescan.reporting.pictures import (
    crop_layer,
    flags_overview,
    grey_window,
    overview_layer,
    overview_of,
    png_data_uri,
)
from finescan.reporting.pores import PoreNumbers, pore_chapter, pore_figures, pore_table
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
from finescan.reporting.sizes import size_chapter, size_table, tile_chapter
from finescan.reporting.study import render_study, standalone_svg, write_figures, write_study
from finescan.reporting.volume import VolumeBox, VolumeLayer, VolumeScene

__all__ = [
    "Answer",
    "Box",
    "Chapter",
    "Column",
    "Curves",
    "Figure",
    "Layer",
    "MetricTable",
    "Place",
    "Places",
    "Plot",
    "PoreNumbers",
    "RegistrationPicture",
    "Report",
    "Sample",
    "Scene",
    "Score",
    "Series",
    "StudyReport",
    "Table",
    "VolumeBox",
    "VolumeLayer",
    "VolumeScene",
    "box_plots",
    "checkerboard",
    "colour_map",
    "crop_layer",
    "curve_panels",
    "flags_overview",
    "grey_window",
    "grouped_bars",
    "histogram_panels",
    "histogram_series",
    "line_plot",
    "markdown",
    "overview_layer",
    "overview_of",
    "picture_grid",
    "png_data_uri",
    "pore_chapter",
    "pore_figures",
    "pore_table",
    "render",
    "render_study",
    "residual_arrows",
    "size_chapter",
    "size_table",
    "standalone_svg",
    "tile_chapter",
    "write_figures",
    "write_report",
    "write_study",
]
