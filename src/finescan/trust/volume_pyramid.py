"""Multi-scale SSIM of two volumes in one pass: slices go in, maps come out, and every scale keeps eleven slices.

Because each scale is fed slice by slice, nothing depends on how the volumes were cut into slabs: the numbers are those
of the whole volume, bit by bit, with the memory of a few dozen slices (and of the finest map's slices that wait for
the coarsest scale, about six coarsest voxels deep).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from finescan.trust.volume_kernels import MOMENTS, fuse, halve, moments_along_z, similarity, threads_for

Floats = NDArray[np.float32]
Array = NDArray[np.float64]
Emit = Callable[[int, Floats], None]

SIGMA, RADIUS = 1.5, 5  # an 11 x 11 x 11 window
K1, K2 = 0.01, 0.03
WINDOW = 2 * RADIUS + 1
_SETS = 3


def gaussian_taps(sigma: float, radius: int) -> Array:
    """Sampled Gaussian of ``2 radius + 1`` taps that add up to one."""
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(taps / taps.sum(), np.float64)


def mirrored(i: int, n: int) -> int:
    """Index with the border repeated: d c b a | a b c d | d c b a."""
    while not 0 <= i < n:
        i = -i - 1 if i < 0 else 2 * n - 1 - i
    return i


@dataclass
class Scale:
    """One scale: a ring of eleven slices, the sums of its score, and what waits to be multiplied into the fused map.

    Parameters
    ----------
    shape : of the volume at this scale.
    c1, c2 : SSIM's constants.
    weight : exponent of this scale.
    coarser : the next scale, or None.
    on_ssim, on_fused : called with (slice number, map) as the slices of the SSIM map and of the map fused from this
        scale down are ready, in order; None = not wanted.
    """

    shape: tuple[int, int, int]
    c1: float
    c2: float
    weight: float
    coarser: Scale | None = None
    on_ssim: Emit | None = None
    on_fused: Emit | None = None
    totals: Array = field(default_factory=lambda: np.zeros(_SETS))
    _come: int = 0
    _done: int = 0
    _waiting: list[tuple[int, Floats]] = field(default_factory=list)
    _ready: dict[int, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows, columns = self.shape[1:]
        self._ring = np.zeros((_SETS, WINDOW, rows, columns), np.float32)
        self._moments = np.empty((rows, MOMENTS, columns))
        self._taps = gaussian_taps(SIGMA, RADIUS)
        if self.coarser is not None and self.on_fused is not None:
            self.coarser.on_fused = self._fused_below

    def push(self, x: Floats, y: Floats, w: Floats) -> None:
        """The next slice; everything that it completes is emitted."""
        ring, n = self._ring, self._come
        ring[:, n % WINDOW] = x, y, w
        self._come += 1
        last = self._come == self.shape[0]
        while self._done < self._come and (last or self._done + RADIUS < self._come):
            self._emit(self._done)
            self._done += 1
        if self.coarser is not None and (n % 2 or last):
            self.coarser.push(*self._halved([n - 1, n] if n % 2 else [n]))

    @property
    def mean_ssim(self) -> float:
        """Weighted mean of SSIM away from the border; nan if nothing counts there."""
        return float(self.totals[1] / self.totals[0]) if self.totals[0] > 0 else float("nan")

    @property
    def mean_structure(self) -> float:
        """Weighted mean of the contrast-structure term away from the border."""
        return float(self.totals[2] / self.totals[0]) if self.totals[0] > 0 else float("nan")

    def _emit(self, z: int) -> None:
        depth, rows, columns = self.shape
        order = np.array([mirrored(z + k, depth) % WINDOW for k in range(-RADIUS, RADIUS + 1)])
        ssim, structure = np.empty((rows, columns), np.float32), np.empty((rows, columns), np.float32)
        sums = np.empty((rows, _SETS))
        x, y, w = self._ring
        with threads_for(rows * columns):
            moments_along_z(x, y, w, order, self._taps, self._moments)
            similarity(self._moments, w[z % WINDOW], self._taps, self.c1, self.c2, ssim, structure, sums)
        if RADIUS <= z < depth - RADIUS:
            self.totals += sums.sum(axis=0)
        if self.on_ssim is not None:
            self.on_ssim(z, ssim)
        if self.on_fused is not None:
            term = structure if self.coarser is not None else ssim
            self._waiting.append((z, np.maximum(term, 0) ** np.float32(self.weight)))
            self._flush()

    def _halved(self, slices: Sequence[int]) -> tuple[Floats, Floats, Floats]:
        rows, columns = (-(-n // 2) for n in self.shape[1:])
        out = np.empty((_SETS, rows, columns), np.float32)
        x, y, w = self._ring[:, [s % WINDOW for s in slices]]
        halve(x, y, w, out[0], out[1], out[2])
        return out[0], out[1], out[2]

    def _fused_below(self, z: int, values: Floats) -> None:
        self._ready[z] = values
        self._flush()

    def _flush(self) -> None:
        """Emit the fused slices whose coarser neighbours are there."""
        assert self.on_fused is not None
        while self._waiting:
            z, own = self._waiting[0]
            if self.coarser is not None:
                near = z // 2
                far = min(max(near + (1 if z % 2 else -1), 0), self.coarser.shape[0] - 1)
                if near not in self._ready or far not in self._ready:
                    return
                out = np.empty_like(own)
                fuse(own, self._ready[near], self._ready[far], out)
                self._ready.pop(near - 2, None)
                own = out
            self._waiting.pop(0)
            self.on_fused(z, own)


def pyramid(
    shape: tuple[int, int, int],
    data_range: float,
    weights: Sequence[float],
    *,
    on_ssim: Emit | None = None,
    on_fused: Emit | None = None,
) -> list[Scale]:
    """As many scales as there are weights, fine to coarse and linked; slices are pushed into the first."""
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    shapes = [tuple(-(-n // 2**k) for n in shape) for k in range(len(weights))]
    scales: list[Scale] = []
    coarser: Scale | None = None
    for k in reversed(range(len(weights))):
        first = k == 0
        depth, rows, columns = shapes[k]
        fused = on_fused if first else (_nowhere if on_fused is not None else None)
        scale = Scale((depth, rows, columns), c1, c2, float(weights[k]), coarser, on_ssim if first else None, fused)
        scales.insert(0, scale)
        coarser = scale
    return scales


def _nowhere(z: int, values: Floats) -> None:
    """Stands for the next finer scale until that is linked."""
