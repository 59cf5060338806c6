"""Pairs recorded one after the other, in the way of Reclik et al. 2025, as an ordinary PatchSet.

Both scans of a pair show the same field of view, in many small windows (32 x 32 and 128 x 128 pixels) or in few large
ones (1024 x 1024 and 4096 x 4096), but the microscope drifts between and during them. Every coarse patch is therefore
found again in the fine scan (:mod:`finescan.patches.realign`), and the fine pixels under it are cut out as they were
recorded, on whole pixels: no grey level is interpolated, and what is left of the shift is at most half a fine pixel.

Source: T. Reclik et al., *Resolution enhancement of scanning electron micrographs using artificial intelligence*,
Materials & Design 2025, doi:10.1016/j.matdes.2025.113955, section 2.3.3 and Table 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from finescan.errors import InputError
from finescan.patches import realign
from finescan.patches.bank import Field, ReferenceBank, spread
from finescan.patches.learned import contrast_notes, learned_range, saturation_notes, training_grey
from finescan.patches.pieces import PatchSet, Piece
from finescan.patches.realign import Offset
from finescan.patches.recorded_pieces import canvas, cut_pieces, with_context
from finescan.patches.recorded_roles import Layout, lay_out
from finescan.patches.recorded_scans import (
    Pairs,
    Setup,
    checked,
    comparable,
    in_batches,
    places_nm,
    prepared,
    saturated_shares,
    setup_notes,
)
from finescan.patches.split import STOP, TEST, TRAIN

COMPARE = {"nearest": 0.0, "smoothed": 0.4}  # sigma before thinning, coarse pixels; a probe is about that wide
_POOR = 5.0  # robust standard deviations below the median similarity
_LEAST_DROP = 0.1  # and at least so much below it: scans without noise are all alike
_STRAY_PX = 2.0  # fine pixels that a patch may lie off the median of its neighbours, at least
_NEIGHBOURS = 8
_LOOKED_AT = 1 << 23  # fine pixels of which grey statistics are taken
_AT_ONCE = 1 << 26  # fine pixels held while patches are found again

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class RecordedConfig:
    """How separately recorded pairs become patches.

    Parameters
    ----------
    patch_lr_px : side of a patch, coarse pixels.
    search_lr_px : half-width of the search window, coarse pixels; more than the scans drift apart.
    compare : the fine scan is thinned as it is ("nearest", as published), or "smoothed" to about the coarse probe
        first, which averages the noise of the pixels that thinning throws away.
    least_ssim : patches less similar are left out; None = those five robust standard deviations and at
        least 0.1 below the median.
    shares : wanted of training, stop and test.
    guard_lr_px : gap between roles, coarse pixels, on top of twice the search window.
    context_lr_px : border around every patch that only gives context, where the pair has it, coarse pixels.
    most_patches : more are thinned out by chance.
    seed : of every choice.
    """

    patch_lr_px: int = 32
    search_lr_px: float = 3.0
    compare: str = "smoothed"
    least_ssim: float | None = None
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    guard_lr_px: int = 12
    context_lr_px: int = 8
    most_patches: int = 25_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.patch_lr_px < 8 or min(self.search_lr_px, self.guard_lr_px, self.context_lr_px) < 0:
            raise InputError(
                "Recorded pairs need a patch_lr_px of at least 8 and no negative lengths, but patch_lr_px="
                f"{self.patch_lr_px}, search_lr_px={self.search_lr_px}, guard_lr_px={self.guard_lr_px} and "
                f"context_lr_px={self.context_lr_px} came."
            )
        if self.compare not in COMPARE:
            raise InputError(f"compare is one of {', '.join(COMPARE)}, but {self.compare!r} came.")
        fits = len(self.shares) == 3 and all(0.02 <= s <= 0.4 for s in self.shares[1:])
        if not fits or not math.isclose(sum(self.shares), 1, abs_tol=1e-6):
            raise InputError(
                "shares are three numbers for training, stop and test that add up to 1, the last two between 0.02 and "
                f"0.4, but {self.shares} came."
            )
        if self.most_patches < 3:
            raise InputError(f"most_patches must be at least 3, one per role, but {self.most_patches} came.")

    @property
    def gap(self) -> int:
        """Between roles, coarse pixels: the guard, and as far as two searches can reach towards each other."""
        return self.guard_lr_px + 2 * math.ceil(self.search_lr_px)

    @property
    def context(self) -> int:
        """Around every patch, coarse pixels: never so much that it would show held-out sample."""
        return min(self.context_lr_px, self.gap)


def recorded_patches(pairs: Pairs, *, config: RecordedConfig | None = None) -> PatchSet:
    """Lay separately recorded pairs out for training, each patch re-aligned on its own.

    Parameters
    ----------
    pairs : (coarse, fine) scans of the same field of view. Where they lie in the sample is taken from
        ``acquisition.extra["place_nm"]`` (y, x of the window's centre) or the stage position.
    config : None = :class:`RecordedConfig` as it stands.

    Returns
    -------
    PatchSet with one piece per patch. Several pairs have no common map; its grids lay them out side by side.

    Raises
    ------
    InputError : no pair, pairs that do not belong together, a ratio below 2, swapped scans, patches larger than the
        scans, or too few of them for three roles.
    """
    config = config or RecordedConfig()
    setup, layout = _laid_out(pairs, config)
    notes = [*setup_notes(pairs, setup), *layout.notes]
    layout = _thinned(layout, config, notes)
    offsets = _found_again(pairs, layout.patches, setup, config)
    keep = _kept(layout.patches, offsets, config, notes)
    pieces, usable = cut_pieces(pairs, layout, offsets, keep, setup, patch=config.patch_lr_px, context=config.context)
    if (lost := np.count_nonzero(keep & ~usable)) > 0:
        notes.append(f"{lost} of {len(keep)} patches are mostly saturated or missing; they were left out.")
    _require_all_roles(layout.patches[:, 3], usable)
    notes += _summary(layout.patches, offsets, usable, pairs)
    return _patch_set(pairs, pieces, layout, setup, notes)


def recorded_references(
    pairs: Pairs, *, config: RecordedConfig | None = None, count: int = 256, side: int = 300, seed: int = 0
) -> ReferenceBank:
    """References from the fine scans of recorded pairs, out of the training blocks that :func:`recorded_patches` has.

    Patches of recorded pairs are too small to cut references from; here they come from the fine scans as recorded.

    Parameters
    ----------
    pairs, config : those given to :func:`recorded_patches`.
    count, side, seed : see :func:`finescan.patches.cut_references`; a reference is not smaller than a patch.

    Raises
    ------
    InputError : as :func:`recorded_patches`, or no training block has room for a reference.
    """
    config = config or RecordedConfig()
    setup, layout = _laid_out(pairs, config)
    fields, origin = [], []
    for k, pair in enumerate(pairs):
        roles = layout.roles[k]
        if isinstance(roles, int) and roles != TRAIN:
            continue
        scans = prepared(pair, setup)
        fields.append(_field(scans.hr, ~scans.bad_hr, roles, scans.lr.shape, setup.factor))
        origin.append(layout.corners[k])
    smallest = setup.factor * config.patch_lr_px
    crops, corners, which, notes = spread(fields, count, max(side, smallest), smallest, seed, "training blocks")
    return ReferenceBank(crops, corners + setup.factor * np.array(origin, np.intp)[which], which, notes)


def _field(
    hr: NDArray[np.float32], counts: Bool, roles: NDArray[np.int8] | int, shape: tuple[int, ...], factor: int
) -> Field:
    """A fine scan cut to whole coarse pixels, where training may look."""
    inside = [min(n, m // factor) for n, m in zip(shape, hr.shape, strict=True)]
    allowed = np.ones(inside, bool) if isinstance(roles, int) else roles[: inside[0], : inside[1]] == TRAIN
    fine = tuple(slice(0, factor * n) for n in inside)
    return Field(hr[fine], allowed, factor, counts[fine])


# ------------------------------------------------------------------ roles and patches
def _laid_out(pairs: Pairs, config: RecordedConfig) -> tuple[Setup, Layout]:
    setup = checked(pairs, search_lr_px=config.search_lr_px, smooth_lr_px=COMPARE[config.compare])
    grids = [setup.grids(lr)[0] for lr, _ in pairs]
    layout = lay_out(
        [(g.shape[0], g.shape[1]) for g in grids],
        lambda k: prepared(pairs[k], setup).lr,
        places_nm(pairs),
        grids[0].pixel_size_nm,
        patch=config.patch_lr_px,
        gap=config.gap,
        shares=config.shares,
        seed=config.seed,
    )
    return setup, layout


def _thinned(layout: Layout, config: RecordedConfig, notes: list[str]) -> Layout:
    """At most as many patches as asked for: of every role its share, and at least one."""
    roles, count = layout.patches[:, 3], len(layout.patches)
    if count <= config.most_patches:
        return layout
    rng = np.random.default_rng([config.seed, 52])
    members = [np.flatnonzero(roles == role) for role in (TRAIN, STOP, TEST)]
    chosen = [rng.choice(m, max(1, len(m) * config.most_patches // count), replace=False) for m in members]
    notes.append(f"{config.most_patches} of {count} patches were drawn by chance, as most_patches says.")
    return replace(layout, patches=layout.patches[np.sort(np.concatenate(chosen))])


# ------------------------------------------------------------------ finding patches again
def _found_again(pairs: Pairs, table: NDArray[np.intp], setup: Setup, config: RecordedConfig) -> list[Offset]:
    """The offset of every patch, looked for with all of its context around where the scan has drifted to."""
    offsets: list[Offset] = []
    for rows in in_batches(pairs, table[:, 0], _AT_ONCE):
        members = np.unique(table[rows, 0]).tolist()
        scans = [prepared(pairs[k], setup) for k in members]
        lr, fine = [s.lr for s in scans], [comparable(s.hr, setup) for s in scans]
        number = np.searchsorted(members, table[rows, 0])
        around = np.zeros((len(rows), 2), np.intp)
        boxes = np.empty((len(rows), 5), np.intp)
        for k, (coarse, hr) in enumerate(zip(lr, fine, strict=True)):
            mine = number == k
            corners = table[rows[mine], 1:3]
            around[mine] = realign.drift(coarse, hr, setup.factor, corners + config.patch_lr_px / 2)
            inner = np.array(realign.core(coarse.shape, hr.shape, setup.factor, setup.search))
            own = [with_context(c, coarse.shape, config.patch_lr_px, config.context) for c in corners.tolist()]
            low, high = inner[:2] - around[mine], inner[2:] - around[mine]
            boxes[mine, 1:3] = np.maximum(np.array(own)[:, :2], low)
            boxes[mine, 3:] = np.minimum(np.array(own)[:, 2:], high)
        boxes[:, 0] = number
        offsets += realign.search(lr, fine, boxes, setup.factor, setup.search, around)
    return offsets


def _kept(table: NDArray[np.intp], offsets: Sequence[Offset], config: RecordedConfig, notes: list[str]) -> Bool:
    """Which patches were found well enough, with notes on those that were not."""
    ssim, rim = np.array([o.ssim for o in offsets]), np.array([o.at_rim for o in offsets])
    least = config.least_ssim
    if least is None:
        middle = float(np.median(ssim))
        least = middle - max(_LEAST_DROP, _POOR * 1.4826 * float(np.median(np.abs(ssim - middle))))
    poor = ~rim & (ssim < least)
    stray = ~rim & ~poor & _strays(table, offsets)
    for left_out, why in (
        (rim, "fit best at the rim of the search window"),
        (poor, f"have a similarity below {least:.2f} wherever they are laid"),
        (stray, "were found far from where their neighbours were"),
    ):
        if left_out.any():
            notes.append(f"{np.count_nonzero(left_out)} of {len(table)} patches {why}; they were left out.")
    if rim.mean() > 0.05:
        notes.append(f"The scans may drift more than search_lr_px = {config.search_lr_px:g}: raise it.")
    return np.asarray(~(rim | poor | stray))


def _strays(table: NDArray[np.intp], offsets: Sequence[Offset]) -> Bool:
    """Patches whose offset is far off the median of those around them in one scan: drift is smooth, errors jump."""
    found, stray = np.array([(o.dy, o.dx) for o in offsets], float), np.zeros(len(table), bool)
    for k, count in zip(*np.unique(table[:, 0], return_counts=True), strict=True):
        if count > _NEIGHBOURS:
            mine = np.flatnonzero(table[:, 0] == k)
            nearest = cKDTree(table[mine, 1:3]).query(table[mine, 1:3], k=_NEIGHBOURS + 1)[1][:, 1:]
            off = np.abs(found[mine] - np.median(found[mine][nearest], axis=1)).max(axis=1)
            stray[mine] = off > max(_STRAY_PX, 4 * 1.4826 * float(np.median(off)))
    return stray


# ------------------------------------------------------------------ the result
def _require_all_roles(roles: NDArray[np.intp], usable: Bool) -> None:
    for role, name in ((TRAIN, "training"), (STOP, "stop"), (TEST, "test")):
        if not (usable & (roles == role)).any():
            raise InputError(
                f"None of the {np.count_nonzero(roles == role)} {name} patches can be used. Check that both scans of a "
                "pair show the same field, or raise search_lr_px."
            )


def _summary(table: NDArray[np.intp], offsets: Sequence[Offset], usable: Bool, pairs: Pairs) -> list[str]:
    counts = [np.count_nonzero(usable & (table[:, 3] == role)) for role in (TRAIN, STOP, TEST)]
    shares = "/".join(f"{100 * c / sum(counts):.0f}" for c in counts)
    far = np.array([np.hypot(*o.shift) for o, u in zip(offsets, usable, strict=True) if u])
    ssim = np.median([o.ssim for o, u in zip(offsets, usable, strict=True) if u])
    return [
        f"{counts[0]} training, {counts[1]} stop and {counts[2]} test patches ({shares} %) from {len(pairs)} pair(s).",
        f"They were shifted by {np.median(far):.1f} fine pixels (median; largest {far.max():.1f}) to match, with a "
        f"median similarity of {ssim:.2f}; left is half a fine pixel per axis at most, plus the error of the search.",
    ]


def _patch_set(pairs: Pairs, pieces: Sequence[Piece], layout: Layout, setup: Setup, notes: list[str]) -> PatchSet:
    work, out = canvas(pairs, layout, setup)
    trains = [p for p in pieces if (p.role == TRAIN).any()]
    some = trains[:: max(1, sum(p.hr.size for p in trains) // _LOOKED_AT)]
    lr_grey, hr_grey, gain, offset, r = training_grey(some)
    shares = saturated_shares(pairs, setup)
    notes = [*notes, *saturation_notes(shares), *contrast_notes(gain, r)]
    return PatchSet(
        tuple(pieces), setup.factor, setup.ratio, out, work, lr_grey, hr_grey, gain, offset,
        learned_range(some, gain), str(pairs[0][1].dtype), shares, layout.boxes, (), tuple(notes),
    )  # fmt: skip
