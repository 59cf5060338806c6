"""Richardson-Lucy deconvolution of volumes with a Gaussian kernel: in memory, or block by block from and to a store.

The classical rival of the networks. The kernel is applied as a product in frequency space with the transform of a
Gaussian known in closed form, so the time does not depend on its width.
Sources: Richardson 1972 (10.1364/JOSA.62.000055), Lucy 1974 (10.1086/111605); 30 iterations with the matched kernel
as in Bukka et al. 2025 (10.1515/mim-2024-0017), section 2.1.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.ndimage import distance_transform_edt

from finescan.errors import InputError
from finescan.values import Image

PADDING = 4.0  # kernel widths repeated beyond each face, so that the two ends of an axis do not see each other
HALO = 6.0  # kernel widths read around a block; see :func:`deconvolve`
BLOCK = 256  # voxels per side of a block, halo included
_TINY = 1e-6  # of the mean, the rounding of the transform: a blurred estimate below it is not divided by
_SLAB = 1 << 24  # voxels looked at at a time when the lowest grey level is sought

Floats = NDArray[np.float32]
Progress = Callable[[float, float, str], None]


def richardson_lucy(
    volume: NDArray[Any],
    sigma_px: float | Sequence[float],
    *,
    iterations: int = 30,
    pedestal: float | None = None,
    device: str | torch.device | None = None,
) -> Floats:
    """Volume with the blur of a Gaussian undone as far as the noise allows.

    The estimate starts from the blurred volume itself. Beyond the faces the outermost voxels are repeated; where the
    volume is NaN (outside the field of view) the nearest recorded voxel of the slice stands in, and the result is NaN.

    Parameters
    ----------
    volume : (z, y, x) or (y, x) grey levels of any real format.
    sigma_px : standard deviation of the kernel, voxels, one or one per axis; 0 = sharp along that axis.
    iterations : number of steps; more steps sharpen more and bring up more noise.
    pedestal : grey level added before and taken off afterwards. The method is for quantities that are not negative,
        but reconstructed volumes have negative noise. None = just what lifts the lowest grey level to zero, nothing
        if there is no negative one: nothing is clipped, and the mean grey level is kept. Cutting negative noise off
        instead would make every empty place brighter.
    device : torch device; None = a graphics card if there is one.

    Returns
    -------
    float32 array of the same shape, at least ``-pedestal`` everywhere.

    Raises
    ------
    InputError : a kernel width that is negative or not finite, no iteration, no recorded voxel, or a pedestal that
        leaves grey levels negative.

    Examples
    --------
    >>> richardson_lucy(np.full((8, 8, 8), 5.0), 1.5)[0, 0, 0].round(4)
    np.float32(5.0)
    """
    sigma = _sigmas(sigma_px, volume.ndim, iterations)
    grey, missing = filled_in_plane(np.asarray(volume))
    lift = _pedestal(float(grey.min()), pedestal)
    result = Deconvolver(grey.shape, sigma, device)(grey, iterations, lift)
    if missing is not None:
        result[missing] = np.nan
    return result


class Deconvolver:
    """Richardson-Lucy for arrays of one shape: the kernel and the padded shape are worked out once.

    Parameters
    ----------
    shape : of the arrays.
    sigma_px : kernel width per axis, voxels.
    device : torch device; None = a graphics card if there is one.
    """

    def __init__(self, shape: Sequence[int], sigma_px: Sequence[float], device: str | torch.device | None) -> None:
        self.shape = tuple(shape)
        self.before = tuple(math.ceil(PADDING * s) for s in sigma_px)
        self.padded = tuple(next_fast_len(n + 2 * b, real=True) for n, b in zip(shape, self.before, strict=True))
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.transfer = _transfer(self.padded, sigma_px).to(self.device)

    def __call__(self, grey: Floats, iterations: int, pedestal: float) -> Floats:
        """Sharpened grey levels (finite, of the shape); the input is unchanged."""
        with torch.inference_mode():
            data = torch.from_numpy(self._pad(grey)).to(self.device).add_(pedestal)
            tiny = max(_TINY * float(data.mean()), torch.finfo(torch.float32).tiny)
            estimate = data.clone()
            for _ in range(iterations):
                ratio = self._blur(estimate).clamp_(min=tiny).reciprocal_().mul_(data)
                # rounding can turn the blur of an almost empty place negative, which a ratio never is
                estimate.mul_(self._blur(ratio).clamp_(min=0.0))
            inner = tuple(slice(b, b + n) for b, n in zip(self.before, self.shape, strict=True))
            return estimate[inner].sub(pedestal).cpu().numpy()

    def _pad(self, grey: Floats) -> Floats:
        width = [(b, p - n - b) for b, n, p in zip(self.before, self.shape, self.padded, strict=True)]
        return np.pad(grey, width, mode="edge")

    def _blur(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfftn(torch.fft.rfftn(x).mul_(self.transfer), s=self.padded)


def deconvolve(
    image: Image,
    sigma_px: float | Sequence[float],
    *,
    out: Any = None,
    iterations: int = 30,
    pedestal: float | None = None,
    block: int | None = None,
    halo: float = HALO,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> Image:
    """:func:`richardson_lucy` of a volume larger than memory, block by block.

    Blocks of one shape are read with a halo that is thrown away. In theory every iteration reaches two kernels
    further, in practice the influence of a voxel dies out: after 30 iterations on foam with 8 % noise the seams of
    blocks with a halo of 3, 4, 6, 8, 12 kernel widths differ from the undivided result by 0.5, 0.5, 0.1, 0.03, 0.002 %
    of the contrast (root mean square; kernel of 3 voxels), where the noise of the result is about 15 %.

    Parameters
    ----------
    image : volume, its data numpy, memory map, zarr or anything sliced like them.
    out : array of the same shape that takes slices (zarr, memory map); None = a float32 array in memory.
    block : voxels per side of a block, halo included; None = 256, and at least six halos. Memory is about 28 bytes
        per voxel of a block.
    halo : kernel widths read around a block.
    progress : called with (blocks done, blocks in all, message).
    sigma_px, iterations, pedestal, device : as for :func:`richardson_lucy`; the pedestal is that of the whole volume.

    Returns
    -------
    Image of ``out`` with the facts of ``image``.
    """
    sigma = _sigmas(sigma_px, image.grid.ndim, iterations)
    lift = _pedestal(lowest(image.data), pedestal)
    if out is None:
        out = np.empty(image.grid.shape, np.float32)
    margin = tuple(math.ceil(halo * s) for s in sigma)
    plan = list(_boxes(image.grid.shape, margin, block))
    engine: Deconvolver | None = None
    for done, (keep, read) in enumerate(plan):
        grey, missing = filled_in_plane(np.asarray(image.data[tuple(slice(a, b) for a, b in read)]), allow_empty=True)
        if engine is None or engine.shape != grey.shape:
            engine = Deconvolver(grey.shape, sigma, device)
        result = engine(grey, iterations, lift)
        if missing is not None:
            result[missing] = np.nan
        inner = tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(keep, read, strict=True))
        out[tuple(slice(a, b) for a, b in keep)] = result[inner]
        if progress:
            progress(done + 1, len(plan), "deconvolving")
    return image.with_data(out)


# ---------------------------------------------------------------------------------------------- pieces
def filled_in_plane(volume: NDArray[Any], *, allow_empty: bool = False) -> tuple[Floats, NDArray[np.bool_] | None]:
    """Float32 copy with missing voxels (NaN, infinite) replaced by the nearest recorded one of their slice.

    A slice without any gets the mean of all recorded voxels.

    Returns
    -------
    The copy, and the mask of what was missing (None = nothing).
    """
    grey = np.array(volume, np.float32)
    missing = ~np.isfinite(grey)
    if not missing.any():
        return grey, None
    if missing.all():
        if not allow_empty:
            raise InputError("A volume with recorded grey levels is needed, but every voxel is NaN. Check the file.")
        return np.zeros_like(grey), missing
    mean = grey[~missing].mean(dtype=np.float64)
    planes, masks = grey.reshape(-1, *grey.shape[-2:]), missing.reshape(-1, *grey.shape[-2:])
    last: NDArray[np.bool_] | None = None
    nearest: Any = None
    for plane, mask in zip(planes, masks, strict=True):
        if mask.all():
            plane[:] = mean
        elif mask.any():
            if last is None or not np.array_equal(mask, last):  # the field of view is the same for all slices
                last, nearest = mask, distance_transform_edt(mask, return_distances=False, return_indices=True)
            plane[mask] = plane[tuple(i[mask] for i in nearest)]
    return grey, missing


def lowest(data: Any) -> float:
    """Lowest finite grey level of an array that may be larger than memory; 0 if there is none."""
    step = max(1, _SLAB // math.prod(data.shape[1:]))
    low = math.inf
    for first in range(0, data.shape[0], step):
        slab = np.asarray(data[first : first + step])
        low = min(low, float(np.min(slab, where=np.isfinite(slab), initial=math.inf)))
    return low if math.isfinite(low) else 0.0


def _pedestal(low: float, wanted: float | None) -> float:
    if wanted is None:
        return max(0.0, -low)
    if low + wanted < 0:
        raise InputError(
            f"Richardson-Lucy needs grey levels that are not negative, but the lowest is {low:g} and the pedestal "
            f"{wanted:g}. Pass pedestal={-low:g} or more, or leave it out."
        )
    return wanted


def _sigmas(sigma_px: float | Sequence[float], ndim: int, iterations: int) -> tuple[float, ...]:
    sigma = (float(sigma_px),) * ndim if isinstance(sigma_px, (int, float)) else tuple(float(s) for s in sigma_px)
    if len(sigma) != ndim or not all(math.isfinite(s) and s >= 0 for s in sigma):
        raise InputError(
            f"The kernel needs one width or {ndim} widths in voxels, none negative, but sigma_px={sigma_px} came."
        )
    if iterations < 1:
        raise InputError(f"Richardson-Lucy needs at least one iteration, but {iterations} came.")
    return sigma


def _transfer(shape: Sequence[int], sigma: Sequence[float]) -> torch.Tensor:
    """Fourier transform of the Gaussian on the half grid of ``rfftn``: exp(-2 pi² sigma² f²) per axis."""
    axes = [torch.fft.fftfreq(n) for n in shape[:-1]] + [torch.fft.rfftfreq(shape[-1])]
    result = torch.ones(())
    for f, s in zip(axes, sigma, strict=True):
        result = result[..., None] * torch.exp(-2 * math.pi**2 * s**2 * f**2)
    return result


Box = tuple[tuple[int, int], ...]


def _boxes(shape: Sequence[int], margin: Sequence[int], block: int | None) -> Iterator[tuple[Box, Box]]:
    """(kept box, read box) of every block; read boxes are inside the volume and, where they fit, of one shape."""
    axes = []
    for n, m in zip(shape, margin, strict=True):
        size = min(block or max(BLOCK, 6 * m), n)
        core = n if size == n else size - 2 * m
        if core < 1:
            raise InputError(
                f"A block of {size} voxels leaves nothing between halos of {m}. Pass block={4 * m} or more."
            )
        axes.append([_along(a, min(a + core, n), n, size) for a in range(0, n, core)])
    for combination in product(*axes):
        yield tuple(c[0] for c in combination), tuple(c[1] for c in combination)


def _along(first: int, last: int, n: int, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Kept and read interval along one axis: the kept one in the middle unless an end of the volume is near."""
    start = min(max(0, (first + last - size + 1) // 2), n - size)
    return (first, last), (start, start + size)
