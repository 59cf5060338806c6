"""From registered pairs of volumes to a VolumePatchSet; the door is :func:`make_volume_patches`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.patches import grey
from finescan.patches.volume_input import volume_input
from finescan.patches.volume_pieces import VolumePatchSet, VolumePiece
from finescan.patches.volume_split import Box3, VolumeSplitConfig, choose_boxes
from finescan.resampling import resample, sample
from finescan.values import Circle, GreyStatistics, Grid, Image, Pair, Region, Warp

MARGIN = 16  # coarse context around the fine volume, voxels of the out grid
FILL = 0.0
SMOOTH = 1.5  # sigma of the averages the grey map is fitted on, voxels
LEAST_TRAIN = 4096  # voxels
_SLAB = 32  # slices of the out grid resampled at a time
_REACH = 14  # voxels beyond which a cubic spline coefficient has no influence in float32
_LOOKED_AT = 1 << 22  # voxels from which statistics are taken
_FEW_LEVELS = 16  # a volume of so few grey levels is a segmentation; its end levels are not saturation

Bool = NDArray[np.bool_]


def make_volume_patches(
    pairs: Sequence[Pair],
    *,
    config: VolumeSplitConfig | None = None,
    target_voxel_size_nm: Sequence[float] | None = None,
    circle: Circle | None = None,
) -> VolumePatchSet:
    """Lay registered pairs of volumes out for training, with held-out boxes of the sample chosen first.

    Parameters
    ----------
    pairs : fine volumes registered in one and the same coarse volume.
    config : how held-out data are chosen and how much is kept in memory; None = :class:`VolumeSplitConfig` as it is.
    target_voxel_size_nm : of the result, (z, y, x); None = that of the finest fine volume.
    circle : the field of view of the coarse volume; None = the largest circle inside it.

    Raises
    ------
    InputError : no pair, no volumes, different coarse volumes, a ratio below 1, or too little overlap.
    """
    config = config or VolumeSplitConfig()
    lr = _one_volume(pairs)
    target = tuple(target_voxel_size_nm or min((p.hr.grid.pixel_size_nm for p in pairs), key=np.prod))
    sr_factor = tuple(a / b for a, b in zip(lr.grid.pixel_size_nm, target, strict=True))
    if min(sr_factor) < 1 - 1e-6:
        raise InputError(
            f"The result must be at least as fine as the coarse volume, but voxels of {_nm(target)} nm were asked for "
            f"and {lr.name} has {_nm(lr.grid.pixel_size_nm)} nm. Are the two files swapped?"
        )
    out_grid, circle = lr.grid.refine(sr_factor), circle or Circle.inscribed(lr.grid)
    notes: list[str] = []
    pieces, boxes = [], {"stop": [], "test": []}  # type: list[VolumePiece], dict[str, list[Box3]]
    for pair in pairs:
        piece, cut = volume_piece(pair, out_grid, circle, config.most_voxels // len(pairs))
        notes += cut
        pieces.append(piece)
        for role, found in ({} if config.boxes else choose_boxes(piece.weight, piece.lr, config)).items():
            boxes[role] += [_placed(b, piece.start) for b in found]
    for role, held in (config.boxes or {}).items():
        boxes[role] = [_box3(b) for b in held]
    guard = config.guard(min((p.shape for p in pieces), key=min))
    nothing = GreyStatistics(0.0, 1.0, 0.0, 1.0)
    draft = VolumePatchSet(
        tuple(pieces), sr_factor, out_grid, circle, nothing, nothing, 1.0, 0.0, (0.0, 0.0),
        str(pairs[0].hr.dtype), boxes, guard, FILL,
    )  # fmt: skip
    _require_enough(draft, config)
    lr_grey, hr_grey, (gain, offset, r), lr_range = _training_grey(draft)
    if abs(r) < 0.3:
        notes.append(f"Coarse and fine grey levels hardly correlate (r = {r:.2f}): the grey map is a rough one.")
    elif gain < 0:
        notes.append("The contrast of the two volumes is inverted; the grey map takes care of it.")
    return replace(
        draft, lr_grey=lr_grey, hr_grey=hr_grey, gain=gain, offset=offset, lr_range=lr_range, notes=tuple(notes)
    )


def _one_volume(pairs: Sequence[Pair]) -> Image:
    if not pairs:
        raise InputError("Training needs at least one registered pair, but none came.")
    lr = pairs[0].lr
    for pair in pairs:
        for image in (pair.lr, pair.hr):
            if image.grid.axes != "ZYX":
                raise InputError(f"Volumes with axes ZYX are needed, but {image.name} has {image.grid.axes}.")
        if not pair.lr.grid.same_as(lr.grid):
            raise InputError(
                f"All pairs must share one coarse volume, but {pair.hr.name} was registered in {pair.lr.name} "
                f"({pair.lr.grid}) and {pairs[0].hr.name} in {lr.name} ({lr.grid})."
            )
    return lr


def volume_piece(pair: Pair, out_grid: Grid, circle: Circle, most: int) -> tuple[VolumePiece, list[str]]:
    """A fine volume and the coarse one under it on the grid of the result, and what was left out of it.

    Parameters
    ----------
    circle : the field of view of the coarse volume.
    most : voxels that are kept; of a larger fine volume the middle.
    """
    notes: list[str] = []
    start, stop = _covered_box(pair, out_grid)
    shape = tuple(b - a for a, b in zip(start, stop, strict=True))
    if np.prod(shape, dtype=float) > most:
        start, stop = _middle(start, stop, most)
        notes.append(
            f"{pair.hr.name} covers {' x '.join(map(str, shape))} voxels of the result; only the middle "
            f"{' x '.join(str(b - a) for a, b in zip(start, stop, strict=True))} were learned from, to keep memory "
            f"below {9 * most / 1e9:.1f} GB (most_voxels)."
        )
    box = out_grid.crop(start, stop)
    lr = volume_input(pair.lr, out_grid, start, stop, fill=FILL)
    hr, weight = np.zeros(box.shape, np.float32), np.zeros(box.shape, bool)
    cut_hr, cut_lr = _cut_levels(pair.hr), _cut_levels(pair.lr)
    for first in range(0, box.shape[0], _SLAB):
        part = slice(first, min(first + _SLAB, box.shape[0]))
        slab = box.crop((part.start, 0, 0), (part.stop, *box.shape[1:]))
        hr[part], weight[part] = _fine(pair, slab, cut_hr)
        weight[part] &= _coarse_usable(pair.lr, slab, cut_lr)
    weight &= circle.mask(box)
    _note_saturation(pair, cut_hr, cut_lr, notes)
    z, y, x = start
    return VolumePiece(lr, hr, weight, (z, y, x), circle.distance(box), pair.hr.name), notes


def _covered_box(pair: Pair, out_grid: Grid) -> tuple[list[int], list[int]]:
    """Box of the out grid that holds the fine volume and a margin of context."""
    there = out_grid.to_index(pair.lr_from_hr(pair.hr.grid.to_nm(_lattice(pair.hr.grid.shape))))
    first = np.clip(np.floor(there.min(axis=0) + 0.5) - MARGIN, 0, out_grid.shape).astype(int)
    last = np.clip(np.ceil(there.max(axis=0) - 0.5) + 1 + MARGIN, 0, out_grid.shape).astype(int)
    if (last - first < 1).any():
        raise InputError(f"{pair.hr.name} lies outside {pair.lr.name} by its registration. Register again.")
    return first.tolist(), last.tolist()


def _middle(start: Sequence[int], stop: Sequence[int], most: int) -> tuple[list[int], list[int]]:
    """The middle of a box, its longest sides shortened until it holds at most so many voxels."""
    shape = [b - a for a, b in zip(start, stop, strict=True)]
    while np.prod(shape, dtype=float) > most:
        longest = int(np.argmax(shape))
        shape[longest] -= max(1, shape[longest] // 32)
    first = [a + (b - a - n) // 2 for a, b, n in zip(start, stop, shape, strict=True)]
    return first, [a + n for a, n in zip(first, shape, strict=True)]


def _fine(pair: Pair, slab: Grid, cut: tuple[float | None, float | None]) -> tuple[NDArray[np.float32], Bool]:
    """The fine volume on a slab of the out grid, and where it counts; resampled once, or read where grids coincide."""
    corner = _same_voxels(pair.hr.grid, slab, pair.lr_from_hr)
    region = _needed(pair.hr.grid, slab, pair.lr_from_hr) if corner is None else _overlap(pair.hr.grid, slab, corner)
    hr, good = np.zeros(slab.shape, np.float32), np.zeros(slab.shape, bool)
    if region is None:
        return hr, good
    part = pair.hr.crop(region)
    bad = grey.saturated(part.array(), cut)
    if pair.valid is not None:
        bad |= ~np.asarray(pair.valid[region.slices], bool)
    if corner is not None:
        where = tuple(slice(a - c, b - c) for a, b, c in zip(region.start, region.stop, corner, strict=True))
        recorded = part.array().astype(np.float32)
        good[where] = np.isfinite(recorded) & ~bad
        hr[where] = np.where(good[where], recorded, 0)
        return hr, good
    data, missing = grey.filled(part.array())
    bad |= missing
    hr = resample(part.with_data(data), onto=slab, through=pair.lr_from_hr, inverse=True).array()
    good = np.isfinite(hr)
    if bad.any():
        good &= _looked_up(bad, part.grid, slab, pair.lr_from_hr) < 1e-3
    return np.nan_to_num(hr), good


def _same_voxels(grid: Grid, slab: Grid, warp: Warp) -> list[int] | None:
    """Where a slab begins on a grid whose voxels coincide with its own, else None."""
    if warp.knots is not None or not np.array_equal(warp.matrix, np.eye(3)):
        return None
    moved = replace(grid, origin_nm=tuple((np.asarray(grid.origin_nm) + warp.offset_nm).tolist()))
    start = np.round(moved.to_index(slab.origin_nm)).astype(int).tolist()
    stop = [a + n for a, n in zip(start, slab.shape, strict=True)]
    return start if moved.crop(start, stop).same_as(slab) else None


def _overlap(grid: Grid, slab: Grid, corner: Sequence[int]) -> Region | None:
    start = [max(0, c) for c in corner]
    stop = [min(n, c + m) for n, c, m in zip(grid.shape, corner, slab.shape, strict=True)]
    if any(b <= a for a, b in zip(start, stop, strict=True)):
        return None
    return Region(grid, tuple(start), tuple(stop))


def _needed(grid: Grid, slab: Grid, warp: Warp) -> Region | None:
    """The part of the fine volume that a slab of the out grid is interpolated from; None where there is none."""
    there = grid.to_index(warp.inverse_at(slab.to_nm(_lattice(slab.shape))))
    widths = np.maximum(1.0, np.asarray(slab.pixel_size_nm) / np.asarray(grid.pixel_size_nm))
    first = np.maximum(np.floor(there.min(axis=0) - _REACH * widths), 0).astype(int)
    last = np.minimum(np.ceil(there.max(axis=0) + _REACH * widths) + 1, grid.shape).astype(int)
    if (last - first < 1).any():
        return None
    return Region(grid, tuple(first.tolist()), tuple(last.tolist()))


def _looked_up(mask: Bool, grid: Grid, slab: Grid, warp: Warp) -> NDArray[np.float32]:
    """Linear look-up of a mask of the fine volume on a slab of the out grid: any touched voxel counts."""
    out = np.empty(slab.shape, np.float32)
    data = mask.astype(np.float32)
    for k in range(slab.shape[0]):
        index = np.stack(
            np.meshgrid([float(k)], *(np.arange(n, dtype=float) for n in slab.shape[1:]), indexing="ij"), -1
        )
        out[k] = sample(data, grid.to_index(warp.inverse_at(slab.to_nm(index))), order=1, outside=1.0)[0]
    return out


def _coarse_usable(lr: Image, slab: Grid, cut: tuple[float | None, float | None]) -> Bool:
    """Where the coarse volume is finite, not saturated and recorded at all (its nearest voxel)."""
    index = [np.floor(s * np.arange(n) + o + 0.5).astype(int)
             for s, o, n in zip(*slab.step_to(lr.grid), slab.shape, strict=True)]  # fmt: skip
    inside = [(i >= 0) & (i < n) for i, n in zip(index, lr.grid.shape, strict=True)]
    index = [np.clip(i, 0, n - 1) for i, n in zip(index, lr.grid.shape, strict=True)]
    first = [int(i.min()) for i in index]
    part = np.asarray(lr.data[tuple(slice(a, int(i.max()) + 1) for a, i in zip(first, index, strict=True))])
    good = ~grey.saturated(part, cut)
    if part.dtype.kind == "f":
        good &= np.isfinite(part)
    good = good[np.ix_(*(i - a for i, a in zip(index, first, strict=True)))]
    return np.asarray(good & inside[0][:, None, None] & inside[1][:, None] & inside[2])


def _cut_levels(image: Image) -> tuple[float | None, float | None]:
    """Cut-off levels of a volume of whole numbers; reconstructed (floating-point) grey levels have none."""
    if image.dtype.kind not in "iu":
        return None, None
    step = max(1, round((image.grid.size / _LOOKED_AT) ** (1 / 3)))
    some = np.asarray(image.data[::step, ::step, ::step])
    if np.unique(some).size < _FEW_LEVELS:
        return None, None
    levels = grey.saturation_levels(some)
    shares = [0.0 if v is None else np.count_nonzero(some == v) / some.size for v in levels]
    low, high = (v if s <= 0.2 else None for v, s in zip(levels, shares, strict=True))
    return low, high


def _note_saturation(pair: Pair, hr: tuple, lr: tuple, notes: list[str]) -> None:
    for image, levels in ((pair.lr, lr), (pair.hr, hr)):
        if any(v is not None for v in levels):
            ends = " and ".join(f"{v:g}" for v in levels if v is not None)
            notes.append(f"Voxels of {image.name} at the end of its grey range ({ends}) were not learned from.")


def _require_enough(patches: VolumePatchSet, config: VolumeSplitConfig) -> None:
    counts = {r: sum(int(patches.counted(p, r).sum()) for p in patches.pieces) for r in ("train", "stop", "test")}
    wanted = ["train", "stop", *(["test"] if config.test_share else [])]
    least = {"train": LEAST_TRAIN, "stop": 64, "test": 64}
    if any(counts[r] < least[r] for r in wanted):
        shape = max((p.shape for p in patches.pieces), key=np.prod)
        raise InputError(
            f"The overlap is too small to train and to judge: it has {' x '.join(map(str, shape))} voxels, of which "
            f"{counts['train']} train, {counts['stop']} stop and {counts['test']} test, with gaps of {patches.guard} "
            "voxels. Record a larger fine volume, or use a smaller guard_voxels."
        )


def _training_grey(
    patches: VolumePatchSet,
) -> tuple[GreyStatistics, GreyStatistics, tuple[float, float, float], tuple[float, float]]:
    """Statistics of both volumes, the grey map and the range of averages over a sample of the training role."""
    empty: list[list[NDArray[np.float32]]] = [[] for _ in range(5)]
    coarse, fine, x, y, average = empty
    noise: list[float] = []
    for piece, part, middle in _slabs(patches):
        mask = patches.counted(piece, "train", part)
        lr, hr = piece.lr[part], piece.hr[part]
        if mask[middle].sum() < 16:
            continue
        coarse.append(lr[middle][mask[middle]])
        fine.append(hr[middle][mask[middle]])
        average.append(grey.local_average(lr)[middle][mask[middle]])
        noise.append(grey.white_noise(lr[middle], mask[middle]) ** 2)
        x.append(_smooth(lr, mask)[middle][mask[middle]])
        y.append(_smooth(hr, mask)[middle][mask[middle]])
    if not coarse:
        raise InputError("The training part of the volume has no slice with enough voxels. Use another split seed.")
    left = float(np.mean(noise)) / (4 * np.pi * SMOOTH**2) ** 1.5  # what smoothing leaves of white noise
    fit = grey.grey_map(np.concatenate(x), np.concatenate(y), noise_variance=left)
    low, high = np.percentile(np.concatenate(average), grey.RANGE_PERCENTILES)
    return (grey.statistics(np.concatenate(coarse)), grey.statistics(np.concatenate(fine)), fit,
            (float(low), float(high)))  # fmt: skip


def _slabs(patches: VolumePatchSet) -> Iterator[tuple[VolumePiece, tuple[slice, ...], int]]:
    """Slabs around some slices of every piece, and the index of that slice in the slab: memory stays bounded."""
    reach = 4
    for piece in patches.pieces:
        d, h, w = piece.shape
        count = int(np.clip(_LOOKED_AT // (h * w * len(patches.pieces)), 8, 48))
        for k in np.unique(np.linspace(0, d - 1, min(d, count) + 2)[1:-1].astype(int)):
            first, last = max(0, int(k) - reach), min(d, int(k) + reach + 1)
            yield piece, (slice(first, last), slice(0, h), slice(0, w)), int(k) - first


def _smooth(data: NDArray[np.float32], mask: Bool) -> NDArray[np.float32]:
    """Gaussian average over the masked voxels only: noise would bias a regression towards zero gain."""
    weight = ndimage.gaussian_filter(mask.astype(np.float32), SMOOTH, truncate=2.5)
    total = ndimage.gaussian_filter(np.where(mask, data, 0).astype(np.float32), SMOOTH, truncate=2.5)
    return total / np.maximum(weight, 1e-6)


def _lattice(shape: Sequence[int]) -> NDArray[np.float64]:
    """9 x 9 x 9 points over a volume from edge to edge, in voxels, (729, 3)."""
    axes = [np.linspace(-0.5, n - 0.5, 9) for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def _placed(box: Box3, corner: Sequence[int]) -> Box3:
    z, y, x = corner
    a, b, c, d, e, f = box
    return a + z, b + y, c + x, d + z, e + y, f + x


def _box3(box: Sequence[int]) -> Box3:
    a, b, c, d, e, f = (int(v) for v in box)
    return a, b, c, d, e, f


def _nm(values: Sequence[float]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
