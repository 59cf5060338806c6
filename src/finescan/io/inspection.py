"""What is in the images, and what is wrong with them: for `finescan check`, before anything slow starts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.io.pixels import BAND_PIXELS, bands
from finescan.io.volumes.inspection import sample
from finescan.values import Image, scattered

MIN_RATIO, MAX_RATIO = 1.5, 16.0
_EQUAL = 0.99  # voxel sizes this close are the same
_SATURATED = 1e-3
_SAMPLE_PIXELS = 1 << 24


def describe(image: Image) -> dict[str, Any]:
    """Facts about the grey levels (plain numbers, for JSON); of images above 16 Mpx, from evenly spread bands.

    Of a volume, nine slices are looked at; where its field of view is round, only what lies inside counts.

    Returns
    -------
    dtype, bits_used (of the levels between lowest and highest, unused low bits taken off), levels (number of
    different ones), min, max, mean, std, nan_share, saturated_low and saturated_high (share of pixels at the lowest
    and highest level when suspiciously many, else 0), noise (standard deviation, grey levels), constant_rows, rows
    and columns. Of a volume also slices, constant_slices (of those looked at) and round_field (True or False).
    """
    if image.grid.ndim == 3:
        looked = sample(image)
        more = {
            "slices": image.grid.shape[0],
            "constant_slices": looked.constant,
            "round_field": looked.circular,
            "constant_rows": 0,
        }
        return {**_levels(image, looked.values), "noise": noise_estimate(looked.middle), **more}
    data = _sample(image)
    rows = int(np.count_nonzero((data == data[:, :1]).all(axis=1)))
    return {**_levels(image, data), "noise": noise_estimate(data), "constant_rows": rows}


def _levels(image: Image, data: NDArray[Any]) -> dict[str, Any]:
    finite = data[np.isfinite(data)] if data.dtype.kind == "f" else data.ravel()
    if finite.size == 0:
        raise InputError(f"{image.name} holds no data: every pixel is NaN. Choose another file.")
    levels, counts = _histogram(finite)
    low, high = _clipped(levels, counts, data.dtype)
    low = 0.0 if low and scattered(data == levels[0]) else low  # no electron reached these pixels: nothing was cut off
    return {
        "dtype": str(image.dtype.newbyteorder("=")),
        "rows": image.grid.shape[-2],
        "columns": image.grid.shape[-1],
        "pixel_size_nm": list(image.grid.pixel_size_nm),
        "pixel_size_from": image.acquisition.pixel_size_from,
        "bits_used": _bits_used(levels),
        "levels": int(levels.size),
        "min": float(levels[0]),
        "max": float(levels[-1]),
        "mean": float(np.mean(finite, dtype=np.float64)),
        "std": float(np.std(finite, dtype=np.float64)),
        "nan_share": 1.0 - finite.size / data.size,
        "saturated_low": low,
        "saturated_high": high,
    }


def noise_estimate(data: NDArray[Any]) -> float:
    """Standard deviation of white noise, from the median size of a Laplacian difference that ignores planes.

    J. Immerkaer, Fast noise variance estimation, doi:10.1006/cviu.1996.0060; median instead of mean, so that edges
    and clipped places do not count.
    """
    # 4 Mpx from the middle are plenty for a median
    keep = max(3, (1 << 22) // data.shape[1])
    skip = max(0, (data.shape[0] - keep) // 2)
    f = np.asarray(data[skip : skip + keep], np.float32)
    if min(f.shape) < 3:
        return 0.0
    inner = f[:, :-2] - 2 * f[:, 1:-1] + f[:, 2:]
    mask = inner[:-2] - 2 * inner[1:-1] + inner[2:]
    size = np.abs(mask[np.isfinite(mask)])
    return float(np.median(size) / 0.6745 / 6.0) if size.size else 0.0


def problems(lr: Image, hr: Image) -> list[str]:
    """Sentences about what is wrong or doubtful with a coarse and a fine image, most serious first."""
    found = [*_pair_errors(lr, hr)]
    found += _shape_doubts(lr, hr)
    for image in (lr, hr):
        found += _grey_doubts(image)
    return found


def require_pair(lr: Image, hr: Image) -> None:
    """Refuse a pair that cannot work.

    Raises
    ------
    InputError : fine and coarse swapped, or a ratio of pixel sizes outside 1.5 to 16 (volumes: 1 to 16, since a
        better scan may have the same voxels).
    """
    errors = _pair_errors(lr, hr)
    if errors:
        raise InputError(errors[0])


# ---------------------------------------------------------------------------------------------- parts
def _pair_errors(lr: Image, hr: Image) -> list[str]:
    if lr.grid.axes != hr.grid.axes:
        return [f"{lr.name} has axes {lr.grid.axes} but {hr.name} has {hr.grid.axes}. Pass two images of one kind."]
    ratio = lr.grid.sr_factor(hr.grid)
    mean = math.prod(ratio) ** (1 / len(ratio))
    volume = lr.grid.ndim == 3
    least, slack = (1.0, _EQUAL) if volume else (MIN_RATIO, 1.0)
    word = "voxel" if volume else "pixel"
    advice = f"{word}_size_nm=(…) (--pixel-size)"
    sizes = f"{lr.name} has {word}s of {_size(lr)} nm and {hr.name} of {_size(hr)} nm"
    if mean < slack:
        return [
            f"The images seem to be swapped: {sizes}. The coarse one comes first, the fine one second; swap them, or "
            f"correct the {word} sizes with {advice}."
        ]
    if min(ratio) < least * slack or max(ratio) > MAX_RATIO:
        shown = " and ".join(f"{r:.3g}" for r in sorted(set(ratio)))
        return [
            f"The ratio of the {word} sizes must be {least:g} to {MAX_RATIO:g}, but it is {shown}: {sizes}. Choose "
            f"another pair, or correct the {word} sizes with {advice}."
        ]
    return []


def _size(image: Image) -> str:
    return " x ".join(f"{p:.5g}" for p in image.grid.pixel_size_nm)


def _shape_doubts(lr: Image, hr: Image) -> list[str]:
    found = []
    volume = lr.grid.ndim == 3
    for image, least in ((lr, 32), (hr, 32)) if volume else ((lr, 64), (hr, 128)):
        if min(image.grid.shape) < least:
            shape = " x ".join(str(n) for n in image.grid.shape)
            found.append(f"{image.name} is small ({shape} px); at least {least} px per axis are advised.")
        y, x = image.grid.pixel_size_nm[-2:]
        if abs(y / x - 1) > 0.01:
            found.append(f"{image.name} has pixels that are not square ({_size(image)} nm); check that this is so.")
    found += _volume_doubts(lr, hr) if volume else []
    if any(h > 1.05 * c for h, c in zip(hr.grid.extent_nm, lr.grid.extent_nm, strict=True)):
        found.append(f"The field of view of {hr.name} is larger than that of {lr.name}; it should lie inside.")
    ratio = lr.grid.sr_factor(hr.grid)
    if max(ratio) / min(ratio) > 1.02:
        shown = " and ".join(f"{r:.3g}" for r in ratio)
        found.append(f"The ratio of pixel sizes differs between the axes ({shown}); check the pixel sizes.")
    tilts = [i.acquisition.stage.tilt_deg for i in (lr, hr) if i.acquisition.stage is not None]
    if len(tilts) == 2 and None not in tilts and abs(tilts[0] - tilts[1]) > 1:  # type: ignore[operator]
        found.append(
            f"The stage was tilted to {tilts[0]:.1f}° for {lr.name} and to {tilts[1]:.1f}° for {hr.name}: one axis is "
            "foreshortened."
        )
    return found


def _volume_doubts(lr: Image, hr: Image) -> list[str]:
    found = []
    for image in (lr, hr):
        size = image.grid.pixel_size_nm
        if max(size) > 3 * min(size):
            found.append(
                f"The voxels of {image.name} are far from cubes ({_size(image)} nm): along the long axis there is "
                "less to learn from."
            )
    covered = [h / p for h, p in zip(hr.grid.extent_nm, lr.grid.pixel_size_nm, strict=True)]
    if min(covered) < 16:
        shown = " x ".join(f"{c:.0f}" for c in covered)
        found.append(
            f"{hr.name} covers only {shown} voxels of {lr.name}; at least 16 per axis are advised to find the place."
        )
    return found


def _grey_doubts(image: Image) -> list[str]:
    facts = describe(image)
    found = []
    for side, word in (("saturated_high", "white"), ("saturated_low", "black")):
        if facts[side] > _SATURATED:
            found.append(
                f"{image.name} is saturated: {100 * facts[side]:.1f} % of its pixels are clipped to {word}; structure "
                "there is lost and cannot be learned."
            )
    if facts["levels"] < 48:
        found.append(f"{image.name} has only {facts['levels']} different grey levels; record it with more contrast.")
    if facts["dtype"] != "uint8" and (facts["bits_used"] or 99) <= 8 and facts["levels"] >= 48:
        found.append(
            f"{image.name} is {facts['dtype']} but holds {facts['bits_used']}-bit grey levels; export the original "
            "depth if there is one."
        )
    if facts["nan_share"] > 0:
        found.append(f"{100 * facts['nan_share']:.1f} % of {image.name} has no data (NaN); it is left out.")
    if facts["constant_rows"] > 0:
        found.append(
            f"{image.name} has {facts['constant_rows']} rows of one single grey level: a data bar, or a lost part of "
            "the scan? Cut a bar with databar=rows."
        )
    if facts.get("constant_slices", 0) > 0:
        found.append(
            f"{image.name} has slices of one single grey level ({facts['constant_slices']} of those looked at): cut "
            "the empty ends off."
        )
    if facts["std"] > 0 and facts["noise"] > 0.7 * facts["std"]:
        found.append(f"{image.name} is mostly noise ({facts['noise']:.3g} of {facts['std']:.3g} grey levels).")
    return found


def _sample(image: Image) -> NDArray[Any]:
    """The pixels, or about 16 Mpx of them in 16 bands spread over a larger image."""
    data = image.data
    rows, columns = data.shape
    if rows * columns <= _SAMPLE_PIXELS:
        return np.concatenate([b for _, b in bands(data)])
    height = max(3, min(rows // 16, BAND_PIXELS // 8 // columns))
    starts = np.linspace(0, rows - height, 16).astype(int)
    return np.concatenate([np.asarray(data[a : a + height]) for a in starts])


def _histogram(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Different levels in order, and how often each occurs."""
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        counts = np.bincount(values)
        levels = np.flatnonzero(counts)
        return levels.astype(values.dtype), counts[levels]
    return np.unique(values, return_counts=True)


def _clipped(levels: NDArray[Any], counts: NDArray[Any], dtype: np.dtype[Any]) -> tuple[float, float]:
    """Share of pixels at the lowest and highest level, where they stand out from the levels beside them."""
    total = counts.sum()
    if levels.size < 3:
        return 0.0, 0.0
    limits: tuple[float, float] = (-math.inf, math.inf)
    if dtype.kind in "ui":
        limits = (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))
    shares = []
    for end, beside, limit in ((0, slice(1, 6), limits[0]), (-1, slice(-6, -1), limits[1])):
        share = counts[end] / total
        stands_out = counts[end] > 4 * np.mean(counts[beside]) and share > 1e-4
        at_limit = levels[end] == limit and counts[end] > 1.5 * np.mean(counts[beside]) and share > 1e-4
        shares.append(float(share) if stands_out or at_limit else 0.0)
    return shares[0], shares[1]


def _bits_used(levels: NDArray[Any]) -> int | None:
    """Bits needed for the range of levels in their own step; None for floating point that is not whole numbers."""
    if levels.dtype.kind == "f" and not (levels == np.rint(levels)).all():
        return None
    steps = np.diff(levels.astype(np.int64) if levels.dtype.kind != "f" else levels.astype(np.float64).astype(np.int64))
    if steps.size == 0:
        return 0
    step = int(np.gcd.reduce(steps))
    return math.ceil(math.log2(int(steps.sum()) // step + 1))
