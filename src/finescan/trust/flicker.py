"""Slice flicker: what a network that works on few slices at a time adds from one slice to the next."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.trust.volume_inputs import MaskLike, Volume, mask_slices, paired, single, slab_of

Floats = NDArray[np.float32]

_NOISE = 6.0  # 1 + 4 + 1: variance of a second difference of independent values, over theirs
_MEDIAN = 1.482602  # standard deviation over median of absolute values, for a normal distribution
_SAMPLES = 1 << 22
_LEAST = 3


@dataclass(frozen=True)
class SliceFlicker:
    """Grey-level changes from slice to slice beyond those within the slices.

    Parameters
    ----------
    flicker : standard deviation of what changes independently from slice to slice, grey levels; 0 if there is none.
    excess : its square before it was kept from being negative: power along z less the mean power along y and x.
    ratio : power along z over the mean power along y and x; 1 for noise that is the same in all directions.
    power : along (z, y, x): mean squared second difference over six (white noise: its variance), grey levels squared.
    typical : ``flicker`` from medians instead of means: steep places, which are few, have no part in it.
    brightness : standard deviation of the offset of whole slices from slice to slice, grey levels.
    voxels : that counted.
    """

    flicker: float
    excess: float
    ratio: float
    power: tuple[float, float, float]
    typical: float
    brightness: float
    voxels: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "power": list(self.power)}

    def __str__(self) -> str:
        return f"slice flicker: {self.flicker:.4g} grey levels, power along z over that within slices {self.ratio:.3f}"


def slice_flicker(volume: Volume, *, reference: Volume | None = None, mask: MaskLike = None) -> SliceFlicker:
    """How much a volume changes from slice to slice beyond what it changes within slices.

    Second differences ``v[i-1] - 2 v[i] + v[i+1]`` along each axis see only the finest structure. Their mean square
    over six is the variance of noise; what they are larger along z than along y and x was added slice by slice:
    offsets of slices with standard deviation s give ``flicker = s``, isotropic noise and isotropic structure give 0.

    With a reference (the truth, or the volume before processing) the difference of both is measured, so that structure
    which is not the same in all directions cancels; without one the specimen should look alike along z and within
    slices, and voxels should be cubes. The noise of filtered back-projection is *not* the same in all directions: it is
    smoother along z (ratio 0.7 to 0.85), which hides flicker of less than that; compare ``ratio`` with that of the
    volume before processing. Slices are read once; three of them are kept.

    Parameters
    ----------
    volume : (z, y, x) array, memory map, zarr array or Image; NaN = unknown.
    reference : of the same shape; None = the volume alone is measured.
    mask : voxels that count: a Circle (the volumes must be Images), (y, x) or (z, y, x) bool; None = all.

    Raises
    ------
    InputError : other shapes, fewer than three slices, rows or columns, nothing to count.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(40, 40, 40))
    >>> steps = np.random.default_rng(1).normal(scale=2.0, size=(40, 1, 1))
    >>> bool(slice_flicker(noise).flicker < 0.3), bool(1.5 < slice_flicker(noise + steps).flicker < 2.5)
    (True, True)
    """
    shape, slices = _slices(volume, reference, mask)
    if min(shape) < _LEAST:
        raise InputError(f"Flicker needs at least {_LEAST} slices, rows and columns, but the volume is {shape}.")
    sums, counts = np.zeros(3), np.zeros(3)
    step = max(1, math.ceil(math.prod(shape) / _SAMPLES))
    samples: tuple[list[Floats], ...] = ([], [], [])
    means, held = [], deque[Floats](maxlen=3)
    for values in slices:
        held.append(values)
        known = np.isfinite(values)
        means.append(float(values[known].mean(dtype=np.float64)) if known.any() else math.nan)
        if len(held) < 3:
            continue
        for axis, change in enumerate(_second_differences(*held)):
            sums[axis] += float(np.square(change, dtype=np.float64).sum())
            counts[axis] += change.size
            samples[axis].append(np.abs(change[len(means) % step :: step]))
    if not counts.all():
        raise InputError("No voxel inside the mask has known neighbours along all axes. Check the mask.")
    power = sums / counts / _NOISE
    excess = float(power[0] - power[1:].mean())
    return SliceFlicker(
        flicker=math.sqrt(max(excess, 0.0)),
        excess=excess,
        ratio=_ratio(power),
        power=(float(power[0]), float(power[1]), float(power[2])),
        typical=_typical(samples),
        brightness=_steps(np.array(means)),
        voxels=int(counts[0]),
    )


def _slices(volume: Volume, reference: Volume | None, mask: MaskLike) -> tuple[tuple[int, ...], Iterator[Floats]]:
    """Shape, and slice after slice of the volume (less the reference); NaN where it does not count."""
    if reference is not None:
        both = paired(volume, reference, mask)
        return both.shape, (np.where(w > 0, x - y, np.float32(np.nan)) for x, y, w in both.slices())
    data, inside = single(volume, mask)
    return tuple(int(n) for n in data.shape), _masked(data, inside)


def _masked(data: Any, mask: Any) -> Iterator[Floats]:
    step = slab_of(data.shape)
    for first in range(0, data.shape[0], step):
        slab, inside = np.asarray(data[first : first + step]), mask_slices(mask, first, first + step)
        for k, values in enumerate(slab):
            v = values.astype(np.float32)
            yield np.where(np.isfinite(v) & inside[k % len(inside)], v, np.float32(np.nan))


def _second_differences(before: Floats, v: Floats, after: Floats) -> tuple[Floats, Floats, Floats]:
    """Along z, y and x in the middle of three slices, flat and without unknown ones."""
    inner = v[1:-1, 1:-1]
    along = (
        before[1:-1, 1:-1] - 2 * inner + after[1:-1, 1:-1],
        v[:-2, 1:-1] - 2 * inner + v[2:, 1:-1],
        v[1:-1, :-2] - 2 * inner + v[1:-1, 2:],
    )
    known = np.isfinite(along[0]) & np.isfinite(along[1]) & np.isfinite(along[2])
    return along[0][known], along[1][known], along[2][known]


def _ratio(power: NDArray[np.float64]) -> float:
    within = float(power[1:].mean())
    if within > 0:
        return float(power[0]) / within
    return 1.0 if power[0] == 0 else math.inf


def _typical(samples: tuple[list[Floats], ...]) -> float:
    z, y, x = ((_MEDIAN * float(np.median(np.concatenate(s)))) ** 2 / _NOISE for s in samples)
    return math.sqrt(max(z - (y + x) / 2, 0.0))


def _steps(means: NDArray[np.float64]) -> float:
    change = np.diff(means, n=2)
    change = change[np.isfinite(change)]
    return math.sqrt(float(np.mean(change**2)) / _NOISE) if change.size else 0.0
