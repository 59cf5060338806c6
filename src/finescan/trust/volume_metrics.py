"""How alike two volumes are: MSE, PSNR, SSIM and MS-SSIM with local maps, slab by slice, in one pass.

All measures count the voxels inside the mask that both volumes know; the others have no influence and are NaN in the
maps. Voxels are taken as float32, sums are float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.trust.metrics import VOLUME_MS_WEIGHTS, decibel
from finescan.trust.volume_inputs import Both, MaskLike, Volume, checked_range, paired
from finescan.trust.volume_kernels import pair_sums
from finescan.trust.volume_pyramid import WINDOW, Scale, pyramid

_SUMS = 7


@dataclass(frozen=True)
class VolumeScores:
    """How alike a volume and its reference are.

    Parameters
    ----------
    mse : mean squared difference, grey levels squared.
    psnr : dB, of ``data_range``; inf for identical volumes.
    matched_psnr : dB, after the least-squares ``gain * result + offset``.
    gain, offset : of that fit.
    ssim : mean structural similarity, 5 voxels of border left out.
    ms_ssim : product over the scales.
    weights : of the scales, fine to coarse; their number says how many scales fitted into the volume and the mask.
    voxels : that counted.
    unknown : voxels inside the mask that one of the volumes does not know (NaN), which did not count.
    """

    mse: float
    psnr: float
    matched_psnr: float
    gain: float
    offset: float
    ssim: float
    ms_ssim: float
    weights: tuple[float, ...]
    voxels: int
    unknown: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "weights": list(self.weights)}

    def __str__(self) -> str:
        return (
            f"MSE {self.mse:.4g}, PSNR {self.psnr:.2f} dB ({self.matched_psnr:.2f} matched), SSIM {self.ssim:.4f}, "
            f"MS-SSIM {self.ms_ssim:.4f} ({len(self.weights)} scales)"
        )


@dataclass(frozen=True)
class SimilarityMaps:
    """Local similarity of two volumes.

    Parameters
    ----------
    ssim : the map of the finest scale, which is the plain SSIM map; -1 to 1, NaN outside.
    fused : all scales in one map, 0 to 1, NaN outside. From coarse to fine: contrast-structure (with luminance at the
        coarsest scale), negative values as 0, to the power of the scale's weight, times the coarser scales' product
        interpolated linearly to the voxels.
    scores : the scores of the same pass.
    """

    ssim: Any
    fused: Any
    scores: VolumeScores


def volume_scores(
    result: Volume,
    reference: Volume,
    *,
    data_range: float,
    mask: MaskLike = None,
    slab: int | None = None,
    weights: Sequence[float] = VOLUME_MS_WEIGHTS,
) -> VolumeScores:
    """MSE, PSNR (also after a gain/offset fit), SSIM and MS-SSIM of a volume, in one pass over slabs.

    SSIM has a Gaussian window of sigma 1.5 voxels (11 x 11 x 11), population covariance, and leaves 5 voxels of
    border out of the mean: the number of scikit-image with ``gaussian_weights=True, use_sample_covariance=False``.
    MS-SSIM: contrast-structure at every scale, luminance at the coarsest only; each scale is the mean of 2 x 2 x 2
    voxels of the one before; means over voxels, weighted by the share of them that counts. Five scales where the volume
    has 161 voxels per axis or more; smaller ones get as many scales as have 11 voxels, the weights scaled to the same
    sum. A negative mean counts as 0.

    Parameters
    ----------
    result, reference : (z, y, x) array, memory map, zarr array or Image; NaN = unknown.
    data_range : grey levels that PSNR and SSIM refer to. Never guessed.
    mask : voxels that count: a Circle (the volumes must be Images), (y, x) or (z, y, x) bool; None = all.
    slab : slices read at a time; no number depends on it. None = 64, fewer where slices are large.
    weights : of the scales, fine to coarse.

    Raises
    ------
    InputError : other shapes, no data range, nothing to count, fewer than 11 voxels along an axis.

    Source: Wang, Simoncelli, Bovik 2003, doi:10.1109/ACSSC.2003.1292216; weights as documented for MATLAB's
    multissim3, which Bukka et al. 2025 (doi:10.1515/mim-2024-0017) used.

    Examples
    --------
    >>> truth = np.add.outer(np.arange(16.0), np.add.outer(np.arange(16.0), np.arange(16.0) % 5))
    >>> volume_scores(truth + 0.5, truth, data_range=34.0).mse
    0.25
    """
    both = paired(result, reference, mask, slab)
    return _pass(both, checked_range(data_range), weights, None, None)


def ms_ssim_maps(
    result: Volume,
    reference: Volume,
    *,
    data_range: float,
    mask: MaskLike = None,
    slab: int | None = None,
    weights: Sequence[float] = VOLUME_MS_WEIGHTS,
    ssim_out: Any = None,
    fused_out: Any = None,
) -> SimilarityMaps:
    """Maps of local similarity: the finest scale's and that of all scales fused, slab by slab.

    MATLAB's multissim3 gives one map per scale and the publication shows "the" map without saying which; so both the
    finest and the fused one are made, under their names.

    Parameters
    ----------
    result, reference, data_range, mask, slab, weights : as for :func:`volume_scores`.
    ssim_out, fused_out : arrays of the volume's shape to write to, e.g. zarr or memory maps (written in slabs of
        ``slab`` slices, in order); None = new float32 arrays.
    """
    both = paired(result, reference, mask, slab)
    ssim_out, fused_out = (_target(out, both.shape) for out in (ssim_out, fused_out))
    scores = _pass(both, checked_range(data_range), weights, ssim_out, fused_out)
    return SimilarityMaps(ssim_out, fused_out, scores)


def ssim_map(
    result: Volume,
    reference: Volume,
    *,
    data_range: float,
    mask: MaskLike = None,
    slab: int | None = None,
    out: Any = None,
) -> Any:
    """The plain SSIM map (float32, -1 to 1, NaN outside); parameters as for :func:`ms_ssim_maps`."""
    both = paired(result, reference, mask, slab)
    out = _target(out, both.shape)
    _pass(both, checked_range(data_range), (1.0,), out, None)
    return out


def fitting_weights(shape: Sequence[int], weights: Sequence[float] = VOLUME_MS_WEIGHTS) -> tuple[float, ...]:
    """The weights of as many scales as have 11 voxels along every axis, with the sum of all."""
    fits = [w for k, w in enumerate(weights) if -(-min(shape) // 2**k) >= WINDOW]
    if not fits:
        raise InputError(
            f"SSIM needs at least {WINDOW} voxels along every axis, but the volume is {tuple(shape)}. "
            "Judge a thicker volume."
        )
    scale = sum(weights) / sum(fits) if len(fits) < len(weights) else 1.0
    return tuple(w * scale for w in fits)


class _Writer:
    """Collects slices that come in order and writes them in slabs, so that whole chunks are written."""

    def __init__(self, target: Any, shape: tuple[int, int, int], slab: int) -> None:
        self._target, self._depth = target, shape[0]
        self._held = np.empty((min(slab, shape[0]), *shape[1:]), np.float32)
        self._count = 0

    def __call__(self, z: int, values: NDArray[np.float32]) -> None:
        self._held[self._count] = values
        self._count += 1
        if self._count == len(self._held) or z == self._depth - 1:
            self._target[z + 1 - self._count : z + 1] = self._held[: self._count]
            self._count = 0


def _target(out: Any, shape: tuple[int, int, int]) -> Any:
    if out is None:
        return np.empty(shape, np.float32)
    if tuple(out.shape) != shape:
        raise InputError(f"A map of shape {shape} is written, but a target of {tuple(out.shape)} came.")
    return out


def _pass(both: Both, data_range: float, weights: Sequence[float], ssim_out: Any, fused_out: Any) -> VolumeScores:
    """Everything at once: sums, scores and maps."""
    used = fitting_weights(both.shape, weights)
    writers = [None if out is None else _Writer(out, both.shape, both.slab) for out in (ssim_out, fused_out)]
    scales = pyramid(both.shape, data_range, used, on_ssim=writers[0], on_fused=writers[1])
    sums, centre = np.zeros(_SUMS), None
    rows = np.empty((both.shape[1], _SUMS))
    for x, y, w in both.slices():
        if centre is None and w.any():
            centre = float(y[w > 0].mean(dtype=np.float64))  # of the first slice that counts
        pair_sums(x, y, w, centre or 0.0, rows)
        sums += rows.sum(axis=0)
        scales[0].push(x, y, w)
    if sums[0] == 0:
        raise InputError(
            "No voxel inside the mask is known in both volumes, so nothing can be compared. Check the mask, and that "
            "both volumes lie on one grid."
        )
    return _scores(sums, centre or 0.0, scales, used, data_range, both.masked_voxels())


def _scores(
    sums: NDArray[np.float64],
    centre: float,
    scales: Sequence[Scale],
    weights: tuple[float, ...],
    data_range: float,
    masked: int,
) -> VolumeScores:
    n, sx, sy, sxx, syy, sxy, squared = sums.tolist()
    spread, together = sxx - sx * sx / n, sxy - sx * sy / n
    gain = together / spread if spread > 0 else 1.0
    offset = (sy - gain * sx) / n + centre * (1 - gain)
    left = max(syy - sy * sy / n - gain * (2 * together - gain * spread), 0.0)
    # where the mask is thin, coarse scales may hold nothing that counts
    known = next((k for k, s in enumerate(scales) if math.isnan(s.mean_ssim)), len(scales))
    means = [s.mean_ssim if k == known - 1 else s.mean_structure for k, s in enumerate(scales[:known])]
    terms = [max(m, 0.0) for m in means]
    weights = tuple(w * sum(weights) / sum(weights[:known]) for w in weights[:known])
    return VolumeScores(
        mse=squared / n,
        psnr=decibel(squared / n, data_range),
        matched_psnr=decibel(left / n, data_range),
        gain=gain,
        offset=offset,
        ssim=scales[0].mean_ssim,
        ms_ssim=math.prod(t**w for t, w in zip(terms, weights, strict=True)) if terms else math.nan,
        weights=weights,
        voxels=int(n),
        unknown=masked - int(n),
    )


@dataclass(frozen=True)
class VolumeMetric:
    """One row of :data:`VOLUME_METRICS`: the score, whether more is better, its ideal value, its unit."""

    value: Callable[[VolumeScores], float]
    higher_is_better: bool
    ideal: float
    unit: str

    def __call__(self, result: Volume, reference: Volume, *, data_range: float, mask: MaskLike = None) -> float:
        """The number."""
        return self.value(volume_scores(result, reference, data_range=data_range, mask=mask))


VOLUME_METRICS: dict[str, VolumeMetric] = {
    "psnr": VolumeMetric(lambda s: s.psnr, True, math.inf, "dB"),
    "ssim": VolumeMetric(lambda s: s.ssim, True, 1.0, ""),
    "ms_ssim": VolumeMetric(lambda s: s.ms_ssim, True, 1.0, ""),
    "rmse": VolumeMetric(lambda s: math.sqrt(s.mse), False, 0.0, "grey levels"),
}
