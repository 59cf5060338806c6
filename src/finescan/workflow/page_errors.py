"""Where and how a result is wrong, as far as held-out fine scan shows it, as a chapter of its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finescan import reporting as rp
from finescan.reporting.chapter import slug
from finescan.trust import ErrorMaps
from finescan.trust.local_judgement import LocalJudgement, length
from finescan.workflow.place_maps import HeldOutMaps, PlaceMaps

if TYPE_CHECKING:
    from finescan.workflow.page import Finished

TOP = 2.0  # of the maps of errors: twice the ordinary limit is the brightest colour
CELL = 270.0
_ERRORS = (
    "Consistency: how far the enhanced map, degraded again, is from the coarse scan. Omission: structure of the fine "
    "scan that the map lacks. Invention: structure of the map that the fine scan does not have. One value per coarse "
    "pixel; 1 is what noise and registration explain, beyond it something is wrong."
)

Floats = NDArray[np.float32]


def chapters(done: Finished) -> tuple[rp.Chapter, ...]:
    """The chapter, or none where no fine scan is held out."""
    return () if done.local is None else chapter(done.local, done.facts)


def chapter(found: HeldOutMaps, facts: Mapping[str, Any]) -> tuple[rp.Chapter, ...]:
    """Errors, blur, detail and likeness on the largest held-out place.

    Parameters
    ----------
    facts : with "local_resolution", "error_maps" and "notes".
    """
    if not found.places:
        return ()
    place, local = found.places[0], facts["local_resolution"]
    parts: list[rp.Figure | str] = [_words(found, facts)]
    if place.errors is not None:
        parts.append(_errors(place.errors, place, facts["error_maps"]))
    parts.append(_pictures(place))
    if place.local is None:
        parts.append(f"{local.get('reason', 'No window fits into this place.')} So blur and detail are not mapped.")
    else:
        parts += [_over_windows(*row, place.local, local) for row in _rows(place.local, local)]
    return (rp.Chapter("Errors and resolution, place by place", tuple(parts)),)


def _words(found: HeldOutMaps, facts: Mapping[str, Any]) -> str:
    several = f" The largest of {len(found.places)} such places is shown." if len(found.places) > 1 else ""
    words = (
        f"Where fine scan was held out, the enhanced map can be compared with it place by place.{several} Elsewhere "
        "there is nothing to measure these against, so nothing is said."
    )
    told = [] if found.useful is None else [found.useful.sentence()]
    return " ".join([words, *(t for t in told if t not in facts["notes"])])


def _pictures(place: PlaceMaps) -> rp.Figure:
    return rp.picture_grid(
        "The held-out place",
        {"": [place.pictures["fine"], place.pictures["enhanced"]]},
        ("fine scan", "enhanced"),
        pixel_size_nm=_size(place),
        cell=CELL,
        note="What these maps are about. Empty where the fine scan was used for training, or is not known.",
        name="held-out-place",
    )


def _errors(errors: ErrorMaps, place: PlaceMaps, facts: Mapping[str, Any]) -> rp.Figure:
    shown = {k: v for k, v in vars(errors).items() if np.isfinite(v).any()}
    words = [f"{100 * facts[k]['share_above_1']:.1f} % above 1" for k in shown]
    rows, columns = errors.omission.shape
    missing = "" if "consistency" in shown else " Consistency says nothing here: both scans show different things."
    return rp.picture_grid(
        "Kinds of error",
        {"": list(shown.values())},
        tuple(shown),
        pixel_size_nm=(place.grid.extent_nm[0] / rows, place.grid.extent_nm[1] / columns),
        window=(0.0, TOP),
        colours="cividis",
        unit="times the limit",
        labels={"": words},
        cell=CELL,
        note=_ERRORS + missing,
        name="error-maps",
    )


def _rows(local: LocalJudgement, facts: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Title, key, unit, colours and what to read from it."""
    windows = local.windows
    nm = windows.size_px * max(local.grid.pixel_size_nm) / windows.step_px
    size = f"{windows.size_px} px ({length(nm)}) in steps of {windows.step_px} px"
    correlation, longest = facts["threshold_correlation"], length(nm / 2)
    return [
        (
            "Blur: full width",
            "blur_fwhm_nm",
            "nm",
            "cividis",
            f"Full width at half maximum of the Gaussian that, applied to the fine scan, comes nearest to the map; "
            f"windows of {size}. Dark is sharp; 0 is as sharp as the fine scan. Noise of the fine scan adds to it.",
        ),
        (
            "Detail: shortest period in common",
            "frc_nm",
            "nm",
            "cividis",
            f"Period down to which the map agrees with the fine scan (ring correlation {correlation}), in the same "
            f"windows. Dark is fine. Invented detail agrees with nothing and does not help. Empty where there is no "
            f"common structure finer than {longest}; single windows scatter.",
        ),
        (
            "Likeness: MS-SSIM",
            "ms_ssim",
            "",
            "cividis_r",
            f"MS-SSIM with the fine scan in the same windows ({facts['ms_ssim_scales']} scales). Dark is alike.",
        ),
    ]


def _over_windows(
    title: str, key: str, unit: str, colours: str, note: str, local: LocalJudgement, facts: Mapping[str, Any]
) -> rp.Figure:
    maps = {name: local.maps(name)[key] for name in local.sigma_nm}
    spreads = {name: facts["images"][name][key] for name in maps}
    y, x = (p / 2 for p in local.grid.pixel_size_nm)
    figure = rp.picture_grid(
        title,
        {"": [painted(v, local) for v in maps.values()]},
        [f"{name}, median {_rounded(spread['median'], unit)}" for name, spread in spreads.items()],
        pixel_size_nm=(y, x),
        window=_window(maps),
        colours=colours,
        unit=unit,
        cell=CELL,
        note=note,
        name=f"local-{slug(title)}",
    )
    heads = (rp.Column("of"), *(rp.Column(c, unit) for c in ("median", "10 %", "90 %")), rp.Column("empty", "%"))
    rows = tuple((n, s["median"], s["low"], s["high"], round(100 * s["unread_share"], 1)) for n, s in spreads.items())
    return replace(figure, tables=(rp.Table(title, heads, rows),))


def _window(maps: Mapping[str, Floats]) -> tuple[float, float]:
    """Colours from the lowest to nearly the highest value, rounded: single windows scatter."""
    known = np.concatenate([v[np.isfinite(v)] for v in maps.values()])
    if not known.size:
        return 0.0, 1.0
    low, high = (float(f"{v:.2g}") for v in np.quantile(known, (0.01, 0.97)))
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def painted(values: Floats, local: LocalJudgement) -> Floats:
    """Windows as squares of a step around their middles, on half steps over the whole place."""
    windows = local.windows
    half = windows.step_px // 2
    start = (windows.size_px - windows.step_px) // 2 // half
    out = np.full([-(-n // half) for n in windows.extent_px], np.nan, np.float32)
    rows, columns = (2 * n for n in values.shape)
    out[start : start + rows, start : start + columns] = values.repeat(2, axis=0).repeat(2, axis=1)
    return out


def _rounded(value: float | None, unit: str) -> str:
    if value is None:
        return "not known"
    return length(value) if unit == "nm" else f"{value:.3g}"


def _size(place: PlaceMaps) -> tuple[float, float]:
    y, x = place.grid.pixel_size_nm
    return y, x
