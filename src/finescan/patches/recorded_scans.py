"""Pairs recorded one after the other: whether they belong together, and their pixels made ready."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.patches import grey
from finescan.patches.making import work_lr
from finescan.patches.pieces import WORST_STRETCH, choose_factor
from finescan.values import Grid, Image

SAME = 0.01  # pixel sizes and ratios of all pairs agree to this share
_LOOKED_AT = 1 << 22  # pixels from which cut-off grey levels are told

Pairs = Sequence[tuple[Image, Image]]
Cut = tuple[float | None, float | None]


@dataclass(frozen=True)
class Setup:
    """What all pairs share.

    Parameters
    ----------
    factor, ratio : whole fine pixels per pixel that the network reads, and per recorded coarse pixel, per axis.
    search : half-width of the search window, fine pixels.
    sigma : of what the fine scan is smoothed with before it is compared, fine pixels.
    cut_lr, cut_hr : grey levels at which the scans were cut off.
    """

    factor: int
    ratio: tuple[float, ...]
    search: int
    sigma: float
    cut_lr: Cut
    cut_hr: Cut

    def grids(self, lr: Image) -> tuple[Grid, Grid]:
        """Working grid and grid of the result of one pair."""
        out = lr.grid.refine(self.ratio)
        return out.coarsen(self.factor), out


@dataclass(frozen=True)
class Scans:
    """One pair in float32, on the working grid and as recorded, and which pixels cannot be learned from."""

    lr: NDArray[np.float32]
    hr: NDArray[np.float32]
    bad_lr: NDArray[np.bool_]
    bad_hr: NDArray[np.bool_]


def checked(pairs: Pairs, *, search_lr_px: float, smooth_lr_px: float) -> Setup:
    """The common setup, or an InputError that says which pair does not fit in."""
    if not pairs:
        raise InputError("Training needs at least one recorded pair, but none came.")
    first, ratio = pairs[0], _ratio(*pairs[0])
    for lr, hr in pairs:
        _require_same(lr, first[0])
        _require_same(hr, first[1])
        if any(abs(a / b - 1) > SAME for a, b in zip(_ratio(lr, hr), ratio, strict=True)):
            raise InputError(
                f"All pairs must have the ratio of the first one ({times(ratio)}), but {lr.name} and {hr.name} have "
                f"{times(_ratio(lr, hr))}. Train on one kind of pair at a time."
            )
    factor = choose_factor(ratio)
    if factor < 2:
        raise InputError(
            f"The fine scan must have at least twice the pixels per axis, but {first[1].name} has {times(ratio)} those "
            f"of {first[0].name}. Record the coarse scan coarser."
        )
    cut_lr, cut_hr = (_pooled_cut([pair[k] for pair in pairs]) for k in (0, 1))
    return Setup(factor, ratio, round(search_lr_px * factor), smooth_lr_px * factor, cut_lr, cut_hr)


def _require_same(image: Image, first: Image) -> None:
    sizes, wanted = image.grid.pixel_size_nm, first.grid.pixel_size_nm
    if any(abs(a / b - 1) > SAME for a, b in zip(sizes, wanted, strict=True)):
        raise InputError(
            f"All pairs must have the pixel sizes of the first one, but {image.name} has {times(sizes)} nm where "
            f"{first.name} has {times(wanted)} nm. Train on one kind of pair at a time."
        )
    if image.dtype != first.dtype:
        raise InputError(
            f"All pairs must have the number formats of the first one, but {image.name} is {image.dtype} where "
            f"{first.name} is {first.dtype}. Train on one kind of pair at a time."
        )


def _ratio(lr: Image, hr: Image) -> tuple[float, ...]:
    """Fine pixels per coarse pixel, from the pixel counts: both scans show the same field."""
    if any(a > b for a, b in zip(lr.grid.shape, hr.grid.shape, strict=True)):
        raise InputError(
            f"The fine scan of a pair must have more pixels than the coarse one, but {lr.name} has "
            f"{times(lr.grid.shape)} and {hr.name} {times(hr.grid.shape)}. Are the two swapped?"
        )
    counts = tuple(b / a for a, b in zip(lr.grid.shape, hr.grid.shape, strict=True))
    sizes = lr.grid.sr_factor(hr.grid)
    if any(max(a / b, b / a) > WORST_STRETCH for a, b in zip(counts, sizes, strict=True)):
        raise InputError(
            f"Both scans of a pair must show the same field, but {hr.name} has {times(counts)} as many pixels as "
            f"{lr.name}, and they are {times(sizes)} times smaller. Correct the pixel sizes, or crop both to one field."
        )
    return counts


def _pooled_cut(images: Sequence[Image]) -> Cut:
    """Grey levels at which a scan was cut off, told from all of them: a small one alone holds too few pixels."""
    step = max(1, round((sum(i.grid.size for i in images) / _LOOKED_AT) ** 0.5))
    return grey.cut_levels(np.concatenate([np.asarray(i.data[::step, ::step]).ravel() for i in images]))


def saturated_shares(pairs: Pairs, setup: Setup) -> dict[str, float]:
    """Share of saturated pixels, "lr" and "hr", of as many pairs as are needed to tell."""
    some = pairs[:: max(1, sum(hr.grid.size for _, hr in pairs) // (4 * _LOOKED_AT))]
    return {
        name: float(np.mean([grey.saturated(pair[k].array(), cut).mean() for pair in some]))
        for k, (name, cut) in enumerate((("lr", setup.cut_lr), ("hr", setup.cut_hr)))
    }


def prepared(pair: tuple[Image, Image], setup: Setup) -> Scans:
    """The pixels of a pair: the coarse scan resampled if the ratio is not whole, the fine one as it was recorded."""
    lr_image, hr_image = pair
    work, _ = setup.grids(lr_image)
    lr = work_lr(lr_image, work, (0, 0), work.shape).array()
    recorded = hr_image.array()
    hr, missing = grey.filled(recorded)
    bad_hr = _grown(missing | grey.saturated(recorded, setup.cut_hr))
    coarse = lr_image.array()
    bad = _grown(~np.isfinite(coarse.astype(np.float32)) | grey.saturated(coarse, setup.cut_lr))
    if not work.same_as(lr_image.grid):
        scale, offset = work.step_to(lr_image.grid)
        rows, columns = (
            np.clip(np.rint(s * np.arange(n) + o).astype(int), 0, m - 1)
            for s, o, n, m in zip(scale, offset, work.shape, bad.shape, strict=True)
        )
        bad = bad[np.ix_(rows, columns)]
    return Scans(lr, hr, bad, bad_hr)


def comparable(hr: NDArray[np.float32], setup: Setup) -> NDArray[np.float32]:
    """The fine scan as it is compared with the coarse one."""
    return ndimage.gaussian_filter(hr, setup.sigma, mode="mirror") if setup.sigma else hr


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return ndimage.binary_dilation(mask, np.ones((3, 3), bool)) if mask.any() else mask


def in_batches(pairs: Pairs, owners: NDArray[np.intp], most: int) -> Iterator[NDArray[np.intp]]:
    """Row numbers of a table sorted by pair, pair by pair, as many at once as have at most so many fine pixels."""
    first, held = 0, 0
    for row, k in enumerate(owners.tolist()):
        if row == 0 or k != owners[row - 1]:
            if held and held + pairs[k][1].grid.size > most:
                yield np.arange(first, row)
                first, held = row, 0
            held += pairs[k][1].grid.size
    yield np.arange(first, len(owners))


def places_nm(pairs: Pairs) -> NDArray[np.float64] | None:
    """(n, 2) centres (y, x) of the pairs in the sample, nm; None where not all of them are told, or all the same."""
    places = [_place_nm(lr) or _place_nm(hr) for lr, hr in pairs]
    known = np.array([p for p in places if p is not None], float)
    if len(known) < len(places) or np.ptp(known, axis=0).max() < max(pairs[0][0].grid.extent_nm):
        return None
    return known


def _place_nm(image: Image) -> tuple[float, float] | None:
    place, stage = image.acquisition.extra.get("place_nm"), image.acquisition.stage
    if place is not None:
        return float(place[0]), float(place[1])
    if stage is None or stage.x_nm is None or stage.y_nm is None:
        return None
    return stage.y_nm, stage.x_nm


def setup_notes(pairs: Pairs, setup: Setup) -> list[str]:
    """What was decided about pixel sizes and ratio."""
    lr, hr = pairs[0]
    notes, sizes = [], lr.grid.sr_factor(hr.grid)
    if any(abs(a / b - 1) > SAME for a, b in zip(sizes, setup.ratio, strict=True)):
        notes.append(
            f"There are {times(sizes)} fine pixels per coarse one by their sizes, {times(setup.ratio)} by their "
            "numbers; the numbers were used, since both scans show the same field."
        )
    if not setup.grids(lr)[0].same_as(lr.grid):
        notes.append(
            f"There are {times(setup.ratio)} fine pixels per coarse one, not a whole number: the coarse scans were "
            f"resampled once to pixels of {setup.factor} fine ones."
        )
    if len(pairs) > 1:
        notes.append("The pairs have no common map; they are laid out side by side.")
    return notes


def times(values: Sequence[float]) -> str:
    """Numbers of both axes for messages."""
    return " x ".join(f"{v:.4g}" for v in values)
