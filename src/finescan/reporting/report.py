"""What a report is made of: frozen values, arrays in memory, nothing read from disk.

Axes are Y, X. Lengths are nm. Inside a scene, positions count from the upper-left *edge* of the scene.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.reporting.volume import VolumeScene
from finescan.values import Residual, TrustMap

if TYPE_CHECKING:
    from finescan.reporting.chapter import Chapter

MODES = ("swipe", "side")


@dataclass(frozen=True)
class Layer:
    """One picture of a scene.

    Parameters
    ----------
    name : what the reader sees: "coarse", "bicubic", "enhanced", "fine", …
    data : (h, w) grey levels, any number format; NaN = no value. uint8 travels unchanged into the page.
    pixel_size_nm : step between pixel centres (y, x); None = the layer covers its scene exactly.
    offset_nm : upper-left edge of the first pixel (y, x), counted from the upper-left edge of the scene.
    window : grey levels shown black and white; None = the window common to the scene.
    """

    name: str
    data: NDArray[Any]
    pixel_size_nm: tuple[float, float] | None = None
    offset_nm: tuple[float, float] = (0.0, 0.0)
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if np.ndim(self.data) != 2 or np.size(self.data) == 0:
            raise InputError(
                f"The layer {self.name!r} must be a 2D array with pixels, but its shape is {np.shape(self.data)}. "
                "Pass one slice of a volume."
            )
        if self.window is not None and not self.window[0] < self.window[1]:
            raise InputError(f"The grey window of {self.name!r} must rise, but {self.window} came.")


@dataclass(frozen=True)
class Box:
    """A rectangle on a scene: nm from the scene's upper-left edge.

    ``kind`` is "fine" (a fine scan), "held-out" (a block kept for judging), "train" or "crop".
    """

    label: str
    y0: float
    x0: float
    y1: float
    x1: float
    kind: str = "fine"


@dataclass(frozen=True)
class Scene:
    """Several layers over one field of view, shown with one common grey window.

    Parameters
    ----------
    title, caption : words above the picture.
    extent_nm : height and width of the field of view.
    layers : at least one.
    origin_nm : where the scene's upper-left edge lies in the frame of the coarse map; places the flags and the
        position readout. None = both count from the scene's own edge.
    flags : reasons to doubt, or None.
    boxes : rectangles to draw.
    mode : "swipe" (a curtain between two layers) or "side" (all layers beside each other) when the page opens.
    lossless : PNG; False allows JPEG, only meant for overviews.
    flag_shares : share (0 to 1) per flag to state when ``flags`` is a reduced map; None = those of ``flags``.
    overlay : a map in colours that can be laid over all pictures, with opacity and a threshold below which nothing is
        shown; its name says what it is, in which unit. None = none.
    """

    title: str
    caption: str
    extent_nm: tuple[float, float]
    layers: tuple[Layer, ...]
    origin_nm: tuple[float, float] | None = None
    flags: TrustMap | None = None
    boxes: tuple[Box, ...] = ()
    mode: str = "side"
    lossless: bool = True
    flag_shares: Mapping[str, float] | None = None
    overlay: Layer | None = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise InputError(f"The scene {self.title!r} needs at least one layer, but none came.")
        if self.mode not in MODES:
            raise InputError(f"A scene opens in mode {' or '.join(MODES)}, but {self.mode!r} came.")
        if not all(np.isfinite(v) and v > 0 for v in self.extent_nm):
            raise InputError(f"The scene {self.title!r} needs a positive height and width, but {self.extent_nm} came.")


@dataclass(frozen=True)
class RegistrationPicture:
    """One fine scan in the coarse map.

    Parameters
    ----------
    name : of the pair.
    verdict, reasons : "found", "doubtful" or "not found", and why, in sentences.
    residual : quality figures, maps and the block check.
    scene : coarse (resampled once onto the fine grid), fine, and their checkerboard; None when not found.
    facts : further label and value pairs.
    """

    name: str
    verdict: str
    reasons: tuple[str, ...]
    residual: Residual
    scene: Scene | VolumeScene | None = None
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Series:
    """One curve. ``reference=True`` draws it thin and grey-toned, as something to compare with."""

    name: str
    x: NDArray[np.floating] | Sequence[float]
    y: NDArray[np.floating] | Sequence[float]
    reference: bool = False

    def __post_init__(self) -> None:
        if np.shape(self.x) != np.shape(self.y) or np.ndim(self.x) != 1:
            raise InputError(
                f"The curve {self.name!r} needs as many x as y, but {np.shape(self.x)}, {np.shape(self.y)}."
            )


@dataclass(frozen=True)
class Plot:
    """Curves over one pair of axes; ``note`` says in a sentence what is to be seen."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    note: str = ""
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Score:
    """A mean and its standard error (None when there is only one value)."""

    mean: float
    standard_error: float | None = None


@dataclass(frozen=True)
class Column:
    """Head of a metric column; ``better`` is "higher", "lower" or "" when neither."""

    name: str
    unit: str = ""
    better: str = ""


@dataclass(frozen=True)
class MetricTable:
    """Contestants down, metrics across.

    Parameters
    ----------
    title, caption : what was compared with what, on how many tiles.
    columns : heads.
    rows : per contestant one Score (or None) per column.
    chosen : the contestant that became the result.
    """

    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: Mapping[str, Sequence[Score | None]]
    chosen: str = ""

    def __post_init__(self) -> None:
        for name, scores in self.rows.items():
            if len(scores) != len(self.columns):
                raise InputError(
                    f"{name!r} has {len(scores)} scores for {len(self.columns)} columns of {self.title!r}."
                )


@dataclass(frozen=True)
class Answer:
    """The verdict first.

    Parameters
    ----------
    verdict : "better", "equal", "worse", or any other word ("not judged").
    sentence : the same in plain words, with the numbers.
    facts : label and value pairs shown beneath.
    """

    verdict: str
    sentence: str
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Curves:
    """All plots by what they are about."""

    learning: tuple[Plot, ...] = ()
    histograms: tuple[Plot, ...] = ()
    spectra: tuple[Plot, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything on the page.

    Parameters
    ----------
    title : normally the name of the coarse map.
    answer : the verdict.
    overview : the whole map, coarse and enhanced, at most about 2048 px wide; or the whole volume.
    crops : places at native resolution: coarse | bicubic | enhanced | fine.
    registrations : one per fine scan.
    curves : learning curves, histograms, spectra.
    metrics : tables of scores.
    plan : (choice, value, reason) of every automatic choice.
    notes : warnings, shown right below the verdict.
    provenance : plain nested values: versions, files, hashes, seeds, date.
    measurements : chapters about what was measured (pores); no section when there are none.
    distributions : chapters about how scores are distributed, below the tables of scores.
    trust : chapters about how far the result can be trusted and where to scan again; no section when there are none.
        Their places lie on the overview.
    """

    title: str
    answer: Answer
    overview: Scene | VolumeScene | None = None
    crops: tuple[Scene | VolumeScene, ...] = ()
    registrations: tuple[RegistrationPicture, ...] = ()
    curves: Curves = Curves()
    metrics: tuple[MetricTable, ...] = ()
    plan: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    measurements: tuple[Chapter, ...] = ()
    distributions: tuple[Chapter, ...] = ()
    trust: tuple[Chapter, ...] = ()
