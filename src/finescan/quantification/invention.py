"""Periods that an enhanced image has and the coarse scan does not vouch for.

Every significant peak of the enhanced image's spectrum gets one verdict:

supported     the coarse spectrum has it too.
replica       it lies a sampling frequency of the coarse scan away from a supported peak (or from zero): an artefact of
              the interpolation, as nearest-neighbour enlargement makes them.
extrapolated  beyond the coarse scan's band or below its noise, but at a whole-number combination of supported periods:
              a harmonic. The lattice is real, the height of this harmonic is the network's opinion.
contradicted  within the band, and so strong that the coarse scan would have shown it, but it shows nothing or a wave
              of less than a quarter of the amplitude.
invented      none of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.quantification.spectrum import (
    FALSE_ALARMS,
    LEAST_SHARE,
    TOLERANCE,
    Peaks,
    Spectrum,
    order_of,
    reciprocal_basis,
    spectrum,
    spectrum_peaks,
)
from finescan.values import Image

Array = NDArray[np.float64]

VERDICTS = ("supported", "extrapolated", "replica", "contradicted", "invented")
DOUBTED = ("replica", "contradicted", "invented")
PLACES = 9  # independent bins in which a period of known place is looked for
BAND = 0.95  # of the coarse scan's highest frequency: beyond, pixels hardly show a wave
INFLATED = 4.0  # ratio of amplitudes from which on one image does not vouch for the other
PER_ORDER = 0.4  # bins per order by which a harmonic may miss its place: distortions and faults split high orders
USUAL_ORDER = 3
ORDERS = 3  # multiples of the coarse sampling frequency at which replicas are looked for


@dataclass(frozen=True)
class Invention:
    """The verdicts on the periods of an enhanced image.

    Parameters
    ----------
    peaks : of the enhanced image.
    verdict : (n,) index into :data:`VERDICTS`.
    coarse_amplitude : (n,) grey levels of the coarse scan at the same frequency; NaN beyond its band.
    order : (n, 2) whole numbers in terms of ``basis``; 0, 0 where a peak is no combination.
    basis : (2, 2) reciprocal vectors of the supported periods (y, x), cycles per nm, one per row; None without a
        lattice.
    lost : frequencies (m, 2) of significant coarse periods that the enhanced image has no more.
    by_chance : share of the frequencies that lie on a combination by accident: so likely is it that an invented period
        is called extrapolated.
    """

    peaks: Peaks
    verdict: NDArray[np.int64]
    coarse_amplitude: Array
    order: NDArray[np.int64]
    basis: Array | None
    lost: Array
    by_chance: float

    def of(self, *verdicts: str) -> NDArray[np.bool_]:
        """(n,) which peaks have one of the verdicts."""
        return np.isin(self.verdict, [VERDICTS.index(v) for v in verdicts])

    @property
    def doubted(self) -> NDArray[np.bool_]:
        """(n,) which peaks the coarse scan speaks against or knows nothing of."""
        return self.of(*DOUBTED)

    def table(self) -> dict[str, NDArray]:
        """One row per peak, strongest first, for CSV: period in pm, frequency in cycles per nm, amplitudes in grey."""
        f = self.peaks.frequency
        return {
            "verdict": np.array(VERDICTS)[self.verdict],
            "period_pm": 1e3 / np.linalg.norm(f, axis=1),
            "y_per_nm": f[:, 0],
            "x_per_nm": f[:, 1],
            "amplitude": self.peaks.amplitude,
            "coarse_amplitude": self.coarse_amplitude,
            "excess": self.peaks.excess,
            "first_order": self.order[:, 0],
            "second_order": self.order[:, 1],
        }

    def summary(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "peaks": len(self.peaks),
            **{v: int(np.sum(self.verdict == k)) for k, v in enumerate(VERDICTS)},
            "lost": len(self.lost),
            "false_alarms": self.peaks.false_alarms,
            "threshold": self.peaks.threshold,
            "by_chance": self.by_chance,
            "doubted_pm": (1e3 / np.linalg.norm(self.peaks.frequency[self.doubted], axis=1)).tolist(),
        }

    def __str__(self) -> str:
        s = self.summary()
        said = [f"{s[v]} {v}" for v in VERDICTS if s[v]] + ([f"{s['lost']} lost"] if s["lost"] else [])
        t = self.table()
        worst = [f"{_length(t['period_pm'][k])} ({t['verdict'][k]})" for k in np.flatnonzero(self.doubted)[:5]]
        return f"{len(self.peaks)} periods: {', '.join(said) or 'none'}" + (f"; {', '.join(worst)}" if worst else "")


def _length(pm: float) -> str:
    """Periods of atoms in pm, longer ones in nm or µm."""
    return f"{pm:.0f} pm" if pm < 1e4 else f"{pm / 1e3:.4g} nm" if pm < 1e6 else f"{pm / 1e6:.4g} µm"


def find_inventions(
    enhanced: Image, coarse: Image, *, false_alarms: float = FALSE_ALARMS, least_share: float = LEAST_SHARE
) -> Invention:
    """Ask the coarse scan about every period of an enhanced image of the same field.

    Parameters
    ----------
    enhanced : any method's result.
    coarse : the scan it was made from, as recorded.
    false_alarms : expected number of periods that noise alone makes in the enhanced image, at most; a period whose
        place is known counts as supported by the coarse scan when noise would exceed it with this probability at most.
    least_share : periods whose amplitude is a smaller share of the strongest one's are not judged.

    Raises
    ------
    InputError : images of different fields, or an enhanced image that is coarser.
    """
    _require_same_field(enhanced, coarse)
    ours, theirs = spectrum(enhanced), spectrum(coarse)
    peaks = spectrum_peaks(ours, false_alarms=false_alarms, least_share=least_share)
    threshold = float(np.log(PLACES / false_alarms))
    excess, amplitude = theirs.near(peaks.frequency)
    inside = (np.abs(peaks.frequency) <= BAND * theirs.nyquist).all(1)
    amplitude = np.where(inside, amplitude, np.nan)
    # a wave of half the enhanced amplitude would have stood this far out of the coarse scan's noise
    would = (peaks.amplitude / 2 / np.maximum(amplitude, 1e-300)) ** 2 * np.maximum(excess, 1e-300)
    enough = (excess > threshold) & (peaks.amplitude < INFLATED * amplitude)
    supported, against = inside & enough, inside & ~enough & (would > threshold)
    basis = _basis(peaks, supported)
    order, harmonic = _orders(peaks, basis)
    replica = _replicas(peaks, supported, theirs)
    verdict = np.select(
        [supported, replica, against, harmonic],
        [VERDICTS.index(v) for v in ("supported", "replica", "contradicted", "extrapolated")],
        VERDICTS.index("invented"),
    )
    return Invention(
        peaks, verdict.astype(np.int64), amplitude, np.where(harmonic[:, None], order, 0), basis,
        _lost(theirs, ours, false_alarms), _by_chance(basis, peaks.step),
    )  # fmt: skip


def _require_same_field(enhanced: Image, coarse: Image) -> None:
    factor = coarse.grid.sr_factor(enhanced.grid) if coarse.grid.ndim == enhanced.grid.ndim else (0.0,)
    extents = zip(enhanced.grid.extent_nm, coarse.grid.extent_nm, coarse.grid.pixel_size_nm, strict=False)
    if min(factor) < 0.99 or any(abs(a - b) > p for a, b, p in extents):
        raise InputError(
            f"Periods are compared in two images of one field, the second the coarser one, but {enhanced.name} is "
            f"{enhanced.grid} and {coarse.name} is {coarse.grid}. Pass the scan that the enhanced image was made from."
        )


def _basis(peaks: Peaks, supported: NDArray[np.bool_]) -> Array | None:
    try:
        return reciprocal_basis(peaks.only(supported))
    except InputError:
        return None


def _orders(peaks: Peaks, basis: Array | None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Order (n, 2) of every peak and whether it lies there."""
    if basis is None:
        return np.zeros((len(peaks), 2), np.int64), np.zeros(len(peaks), bool)
    order, miss = order_of(peaks.frequency, basis, peaks.step)
    return order, miss <= _reach(np.abs(order).max(1, initial=0), basis, peaks.step)


def _reach(order: NDArray[np.int64] | int, basis: Array, step: Array) -> Array:
    """Bins by which a harmonic of an order may miss its place, at most a quarter of the way to the next one."""
    nearest = float(np.linalg.norm(basis / step, axis=1).min())
    return np.asarray(np.minimum(TOLERANCE + PER_ORDER * order, max(TOLERANCE, 0.25 * nearest)))


def _replicas(peaks: Peaks, supported: NDArray[np.bool_], theirs: Spectrum) -> NDArray[np.bool_]:
    """Whether a peak lies multiples of the coarse sampling frequency from zero or from a supported peak or its twin."""
    sampling = 2 * theirs.nyquist
    known = np.concatenate([np.zeros((1, 2)), peaks.frequency[supported], -peaks.frequency[supported]])
    out = np.zeros(len(peaks), bool)
    for n in np.stack(np.meshgrid(*(np.arange(-ORDERS, ORDERS + 1),) * 2, indexing="ij"), -1).reshape(-1, 2):
        if n.any():
            miss = np.linalg.norm((peaks.frequency[:, None] - known - n * sampling) / peaks.step, axis=-1)
            out |= (miss <= TOLERANCE).any(1)
    return out


def _lost(theirs: Spectrum, ours: Spectrum, false_alarms: float) -> Array:
    """Significant coarse periods of which the enhanced image has less than a quarter."""
    coarse = spectrum_peaks(theirs, false_alarms=false_alarms)
    _, amplitude = ours.near(coarse.frequency)
    return np.asarray(coarse.frequency[INFLATED * amplitude < coarse.amplitude])


def _by_chance(basis: Array | None, step: Array) -> float:
    """Share of the plane that lies near a lattice point of a usual order."""
    if basis is None:
        return 0.0
    return min(1.0, np.pi * float(_reach(USUAL_ORDER, basis, step)) ** 2 / abs(float(np.linalg.det(basis / step))))
