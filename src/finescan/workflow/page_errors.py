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
from finescan.trust.local_judgement import DETAIL, LocalJudgement, length
from finescan.workflow.place_maps import HeldOutMaps, PlaceMaps
from finescan.workflow.place_pictures import painted, place_figure

if TYPE_CHECKING:
    from finescan.workflow.page import Finished
    from finescan.workflow.page_volume import FinishedVolume

TOP = 2.0  # of the maps of errors: twice the ordinary limit is the brightest colour
_ERRORS = (
    "Consistency: how far the enhanced {map}, degraded again, is from the coarse scan. Omission: structure of the fine "
    "scan that the {map} lacks. Invention: structure of the {map} that the fine scan does not have. One value per "
    "coarse {pixel}; 1 is what noise and registration explain, beyond it something is wrong."
)
_EMPTY = "Empty where the fine scan was used for training, or is not known."
_CUTS = "The three slices cross in one voxel in the middle of the place."

Floats = NDArray[np.float32]


def chapters(done: Finished | FinishedVolume) -> tuple[rp.Chapter, ...]:
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
    return (rp.Chapter("Errors and resolution, place by place", (_words(found, facts), *figures(found, facts))),)


def figures(
    found: HeldOutMaps, facts: Mapping[str, Any], title: str = "The held-out place", empty: str = _EMPTY
) -> list[rp.Figure | str]:
    """The figures of the largest place, and words in the place of those that cannot be made.

    Parameters
    ----------
    title, empty : of the pictures themselves, and what it means where there is nothing to see in them.
    """
    place, local = found.places[0], facts["local_resolution"]
    parts: list[rp.Figure | str] = []
    if place.errors is not None:
        parts.append(_errors(place.errors, place, facts["error_maps"]))
    parts.append(_pictures(place, title, empty))
    if place.local is None:
        parts.append(f"{local.get('reason', 'No window fits into this place.')} So blur and detail are not mapped.")
    else:
        parts += [_over_windows(*row, place, place.local, local) for row in _rows(place.local, local)]
    return parts


def _words(found: HeldOutMaps, facts: Mapping[str, Any]) -> str:
    several = f" The largest of {len(found.places)} such places is shown." if len(found.places) > 1 else ""
    what = _what(found.places[0])["map"]
    words = (
        f"Where fine scan was held out, the enhanced {what} can be compared with it place by place.{several} Elsewhere "
        "there is nothing to measure these against, so nothing is said."
    )
    told = [] if found.useful is None else [found.useful.sentence()]
    return " ".join([words, *(t for t in told if t not in facts["notes"])])


def _what(place: PlaceMaps) -> dict[str, str]:
    """What to call the result and its pixels."""
    return {"map": "volume", "pixel": "voxel"} if place.at else {"map": "map", "pixel": "pixel"}


def _pictures(place: PlaceMaps, title: str, empty: str) -> rp.Figure:
    return place_figure(
        title,
        place,
        {"fine scan" if k == "fine" else k: v for k, v in place.pictures.items()},
        place.grid.pixel_size_nm,
        note=" ".join(["What these maps are about.", *([_CUTS] if place.at else []), empty]),
        name=slug(title.removeprefix("The ")),
    )


def _errors(errors: ErrorMaps, place: PlaceMaps, facts: Mapping[str, Any]) -> rp.Figure:
    shown = {k: v for k, v in vars(errors).items() if np.isfinite(v).any()}
    missing = "" if "consistency" in shown else " Consistency says nothing here: both scans show different things."
    return place_figure(
        "Kinds of error",
        place,
        shown,
        [e / n for e, n in zip(place.grid.extent_nm, errors.omission.shape, strict=True)],
        words=[f"{100 * facts[k]['share_above_1']:.1f} % above 1" for k in shown],
        window=(0.0, TOP),
        colours="cividis",
        unit="times the limit",
        note=_ERRORS.format(**_what(place)) + missing,
        name="error-maps",
    )


def _rows(local: LocalJudgement, facts: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Title, key, unit, colours and what to read from it."""
    windows, ndim = local.windows, local.grid.ndim
    what, px = ("volume", "voxels") if ndim == 3 else ("map", "px")
    nm = windows.size_px * max(local.grid.pixel_size_nm) / windows.step_px
    size = f"{windows.size_px} {px} ({length(nm)}) in steps of {windows.step_px} {px}"
    correlation = f"{facts['correlation']} {facts['threshold_correlation']}"
    shortest, longest = facts["readable_nm"]
    empty = f"Empty where there is no common structure finer than {length(longest)}; single windows scatter."
    if shortest >= longest:
        empty = "The sides of the voxels are so unequal that a window holds no period that could be read."
    scales = f"{facts['ms_ssim_scales']} scale{'s' if facts['ms_ssim_scales'] > 1 else ''}"
    return [
        (
            "Blur: full width",
            "blur_fwhm_nm",
            "nm",
            "cividis",
            f"Full width at half maximum of the Gaussian that, applied to the fine scan, comes nearest to the {what}; "
            f"windows of {size}. Dark is sharp; 0 is as sharp as the fine scan. Noise of the fine scan adds to it.",
        ),
        (
            "Detail: shortest period in common",
            DETAIL[ndim],
            "nm",
            "cividis",
            f"Period down to which the {what} agrees with the fine scan ({correlation}), in the same windows. Dark is "
            f"fine. Invented detail agrees with nothing and does not help. {empty}",
        ),
        (
            "Likeness: MS-SSIM",
            "ms_ssim",
            "",
            "cividis_r",
            f"MS-SSIM with the fine scan in the same windows ({scales}). Dark is alike.",
        ),
    ]


def _over_windows(
    title: str,
    key: str,
    unit: str,
    colours: str,
    note: str,
    place: PlaceMaps,
    local: LocalJudgement,
    facts: Mapping[str, Any],
) -> rp.Figure:
    maps = {name: local.maps(name)[key] for name in local.sigma_nm}
    spreads = {name: facts["images"][name][key] for name in maps}
    medians = [_rounded(spread["median"], unit) for spread in spreads.values()]
    headings = list(maps) if place.at else [f"{n}, median {m}" for n, m in zip(maps, medians, strict=True)]
    if place.at:  # there a heading stands beside its row, and has to be short
        told = ", ".join(f"{n} {m}" for n, m in zip(maps, medians, strict=True))
        note = f"{note} Medians: {told}."
    figure = place_figure(
        title,
        place,
        {head: painted(v, local.windows) for head, v in zip(headings, maps.values(), strict=True)},
        [p / 2 for p in local.grid.pixel_size_nm],
        window=_window(maps),
        colours=colours,
        unit=unit,
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


def _rounded(value: float | None, unit: str) -> str:
    if value is None:
        return "not known"
    return length(value) if unit == "nm" else f"{value:.3g}"
