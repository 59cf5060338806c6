"""The step of a run that tells how far its map is from the sample itself, the noise of the fine scan set aside.

Differences are taken on the recorded pixels of the fine scans: on any other ones their noise would no longer be
independent from pixel to pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.patches import PatchSet, Piece
from finescan.resampling import resample
from finescan.trust import noise_free as nf
from finescan.trust import saturated, saturation_levels
from finescan.trust.interval_blocks import block_side, correlation_length
from finescan.trust.spread_model import SpreadModel
from finescan.values import Grid, Image, Pair, Warp
from finescan.workflow.interval_parts import LARGEST, same_pixels

CLEARLY_OFF = 1.5  # times the error foreseen from other blocks; beyond it the sentence says so

Floats = NDArray[np.float32]
Reads = Callable[[Piece, Grid], Floats]
ROLES = ("train", "stop", "test")
ELSEWHERE = "No fine scan of the pixel size of the result is left to tell its error from noise."


def noise_free_facts(
    patches: PatchSet,
    enhanced: Reads,
    pairs: Sequence[Pair],
    model: SpreadModel,
    correlation_px: float,
    plain: Reads | None = None,
) -> dict[str, Any]:
    """Error of a map against the sample, on the test blocks: plain JSON values, as in ``trust.json``.

    Parameters
    ----------
    enhanced, plain : the map, and the interpolation it is compared with, on the pixels of the result under a piece.
    pairs : registration of the fine scans.
    model : of the spread of the map.
    correlation_px : over which errors are alike.

    Returns
    -------
    "sentence", and where the error can be told: the fields of :class:`finescan.trust.noise_free.NoiseFree`,
    "spread_model" (what tells it from place to place), "foreseen_rms" (what that says of the test blocks), and with
    ``plain`` the error of the interpolation ("interpolation_rms"), "gain_db" and "gain_error_db".
    """
    known = {p.hr.name: p for p in pairs}
    scans = [_Scan(p, known[p.name], enhanced, plain) for p in patches.pieces if _usable(p, known.get(p.name))]
    side = block_side(correlation_px, 2)
    try:
        if not scans:
            raise InputError(ELSEWHERE)
        products = nf.products_of([s.error("test") for s in scans], side)
        sample = nf.fit_noise_free([s.ours for s in scans], [s.error("train", "stop") for s in scans], model)
        sample = _as_on_stop_blocks(sample, scans, side)
    except InputError as e:
        return {"sentence": str(e)}
    rival = None if plain is None else nf.products_of([s.plain_error("test") for s in scans], side)
    foreseen = _foreseen(scans, sample, "test")
    return {
        **_told(products, rival, "test blocks", foreseen),
        "spread_model": sample.to_dict(),
        "foreseen_rms": foreseen,
    }


def noise_free_beside(
    result: Floats, rival: Floats | None, grid: Grid, reference: Image, through: Warp | None
) -> dict[str, Any]:
    """Error of anybody's image against the sample, where a fine scan with its noise shows it; plain JSON values.

    Parameters
    ----------
    result, rival : the image, and the interpolation it is compared with, on ``grid``.
    reference : the fine scan as recorded.
    through : from its frame to that of ``grid``; None = it lies on ``grid``.

    Returns
    -------
    As :func:`noise_free_facts`, without what is foreseen.
    """
    if not same_pixels(reference.grid, grid) or reference.grid.size > LARGEST:
        return {"sentence": ELSEWHERE}
    recorded = reference.array()
    fine = np.where(saturated(recorded, saturation_levels(recorded)), np.float32(np.nan), recorded.astype(np.float32))

    def error(values: Floats) -> Floats:
        image = Image(np.asarray(values, np.float32), grid, "seen")
        if through is None:
            return image.array() - fine
        return resample(image, onto=reference.grid, through=through, antialias=False).array() - fine

    errors = [error(v) for v in (result, rival) if v is not None]
    known = np.logical_and.reduce([np.isfinite(e) for e in errors])
    try:
        side = block_side(correlation_length([(errors[0], known)]), 2)
        products = [nf.products_of([np.where(known, e, np.float32(np.nan))], side) for e in errors]
    except InputError as e:
        return {"sentence": str(e)}
    return _told(products[0], products[1] if rival is not None else None, "blocks")


def _told(ours: nf.Products, rival: nf.Products | None, blocks: str, foreseen: float | None = None) -> dict[str, Any]:
    """Plain JSON values, and the sentence that says them."""
    found = nf.noise_free(ours)
    facts = found.to_dict()
    if rival is not None:
        gain, error = nf.gain_db(ours, rival)
        facts["interpolation_rms"] = nf.noise_free(rival).to_dict()["rms"]
        facts |= {"gain_db": None if math.isnan(gain) else gain, "gain_error_db": None if math.isnan(gain) else error}
    return {**facts, "sentence": _sentence(found, facts, blocks, foreseen)}


class _Scan:
    """A fine scan with the map on its own pixels."""

    def __init__(self, piece: Piece, pair: Pair, enhanced: Reads, plain: Reads | None) -> None:
        self._piece, self._pair = piece, pair
        self.ours = self._on_scan(enhanced(piece, piece.out_grid))
        self._error = self.ours - pair.hr.array()
        self._known = np.isfinite(self._error)
        self._roles = self._on_scan(sum((k + 1) * piece.role_fine(r) for k, r in enumerate(ROLES)), order=0)
        self._plain = None if plain is None else self._on_scan(plain(piece, piece.out_grid)) - pair.hr.array()

    def error(self, *roles: str) -> Floats:
        """Map less recorded pixel; NaN where it is not known, or of another role."""
        return np.where(self._mask(roles), self._error, np.float32(np.nan))

    def plain_error(self, *roles: str) -> Floats:
        """The same of the interpolation, on the same pixels."""
        assert self._plain is not None
        return np.where(self._mask(roles), self._plain, np.float32(np.nan))

    def _mask(self, roles: Sequence[str]) -> NDArray[np.bool_]:
        mask = np.isin(self._roles, [ROLES.index(r) + 1 for r in roles]) & self._known
        return mask if self._plain is None else mask & np.isfinite(self._plain)

    def _on_scan(self, values: Any, order: int = 3) -> Floats:
        image = Image(np.asarray(values, np.float32), self._piece.out_grid, self._piece.name)
        onto, through = self._pair.hr.grid, self._pair.lr_from_hr
        return resample(image, onto=onto, through=through, order=order, antialias=False).array()


def _usable(piece: Piece, pair: Pair | None) -> bool:
    return pair is not None and same_pixels(pair.hr.grid, piece.out_grid) and pair.hr.grid.size <= LARGEST


def _as_on_stop_blocks(sample: SpreadModel, scans: Sequence[_Scan], side: int) -> SpreadModel:
    """The errors foreseen from the training area, brought to the size of those on the stop blocks."""
    try:
        measured = nf.noise_free(nf.products_of([s.error("stop") for s in scans], side)).rms
    except InputError:
        return sample
    foreseen = _foreseen(scans, sample, "stop")
    if math.isnan(measured) or not foreseen > 0:
        return sample
    return replace(sample, typical=sample.typical * measured / foreseen)


def _foreseen(scans: Sequence[_Scan], sample: SpreadModel, role: str) -> float:
    """Root mean square of the errors foreseen for the pixels of a role."""
    squares = [sample.spread(s.ours)[np.isfinite(s.error(role))].astype(np.float64) ** 2 for s in scans]
    return float(np.sqrt(np.concatenate(squares).mean())) if any(v.size for v in squares) else 0.0


def _sentence(found: nf.NoiseFree, facts: Mapping[str, Any], blocks: str, foreseen: float | None) -> str:
    noise = f"Without the noise of the fine scan (± {_grey(found.noise_rms)} grey levels, 1 sigma) the map"
    if math.isnan(found.rms):
        return f"{noise} is off by at most {_grey(found.high)} grey levels (rms); less cannot be told apart from noise."
    rms, low, high = (_grey(v) for v in (found.rms, found.low, found.high))
    error = f"{found.standard_error:.0f}" if found.standard_error >= 10 else f"{found.standard_error:.2g}"
    off = f"is off by {rms} ± {error} grey levels (rms on {found.blocks} {blocks}"
    said = f"{noise} {off}; between {low} and {high} whatever the shape of its errors)"
    if facts.get("gain_db") is not None:
        gain = f"{facts['gain_db']:+.1f} ± {facts['gain_error_db']:.1f} dB"
        said += f", interpolation by {_grey(facts['interpolation_rms'])}: {gain}"
    if foreseen and found.rms > CLEARLY_OFF * foreseen:
        said += f". That is {found.rms / foreseen:.1f} times what other blocks foretold"
    return said + "."


def _grey(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
