"""From registered pairs to a PatchSet: every image resampled at most once, roles assigned before anything is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.patches import grey
from finescan.patches.learned import contrast_notes, learned_range, saturation_notes, smooth, training_grey
from finescan.patches.pieces import PatchSet, Piece, choose_factor
from finescan.patches.split import STOP, TEST, TRAIN, Split, SplitConfig, assign_roles, painted
from finescan.resampling import resample, sample, smoothed, spline_coefficients
from finescan.values import Grid, Image, Pair, Region

MARGIN_PX = 32  # context around the fine scan, coarse pixels; at least the largest halo
COARSER_JUDGES = 1.25  # a scan this much coarser than the target pitch does not train
LEAST_TRAIN, LEAST_HELD = 576, 64  # coarse pixels
_ROWS = 1 << 20
_LOOKED_AT = 1 << 22  # pixels from which a scan's cut-off grey levels are told
_SPLINE_REACH = 24  # coarse pixels beyond which a cubic spline coefficient has no influence in float32

Bool = NDArray[np.bool_]
Corner = tuple[int, int]


@dataclass(frozen=True)
class _Raw:
    """A piece before roles: ``start`` is its corner on the working grid of the whole map."""

    lr: NDArray[np.float32]
    hr: NDArray[np.float32]
    weight: Bool
    inside: Bool
    usable: Bool
    start: Corner
    name: str
    saturated_lr: Bool
    saturated_hr: Bool


def make_patches(
    pairs: Sequence[Pair], *, config: SplitConfig | None = None, target_pixel_size_nm: Sequence[float] | None = None
) -> PatchSet:
    """Lay registered pairs out for training, with held-out areas of the sample chosen first.

    Parameters
    ----------
    pairs : fine scans registered in one and the same coarse map.
    config : how held-out data are chosen; None = :class:`SplitConfig` as it stands.
    target_pixel_size_nm : of the result, per axis; None = that of the finest scan.

    Raises
    ------
    InputError : no pair, different coarse maps, a ratio below 1, or too little overlap to train and judge.
    """
    config = config or SplitConfig()
    lr = _one_map(pairs)
    target = tuple(target_pixel_size_nm or min((p.hr.grid.pixel_size_nm for p in pairs), key=np.prod))
    sr_factor = tuple(a / b for a, b in zip(lr.grid.pixel_size_nm, target, strict=True))
    if min(sr_factor) < 1:
        raise InputError(
            f"The result must be finer than the coarse map, but pixels of {_nm(target)} nm were asked for and "
            f"{lr.name} has {_nm(lr.grid.pixel_size_nm)} nm. Are the two files swapped?"
        )
    factor, out_grid = choose_factor(sr_factor), lr.grid.refine(sr_factor)
    work_grid = out_grid.coarsen(factor)
    train, judges, notes = _trainers(pairs, target)
    raws = [_raw(pair, out_grid, work_grid, factor) for pair in train]
    split, corner = _split(raws, config)
    pieces = tuple(_piece(raw, split, corner, out_grid, work_grid, factor) for raw in raws)
    _require_enough(pieces, raws, config)
    notes += [*split.notes, *saturation_notes(_saturated_shares(raws))]
    lr_grey, hr_grey, gain, offset, r = training_grey(pieces)
    notes += contrast_notes(gain, r)
    boxes = {k: [_moved(b, corner) for b in v] for k, v in split.boxes.items()}
    return PatchSet(
        pieces, factor, sr_factor, out_grid, work_grid, lr_grey, hr_grey, gain, offset, learned_range(pieces, gain),
        str(train[0].hr.dtype), _saturated_shares(raws), boxes, tuple(judges), tuple(notes),
    )  # fmt: skip


def work_lr(lr: Image, work_grid: Grid, start: Sequence[int], stop: Sequence[int]) -> Image:
    """The coarse map on a box of the working grid, float32: read as it is, or resampled once.

    Missing grey levels are taken from the nearest pixel first; beyond the map it is mirrored.
    """
    box = work_grid.crop(start, stop)
    if work_grid.same_as(lr.grid):
        part = lr.crop(Region(lr.grid, tuple(start), tuple(stop)))
        return part.with_data(grey.filled(part.array())[0])
    near = lr.grid.to_index(box.to_nm(np.array([[0, 0], box.shape])))
    part = lr.crop(Region.clipped(lr.grid, near[0] - _SPLINE_REACH, near[1] + _SPLINE_REACH))
    return resample(part.with_data(grey.filled(part.array())[0]), onto=box, outside=None)


def _one_map(pairs: Sequence[Pair]) -> Image:
    if not pairs:
        raise InputError("Training needs at least one registered pair, but none came.")
    lr = pairs[0].lr
    for other in pairs[1:]:
        if not other.lr.grid.same_as(lr.grid):
            raise InputError(
                f"All pairs must share one coarse map, but {other.hr.name} was registered in {other.lr.name} "
                f"({other.lr.grid}) and {pairs[0].hr.name} in {lr.name} ({lr.grid})."
            )
    return lr


def _trainers(pairs: Sequence[Pair], target: Sequence[float]) -> tuple[list[Pair], list[str], list[str]]:
    train, judges, notes = [], [], []
    for pair in pairs:
        size = pair.hr.grid.pixel_size_nm
        if max(a / b for a, b in zip(size, target, strict=True)) <= COARSER_JUDGES:
            train.append(pair)
        else:
            judges.append(pair.hr.name)
            notes.append(f"{pair.hr.name} ({_nm(size)} nm) is too coarse to train {_nm(target)} nm pixels; it judges.")
    if not train:
        finest = min((p.hr.grid.pixel_size_nm for p in pairs), key=np.prod)
        raise InputError(
            f"No fine scan has pixels as small as the {_nm(target)} nm asked for (the finest has {_nm(finest)} nm). "
            "Ask for that pixel size, or leave it out."
        )
    return train, judges, notes


def _raw(pair: Pair, out_grid: Grid, work_grid: Grid, factor: int) -> _Raw:
    start, stop = _covered_box(pair, work_grid)
    fine = out_grid.crop([v * factor for v in start], [v * factor for v in stop])
    hr, inside, saturated_hr, valid = _fine(pair, fine)
    lr = work_lr(pair.lr, work_grid, start, stop).array()
    missing, saturated_lr, beyond = _coarse_masks(pair.lr, work_grid.crop(start, stop))
    bad = ndimage.binary_dilation(missing | saturated_lr, np.ones((3, 3), bool)) | beyond
    weight = inside & valid & ~ndimage.binary_dilation(saturated_hr, np.ones((3, 3), bool)) & ~_grown(bad, factor)
    h, w = lr.shape
    usable = np.asarray(np.all(inside.reshape(h, factor, w, factor), axis=(1, 3)) & ~beyond)
    return _Raw(lr, hr, weight, inside, usable, start, pair.hr.name, saturated_lr & usable, saturated_hr & inside)


def _covered_box(pair: Pair, work_grid: Grid) -> tuple[Corner, Corner]:
    """Box of the working grid that holds the fine scan and a margin."""
    h, w = pair.hr.grid.shape
    y, x = np.linspace(-0.5, h - 0.5, 33), np.linspace(-0.5, w - 0.5, 33)
    rim = np.concatenate([np.stack(np.broadcast_arrays(a, b), -1) for a in y[[0, -1]] for b in [x]]
                         + [np.stack(np.broadcast_arrays(y, b), -1) for b in x[[0, -1]]])  # fmt: skip
    index = work_grid.to_index(pair.lr_from_hr(pair.hr.grid.to_nm(rim)))
    first, last = np.floor(index.min(axis=0)) - MARGIN_PX, np.ceil(index.max(axis=0)) + 1 + MARGIN_PX
    region_start = np.clip(first, 0, work_grid.shape)
    region_stop = np.clip(last, 0, work_grid.shape)
    if (region_stop - region_start < 1).any():
        raise InputError(f"{pair.hr.name} lies outside {pair.lr.name} by its registration. Register again.")
    a, b = region_start.astype(int).tolist(), region_stop.astype(int).tolist()
    return (a[0], a[1]), (b[0], b[1])


def _fine(pair: Pair, onto: Grid) -> tuple[NDArray[np.float32], Bool, Bool, Bool]:
    """The fine scan on a grid of the coarse map's frame: grey levels, inside, saturated, valid."""
    recorded = pair.hr.array()
    data, missing = grey.filled(recorded)
    cut = grey.saturated(recorded, _cut_levels(pair.hr))
    invalid = missing if pair.valid is None else missing | ~np.asarray(pair.valid, bool)
    coefficients = spline_coefficients(smoothed(data, pair.hr.grid, onto, pair.lr_from_hr.inverse_affine()))
    hr = np.empty(onto.shape, np.float32)
    inside, saturated_hr, valid = (np.empty(onto.shape, bool) for _ in range(3))
    step = max(1, _ROWS // onto.shape[1])
    for first in range(0, onto.shape[0], step):
        rows = slice(first, min(first + step, onto.shape[0]))
        grid = np.stack(np.meshgrid(np.arange(rows.start, rows.stop), np.arange(onto.shape[1]), indexing="ij"), -1)
        index = pair.hr.grid.to_index(pair.lr_from_hr.inverse_at(onto.to_nm(grid)))
        grey_here = sample(coefficients, index, prefiltered=True)
        inside[rows] = np.isfinite(grey_here)
        hr[rows] = np.nan_to_num(grey_here)
        # a linear look-up of the masks: any touched pixel counts
        saturated_hr[rows] = sample(cut.astype(np.float32), index, order=1, outside=0.0) > 1e-3
        valid[rows] = sample(invalid.astype(np.float32), index, order=1, outside=1.0) < 1e-3
    return hr, inside, saturated_hr, valid


def _cut_levels(image: Image) -> tuple[float | None, float | None]:
    """:func:`grey.cut_levels` of a whole scan."""
    step = max(1, round((image.grid.size / _LOOKED_AT) ** 0.5))  # a map can be larger than memory
    return grey.cut_levels(np.asarray(image.data[::step, ::step]))


def _coarse_masks(lr: Image, box: Grid) -> tuple[Bool, Bool, Bool]:
    """On a box of the working grid: missing grey level, saturated, centre beyond the recorded map."""
    near = lr.grid.to_index(box.to_nm(np.array([[0, 0], box.shape])))
    part = lr.crop(Region.clipped(lr.grid, near[0] - 2, near[1] + 2))
    recorded = part.array()
    masks = (~np.isfinite(recorded.astype(np.float32)), grey.saturated(recorded, _cut_levels(lr)))
    centres = np.stack(np.meshgrid(*(np.arange(n) for n in box.shape), indexing="ij"), -1)
    nm = box.to_nm(centres)
    index = part.grid.to_index(nm)
    missing, cut = (sample(m.astype(np.float32), index, order=1, outside=None) > 1e-3 for m in masks)
    whole = lr.grid.to_index(nm)
    beyond = np.asarray(((whole < -0.5) | (whole > np.array(lr.grid.shape) - 0.5)).any(axis=-1))
    return missing, cut, beyond


def _split(raws: Sequence[_Raw], config: SplitConfig) -> tuple[Split, Corner]:
    """Roles on the smallest canvas that holds all pieces, and its corner on the working grid."""
    corner = (min(r.start[0] for r in raws), min(r.start[1] for r in raws))
    far = [max(r.start[k] + r.lr.shape[k] for r in raws) - corner[k] for k in range(2)]
    if config.boxes is not None:
        return _kept(raws, config, corner, far), corner
    lr, unlike = np.zeros(far, np.float32), np.zeros(far, np.float32)
    usable = [np.zeros(far, bool) for _ in raws]
    for raw, mask in zip(raws, usable, strict=True):
        where = _place(raw, corner)
        lr[where] = raw.lr
        mask[where] = raw.usable
        unlike[where] = _unlike(raw)
    return assign_roles(usable, [r.name for r in raws], lr, config, unlike), corner


def _kept(raws: Sequence[_Raw], config: SplitConfig, corner: Corner, shape: Sequence[int]) -> Split:
    """Roles by rectangles that were held out before, whatever scans have come since."""
    usable = np.zeros(tuple(shape), bool)
    for raw in raws:
        usable[_place(raw, corner)] |= raw.usable
    back = (-corner[0], -corner[1])
    moved = {role: [_moved(b, back) for b in boxes] for role, boxes in (config.boxes or {}).items()}
    test, stop = ([b for b in moved.get(role, ()) if b[2] > 0 and b[3] > 0] for role in ("test", "stop"))
    note = "The areas that an earlier run held out stay held out; all other fine scan trains."
    return Split(painted(usable, test, stop, config.guard_lr_px), {"test": test, "stop": stop}, (note,))


def _unlike(raw: _Raw) -> NDArray[np.float32]:
    """Smoothed distance of the fine grey levels from the best linear map of the coarse ones; 0 where nothing counts."""
    (h, w), f = raw.lr.shape, raw.hr.shape[0] // raw.lr.shape[0]
    whole = np.asarray(np.all(raw.weight.reshape(h, f, w, f), axis=(1, 3)))
    if not whole.any():
        return np.zeros((h, w), np.float32)
    coarse, fine = smooth(raw.lr, whole), smooth(raw.hr.reshape(h, f, w, f).mean(axis=(1, 3)), whole)
    gain, offset, _ = grey.grey_map(coarse[whole], fine[whole])
    return np.where(whole, np.abs(fine - gain * coarse - offset), 0).astype(np.float32)


def _piece(raw: _Raw, split: Split, corner: Corner, out_grid: Grid, work_grid: Grid, factor: int) -> Piece:
    role = np.where(raw.usable, split.roles[_place(raw, corner)], 0).astype(np.int8)
    stop = [a + n for a, n in zip(raw.start, raw.lr.shape, strict=True)]
    out = out_grid.crop([v * factor for v in raw.start], [v * factor for v in stop])
    return Piece(raw.lr, raw.hr, raw.weight, role, work_grid.crop(raw.start, stop), out, raw.name)


def _place(raw: _Raw, corner: Corner) -> tuple[slice, slice]:
    (y, x), (h, w) = (raw.start[0] - corner[0], raw.start[1] - corner[1]), raw.lr.shape
    return slice(y, y + h), slice(x, x + w)


def _require_enough(pieces: Sequence[Piece], raws: Sequence[_Raw], config: SplitConfig) -> None:
    counts = {role: sum(int(np.count_nonzero(p.role == role)) for p in pieces) for role in (TRAIN, STOP, TEST)}
    learnable = sum(int(np.count_nonzero(p.role_fine("train"))) for p in pieces) / pieces[0].factor ** 2
    side = int(np.sqrt(max(int(np.count_nonzero(r.usable)) for r in raws)))
    if counts[TRAIN] < LEAST_TRAIN or min(counts[STOP], counts[TEST]) < LEAST_HELD:
        raise InputError(
            f"The overlap is too small to train and to judge: the fine scan covers about {side} x {side} coarse "
            f"pixels, and with gaps of {config.guard_lr_px} px about {48 + 3 * config.guard_lr_px} x "
            f"{48 + 3 * config.guard_lr_px} are needed. Record a larger fine scan, or use a smaller guard_lr_px."
        )
    if learnable < LEAST_TRAIN / 2:
        raise InputError(
            f"Only {100 * learnable / counts[TRAIN]:.0f} % of the training area can be used; the rest is saturated, "
            "missing or badly registered. Record the scans again with a lower gain, or check the registration."
        )


def _grown(mask: Bool, factor: int) -> Bool:
    return np.repeat(np.repeat(mask, factor, axis=0), factor, axis=1)


def _saturated_shares(raws: Sequence[_Raw]) -> dict[str, float]:
    fine, coarse = sum(int(r.inside.sum()) for r in raws), sum(int(r.usable.sum()) for r in raws)
    return {
        "lr": sum(int(r.saturated_lr.sum()) for r in raws) / coarse,
        "hr": sum(int(r.saturated_hr.sum()) for r in raws) / fine,
    }


def _moved(box: tuple[int, int, int, int], corner: Corner) -> tuple[int, int, int, int]:
    return box[0] + corner[0], box[1] + corner[1], box[2] + corner[0], box[3] + corner[1]


def _nm(values: Sequence[float]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
