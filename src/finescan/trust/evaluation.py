"""evaluate(): contestants against a reference on held-out tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust.blocks import VALID_SHARE, blocks, checked_tiles, mean_and_error, nearness, paired_gain
from finescan.trust.consistency import Consistency, consistency_map
from finescan.trust.domain import grey_distance
from finescan.trust.metrics import METRICS, decibel, fit_line
from finescan.trust.report import Block, Gain, Score, TrustReport
from finescan.trust.resolution import THRESHOLDS, radial_spectrum, ring_correlation
from finescan.trust.verdict import judge
from finescan.values import Grid, Image, Region

EDGE_SHARE = 0.10  # steepest pixels of the reference
EXTREME_SHARE = 0.05  # brightest and darkest pixels of the reference
CAP_DB = 120.0
_STEEP_PX, _CALM_PX = 1.5, 2.0  # the reference is noisy: steepness and grey are taken from smoothed versions
_ENOUGH = 50  # pixels of a subset a block must hold to count

Floats = NDArray[np.floating[Any]]
Images = Mapping[str, Floats]


def evaluate(
    results: Images,
    reference: NDArray[Any],
    *,
    grid: Grid,
    tiles: Sequence[Region],
    data_range: float,
    mask: NDArray[np.bool_] | None = None,
    baseline: str = "bicubic",
    candidate: str | None = None,
    coarse: Image | None = None,
    consistency: Consistency | None = None,
) -> TrustReport:
    """Judge contestants on fine scan that none of them has seen.

    Parameters
    ----------
    results : contestant -> image on ``grid``; NaN = not available there. A contestant that lacks half of the tiles
        is left out (and listed), unless it is the candidate or the baseline.
    reference : the fine scan on ``grid`` (NaN where it is not).
    grid : of all of them.
    tiles : held-out boxes on ``grid``; must not overlap. Few tiles are halved for the standard errors.
    data_range : grey levels that PSNR, SSIM and ESSIM refer to. Never guessed.
    mask : True where pixels may count (not saturated, well registered); None = all.
    baseline : contestant to beat.
    candidate : contestant that is judged; None = "network" if there is one, else the last.
    coarse, consistency : the coarse scan and the yardstick of :func:`finescan.trust.calibrate`, to say what share of
        each contestant contradicts the coarse scan.

    Returns
    -------
    TrustReport. Every contestant is judged on the same pixels: those where all of them and the reference are known.

    Raises
    ------
    InputError : other shapes, unknown names, no usable tile.

    Examples
    --------
    >>> truth = np.add.outer(np.arange(64.0), np.arange(64.0) % 7)
    >>> grid = Grid.of((64, 64), 10.0)
    >>> noisy = truth + np.random.default_rng(0).normal(0, 1, truth.shape)
    >>> tiles = [Region(grid, (a, b), (a + 32, b + 32)) for a in (0, 32) for b in (0, 32)]
    >>> evaluate({"bicubic": noisy, "network": truth}, truth, grid=grid, tiles=tiles, data_range=70.0).verdict
    'better'
    """
    candidate = candidate or ("network" if "network" in results else list(results)[-1] if results else "")
    images = {k: _floating(v) for k, v in results.items()}
    truth = _floating(reference)
    _check_inputs(images, truth, grid, baseline, candidate)
    regions = checked_tiles(tiles, grid)
    absent = [k for k, v in images.items() if k not in (baseline, candidate) and _known_share(v, regions) < VALID_SHARE]
    images = {k: v for k, v in images.items() if k not in absent}
    used, valid, left_out = _usable(images, truth, regions, mask)
    fits = {k: fit_line(v[valid], truth[valid]) for k, v in images.items()}
    raw, fitted = _measure(images, truth, used, valid, data_range, fits)
    near = nearness(used)
    gains = paired_gains(raw, fitted, near, candidate, baseline, METRICS)
    subsets = _subsets(images, truth, used, valid, data_range, (candidate, baseline))
    gained = gains_per_block(used, raw, candidate, baseline, METRICS)
    verdict, sentence, rule = judge(candidate, baseline, gains, subsets, gained)
    facts = {
        "data_range": float(data_range),
        "n_tiles": len(tiles),
        "n_blocks": len(used),
        "block_px": [list(b.shape) for b in used],
        "left_out_blocks": left_out,
        "left_out_contestants": absent,
        "valid_share": float(valid.sum() / sum(np.prod(b.shape) for b in used)),
        "rule": rule,
        "consistency": _consistency(images, grid, coarse, consistency),
    }
    return TrustReport(
        candidate=candidate,
        baseline=baseline,
        verdict=verdict,
        sentence=sentence,
        scores=score_table(raw, fitted, near),
        gains=gains,
        subsets=subsets,
        blocks=gained,
        curves=_curves(images, truth, used, valid, grid, fits),
        facts=facts,
    )


def _floating(values: NDArray[Any]) -> Floats:
    """float32, or float64 where it already is: blocks are measured in float64, but whole images need not be."""
    array = np.asarray(values)
    return array if array.dtype == np.float64 else array.astype(np.float32, copy=False)


def _check_inputs(images: Images, truth: Floats, grid: Grid, baseline: str, candidate: str) -> None:
    for name in (baseline, candidate):
        if name not in images:
            raise InputError(
                f"The results must hold the baseline and the candidate, but {name!r} is not among "
                f"{', '.join(images) or 'none'}. Pass baseline=… and candidate=…."
            )
    for name, image in {**images, "the reference": truth}.items():
        if image.shape != grid.shape:
            raise InputError(f"All images must lie on the grid of {grid.shape} px, but {name} is {image.shape}.")


def _known_share(image: Floats, tiles: Sequence[Region]) -> float:
    return float(np.mean(np.concatenate([np.isfinite(image[t.slices]).ravel() for t in tiles])))


def _usable(
    images: Images, truth: Floats, tiles: Sequence[Region], mask: NDArray[np.bool_] | None
) -> tuple[list[Region], NDArray[np.bool_], int]:
    """Blocks with enough pixels that are known in all images, these pixels, and the number of blocks left out."""
    known = np.isfinite(truth) if mask is None else np.isfinite(truth) & np.asarray(mask, bool)
    for image in images.values():
        known &= np.isfinite(image)
    every = blocks(tiles)
    used = [b for b in every if known[b.slices].mean() >= VALID_SHARE]
    if not used:
        raise InputError(
            "No held-out tile has half of its pixels known in all results and in the reference. "
            "Check the mask, and that every contestant covers the tiles."
        )
    inside = np.zeros(truth.shape, bool)
    for b in used:
        inside[b.slices] = known[b.slices]
    return used, inside, len(every) - len(used)


Table = dict[str, dict[str, NDArray[np.float64]]]  # contestant -> metric -> one number per block


class Directed(Protocol):
    """A row of a table of metrics."""

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better."""
        ...


def _measure(
    images: Images,
    truth: Floats,
    used: Sequence[Region],
    valid: NDArray[np.bool_],
    data_range: float,
    fits: Mapping[str, tuple[float, float]],
) -> tuple[Table, Table]:
    """contestant -> metric -> one number per block; as is, and after the global fit."""

    def table(adjusted: bool) -> Table:
        out: Table = {}
        for name, image in images.items():
            gain, offset = fits[name] if adjusted else (1.0, 0.0)
            out[name] = {
                m: np.array(
                    [
                        row(
                            gain * image[b.slices] + offset,
                            truth[b.slices],
                            data_range=data_range,
                            mask=valid[b.slices],
                        )
                        for b in used
                    ]
                )
                for m, row in METRICS.items()
            }
        return out

    return table(False), table(True)


def better_by(one: NDArray[np.float64], other: NDArray[np.float64], higher_is_better: bool) -> NDArray[np.float64]:
    """Differences, positive where ``one`` is better; PSNR above 120 dB is rounding and counts as 120 dB here."""
    return np.minimum(one, CAP_DB) - np.minimum(other, CAP_DB) if higher_is_better else other - one


def score_table(raw: Table, fitted: Table, near: NDArray[np.float64]) -> dict[str, dict[str, Score]]:
    """contestant -> metric -> mean over blocks and its standard error."""
    out: dict[str, dict[str, Score]] = {}
    for name, metrics in raw.items():
        out[name] = {}
        for m, values in metrics.items():
            mean, error, n = mean_and_error(values, near)
            m_mean, m_error, _ = mean_and_error(fitted[name][m], near)
            out[name][m] = Score(mean, error, m_mean, m_error, n)
    return out


def paired_gains(
    raw: Table,
    fitted: Table,
    near: NDArray[np.float64],
    candidate: str,
    baseline: str,
    metrics: Mapping[str, Directed],
) -> dict[str, dict[str, Gain]]:
    """metric -> {"raw", "matched"} -> Gain of the candidate over the baseline."""
    return {
        m: {
            kind: paired_gain(better_by(t[candidate][m], t[baseline][m], row.higher_is_better), near)
            for kind, t in (("raw", raw), ("matched", fitted))
        }
        for m, row in metrics.items()
    }


def gains_per_block(
    used: Sequence[Region], raw: Table, candidate: str, baseline: str, metrics: Mapping[str, Directed]
) -> tuple[Block, ...]:
    """The gain of the candidate in every block."""
    gain = {m: better_by(raw[candidate][m], raw[baseline][m], row.higher_is_better) for m, row in metrics.items()}
    return tuple(Block(b.start, b.stop, {m: float(v[k]) for m, v in gain.items()}) for k, b in enumerate(used))


def _subsets(
    images: Images,
    truth: Floats,
    used: Sequence[Region],
    valid: NDArray[np.bool_],
    data_range: float,
    names: tuple[str, str],
) -> dict[str, Any]:
    """PSNR on edges, the brightest and the darkest pixels of the reference, apart from the mean over everything."""
    filled = np.where(np.isfinite(truth), truth, truth[valid].mean())
    steep = ndimage.gaussian_gradient_magnitude(filled, _STEEP_PX)
    calm = ndimage.gaussian_filter(filled, _CALM_PX)
    low, high = np.quantile(calm[valid], (EXTREME_SHARE, 1 - EXTREME_SHARE))
    choice = {
        "edges": valid & (steep >= np.quantile(steep[valid], 1 - EDGE_SHARE)),
        "bright": valid & (calm >= high),
        "dark": valid & (calm <= low),
    }
    return {k: _subset(images, truth, used, c, data_range, names, valid) for k, c in choice.items()}


def _subset(
    images: Images,
    truth: Floats,
    used: Sequence[Region],
    chosen: NDArray[np.bool_],
    data_range: float,
    names: tuple[str, str],
    valid: NDArray[np.bool_],
) -> dict[str, Any]:
    count = np.array([chosen[b.slices].sum() for b in used])
    error = {k: np.array([_squares(v, truth, chosen, b) for b in used]) for k, v in images.items()}
    pooled = {k: decibel(e.sum() / max(count.sum(), 1), data_range) for k, e in error.items()}
    one, other = (
        np.array([decibel(e / n, data_range) if n >= _ENOUGH else np.nan for e, n in zip(error[k], count, strict=True)])
        for k in names
    )
    gain = paired_gain(better_by(one, other, True), nearness(used))
    return {"share": float(chosen.sum() / valid.sum()), "psnr": pooled, "gain": gain}


def _squares(image: Floats, truth: Floats, chosen: NDArray[np.bool_], block: Region) -> float:
    """Sum of squared differences over the chosen pixels of a block."""
    inside = chosen[block.slices]
    d = image[block.slices][inside].astype(np.float64) - truth[block.slices][inside]
    return float(d @ d)


def _curves(
    images: Images,
    truth: Floats,
    used: Sequence[Region],
    valid: NDArray[np.bool_],
    grid: Grid,
    fits: Mapping[str, tuple[float, float]],
) -> dict[str, Any]:
    """Spectra and ring correlations over the blocks without a hole, and grey-level distances over all of them."""
    size = grid.pixel_size_nm
    whole = [b.slices for b in used if valid[b.slices].all()]
    out: dict[str, Any] = {
        "grey": {k: grey_distance(v[valid], truth[valid]).to_dict() for k, v in images.items()},
        "match": {k: list(f) for k, f in fits.items()},
    }
    if not whole:
        return out
    references = [truth[s] for s in whole]
    rings = {k: ring_correlation([v[s] for s in whole], references, size) for k, v in images.items()}
    spectra = {k: radial_spectrum([v[s] for s in whole], size) for k, v in {**images, "reference": truth}.items()}
    out["frequency_per_nm"] = spectra["reference"][0].tolist()
    out["spectrum"] = {k: power.tolist() for k, (_, power) in spectra.items()}
    out["frc"] = {k: r.correlation.tolist() for k, r in rings.items()}
    out["resolution_nm"] = {k: {t: r.resolution_nm(t) for t in THRESHOLDS} for k, r in rings.items()}
    return out


def _consistency(images: Images, grid: Grid, coarse: Image | None, check: Consistency | None) -> dict[str, Any] | None:
    """Share of the covered coarse pixels that each contestant contradicts."""
    if coarse is None or check is None:
        return None
    shares: dict[str, float | None] = {}
    for name, image in images.items():
        residual, bad = consistency_map(Image(image, grid, name), coarse, check)
        covered = np.isfinite(residual)
        shares[name] = float(bad[covered].mean()) if covered.any() else None
    return {**check.to_dict(), "inconsistent_share": shares}
