"""judge_volume(): contestants against a reference on held-out boxes of a volume, box by box."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust.blocks import VALID_SHARE, checked_tiles, nearness, paired_gain
from finescan.trust.domain import grey_distance
from finescan.trust.evaluation import (
    EDGE_SHARE,
    EXTREME_SHARE,
    Table,
    better_by,
    gains_per_block,
    paired_gains,
    score_table,
)
from finescan.trust.metrics import decibel
from finescan.trust.report import TrustReport
from finescan.trust.resolution import THRESHOLDS, shell_correlation, shell_spectrum
from finescan.trust.verdict import judge
from finescan.trust.volume_boxes import Court, Floats, Mask, MaskSource, Source, placed
from finescan.trust.volume_inputs import checked_range
from finescan.trust.volume_metrics import VOLUME_METRICS, VolumeScores, volume_scores
from finescan.trust.volume_pyramid import WINDOW
from finescan.values import Circle, Grid, Region

_STEEP_PX, _CALM_PX = 1.5, 2.0  # the reference is noisy: steepness and grey are taken from smoothed versions
_ENOUGH = 50  # voxels of a subset a block must hold to count
_SAMPLES = 1 << 20  # voxels that quantiles and grey distances are taken from
_LEAST_FOR_SPECTRUM = 16
_SPECTRUM_VOXELS = 1 << 24


def judge_volume(
    results: Mapping[str, Any],
    reference: Any,
    *,
    grid: Grid,
    tiles: Sequence[Region],
    data_range: float,
    mask: Circle | Any | None = None,
    baseline: str = "interpolated",
    candidate: str | None = None,
) -> TrustReport:
    """Judge contestants on a fine volume that none of them has seen: :func:`finescan.trust.evaluate` in 3D.

    Boxes are read one by one, so volumes may be lazy. Scores are those of :func:`finescan.trust.volume_scores`; the
    verdict follows the same rule as for pictures; ``curves`` hold the power over shells of frequency and the Fourier
    shell correlation of each contestant with the reference, whose 0.5 threshold is the customary one against a
    reference that is itself recorded.

    Parameters
    ----------
    results : contestant -> (z, y, x) array or Image on ``grid`` (memory maps and zarr arrays are read box by box), or a
        list with one array per tile. NaN = not available. A contestant that lacks half of the tiles is left out (and
        listed), unless it is the candidate or the baseline.
    reference : the fine volume, in any of these forms (NaN where it is not).
    grid : of all of them, ZYX.
    tiles : held-out boxes on ``grid``; must not overlap. Few tiles are halved for the standard errors.
    data_range : grey levels that PSNR and SSIM refer to. Never guessed.
    mask : voxels that may count: a Circle, or bool (y, x) or (z, y, x) on ``grid``, or one array per tile; None = all.
    baseline : contestant to beat.
    candidate : contestant that is judged; None = "network" if there is one, else the last.

    Returns
    -------
    TrustReport. Every contestant is judged on the same voxels: those where all of them and the reference are known.

    Raises
    ------
    InputError : other shapes, unknown names, no usable tile.

    Examples
    --------
    >>> truth = np.random.default_rng(0).random((32, 64, 64))
    >>> grid = Grid.of(truth.shape, 500.0)
    >>> tiles = [Region(grid, (0, a, b), (32, a + 32, b + 32)) for a in (0, 32) for b in (0, 32)]
    >>> worse = truth + np.random.default_rng(1).normal(0, 0.1, truth.shape)
    >>> judge_volume({"interpolated": worse, "network": truth}, truth, grid=grid, tiles=tiles, data_range=1.0).verdict
    'better'
    """
    candidate = candidate or ("network" if "network" in results else list(results)[-1] if results else "")
    checked_range(data_range)
    for name in (baseline, candidate):
        if name not in results:
            raise InputError(
                f"The results must hold the baseline and the candidate, but {name!r} is not among "
                f"{', '.join(results) or 'none'}. Pass baseline=… and candidate=…."
            )
    boxes = checked_tiles(tiles, grid, WINDOW)
    court = Court(
        {k: Source.of(v, k, grid, boxes) for k, v in results.items()},
        Source.of(reference, "the reference", grid, boxes),
        MaskSource(mask, grid, boxes),
        placed(boxes),
    )
    absent = [k for k in results if k not in (baseline, candidate) and court.known_share(k) < VALID_SHARE]
    court = court.without(absent).usable()
    summary = _Summary.of(court)
    raw, fitted = _measure(court, summary, data_range)
    used = court.regions
    near = nearness(used)
    gains = paired_gains(raw, fitted, near, candidate, baseline, VOLUME_METRICS)
    subsets = _subsets(court, summary, data_range, (candidate, baseline))
    gained = gains_per_block(used, raw, candidate, baseline, VOLUME_METRICS)
    verdict, sentence, rule = judge(candidate, baseline, gains, subsets, gained)
    return TrustReport(
        candidate=candidate,
        baseline=baseline,
        verdict=verdict,
        sentence=sentence,
        scores=score_table(raw, fitted, near),
        gains=gains,
        subsets=subsets,
        blocks=gained,
        curves=_curves(court, summary, grid),
        facts={
            "data_range": float(data_range),
            "n_tiles": len(boxes),
            "n_blocks": len(used),
            "block_px": [list(b.shape) for b in used],
            "left_out_blocks": court.left_out,
            "left_out_contestants": absent,
            "valid_share": summary.voxels / sum(math.prod(b.shape) for b in used),
            "rule": rule,
            "consistency": None,
            "correlation": "shells",
        },
    )


@dataclass(frozen=True)
class _Summary:
    """What has to be known of all blocks before any can be scored.

    Parameters
    ----------
    voxels : known to all.
    fits : contestant -> (gain, offset) of the global least-squares line to the reference.
    grey : contestant -> distance of its grey levels to those of the reference.
    steep, low, high : limits of the edges, the dark and the bright voxels of the reference.
    """

    voxels: int
    fits: dict[str, tuple[float, float]]
    grey: dict[str, dict[str, float]]
    steep: float
    low: float
    high: float

    @classmethod
    def of(cls, court: Court) -> _Summary:
        total = sum(math.prod(b.shape) for b in court.regions)
        step = max(1, total // _SAMPLES)
        sums = {k: np.zeros(5) for k in court.contestants}
        samples: dict[str, list[Floats]] = {k: [] for k in (*court.contestants, "reference", "steep", "calm")}
        voxels, centre = 0, None
        for _, images, truth, valid in court.blocks():
            y = truth[valid].astype(np.float64)
            centre = float(y.mean()) if centre is None else centre
            y -= centre
            voxels += y.size
            for k, image in images.items():
                x = image[valid].astype(np.float64) - centre
                sums[k] += x.sum(), y.sum(), x @ x, x @ y, y @ y
                samples[k].append(image[valid][::step])
            steep, calm = _character(truth, valid)
            for name, values in (("reference", truth), ("steep", steep), ("calm", calm)):
                samples[name].append(values[valid][::step])
        drawn = {k: np.concatenate(v) for k, v in samples.items()}
        low, high = np.quantile(drawn["calm"], (EXTREME_SHARE, 1 - EXTREME_SHARE))
        return cls(
            voxels,
            {k: _line(s, voxels, centre or 0.0) for k, s in sums.items()},
            {k: grey_distance(drawn[k], drawn["reference"]).to_dict() for k in court.contestants},
            float(np.quantile(drawn["steep"], 1 - EDGE_SHARE)),
            float(low),
            float(high),
        )


def _line(sums: NDArray[np.float64], n: int, centre: float) -> tuple[float, float]:
    """Gain and offset of the line to the reference, from sums of levels less ``centre``; gain 1 for a constant."""
    sx, sy, sxx, sxy, _ = sums.tolist()
    spread = sxx - sx * sx / n
    gain = (sxy - sx * sy / n) / spread if spread > 0 else 1.0
    return gain, (sy - gain * sx) / n + centre * (1 - gain)


def _character(truth: Floats, valid: Mask) -> tuple[Floats, Floats]:
    """Steepness and smoothed grey level of the reference in a block."""
    filled = np.where(valid, truth, truth[valid].mean())
    return ndimage.gaussian_gradient_magnitude(filled, _STEEP_PX), ndimage.gaussian_filter(filled, _CALM_PX)


def _measure(court: Court, summary: _Summary, data_range: float) -> tuple[Table, Table]:
    """contestant -> metric -> one number per block; as is, and after the global fit."""
    found: dict[str, tuple[list[VolumeScores], list[VolumeScores]]] = {k: ([], []) for k in court.contestants}
    for _, images, truth, valid in court.blocks():
        for k, image in images.items():
            gain, offset = summary.fits[k]
            for scores, values in zip(found[k], (image, gain * image + offset), strict=True):
                scores.append(volume_scores(values, truth, data_range=data_range, mask=valid))

    def table(which: int) -> Table:
        return {
            k: {m: np.array([row.value(s) for s in both[which]]) for m, row in VOLUME_METRICS.items()}
            for k, both in found.items()
        }

    return table(0), table(1)


def _subsets(court: Court, summary: _Summary, data_range: float, names: tuple[str, str]) -> dict[str, Any]:
    """PSNR on edges, the brightest and the darkest voxels of the reference, apart from the mean over everything."""
    counts: dict[str, list[int]] = {s: [] for s in ("edges", "bright", "dark")}
    errors: dict[str, dict[str, list[float]]] = {s: {k: [] for k in court.contestants} for s in counts}
    for _, images, truth, valid in court.blocks():
        steep, calm = _character(truth, valid)
        chosen = {"edges": steep >= summary.steep, "bright": calm >= summary.high, "dark": calm <= summary.low}
        for s, inside in chosen.items():
            inside = inside & valid
            counts[s].append(int(inside.sum()))
            for k, image in images.items():
                d = image[inside].astype(np.float64) - truth[inside]
                errors[s][k].append(float(d @ d))
    near = nearness(court.regions)
    return {s: _subset(np.array(counts[s]), errors[s], summary.voxels, data_range, names, near) for s in counts}


def _subset(
    count: NDArray[np.int_],
    errors: Mapping[str, Sequence[float]],
    voxels: int,
    data_range: float,
    names: tuple[str, str],
    near: NDArray[np.float64],
) -> dict[str, Any]:
    one, other = (
        np.array(
            [decibel(e / n, data_range) if n >= _ENOUGH else np.nan for e, n in zip(errors[k], count, strict=True)]
        )
        for k in names
    )
    return {
        "share": float(count.sum() / voxels),
        "psnr": {k: decibel(sum(e) / max(int(count.sum()), 1), data_range) for k, e in errors.items()},
        "gain": paired_gain(better_by(one, other, True), near),
    }


def _curves(court: Court, summary: _Summary, grid: Grid) -> dict[str, Any]:
    """Spectra and shell correlations over blocks without a hole, contestant by contestant, and grey distances."""
    out: dict[str, Any] = {"grey": summary.grey, "match": {k: list(f) for k, f in summary.fits.items()}}
    whole = [p for p, _, _, valid in court.blocks() if valid.all() and min(p.region.shape) >= _LEAST_FOR_SPECTRUM]
    room = max(1, _SPECTRUM_VOXELS // max((math.prod(p.region.shape) for p in whole), default=1))
    if not whole:
        return out
    whole = [whole[k] for k in np.unique(np.linspace(0, len(whole) - 1, min(room, len(whole))).round().astype(int))]
    size = grid.pixel_size_nm
    references = [court.reference.read(p) for p in whole]
    frequency, power = shell_spectrum(references, size)
    out |= {"frequency_per_nm": frequency.tolist(), "spectrum": {"reference": power.tolist()}, "frc": {}}
    out["resolution_nm"] = {}
    for k, source in court.contestants.items():
        images = [source.read(p) for p in whole]
        shells = shell_correlation(images, references, size)
        out["spectrum"][k] = shell_spectrum(images, size)[1].tolist()
        out["frc"][k] = shells.correlation.tolist()
        out["resolution_nm"][k] = {t: shells.resolution_nm(t) for t in THRESHOLDS}
    return out
