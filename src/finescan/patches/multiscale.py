"""Training sets from coarse pictures alone: the recorded pictures at many zoom levels, each with its coarser version.

A network that has seen a picture made finer (3) and coarser (2) than it was recorded learns what is the same at every
level, and can go on beyond the finest one. Nothing is written; :mod:`finescan.patches.multiscale_files` writes.

Source: B. Möller et al., CVPR Workshops 2023; see :mod:`finescan.patches.multiscale_config`. Ours are the held-out
places, nearest neighbours without a shift, grey levels beyond eight bits, and patches from anywhere in a picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.io.flattening import require_level
from finescan.patches import grey
from finescan.patches.decoupling import NoiseModel, decoupled, decoupled_points, noise_of
from finescan.patches.multiscale_config import ON_THE_FLY_CROP, Level, MultiscaleConfig
from finescan.patches.multiscale_roles import Held, held_places, roles_at
from finescan.patches.pieces import PatchSet, Piece
from finescan.patches.sampling import window_sums
from finescan.patches.split import STOP, TRAIN
from finescan.patches.zoom import UNITS, points, resized, zoomed, zoomed_shape
from finescan.values import GreyStatistics, Grid, Image

MOST_BYTES = 1_000_000_000  # of all levels together; larger sets hold a part of every level
CONTEXT = 2  # coarse pixels at each side of a training patch that need not train
LEAST_TRAIN, LEAST_STOP = 576, 64  # coarse pixels
SQUARE = 0.01  # relative difference of the two pixel sizes
SAME_SIZE = 0.01  # relative difference of the pixel sizes of two pictures
_LOOKED_AT = 1 << 22  # recorded pixels of which grey statistics are taken

Bool = NDArray[np.bool_]
Array = NDArray[np.float32]
Corner = tuple[int, int]


@dataclass(frozen=True)
class _Recorded:
    """One picture: grey levels, where they say nothing (None = nowhere), held-out places, noise if it is needed."""

    picture: Array
    bad: Bool | None
    grid: Grid
    name: str
    held: Held
    noise: NoiseModel | None = None

    @property
    def processes(self) -> tuple[int, ...]:
        """Whose levels are needed: all to train; of a picture that is held out as a whole, those that judge."""
        whole = [(0, 0, *self.picture.shape)]
        if self.held.get("test") == whole:
            return (1,)
        return (1, 3) if self.held.get("stop") == whole else (1, 2, 3, 4)


@dataclass(frozen=True)
class _Window:
    """A part of a level, in its coarse pixels."""

    level: Level
    start: Corner
    stop: Corner

    @property
    def shape(self) -> Corner:
        return self.stop[0] - self.start[0], self.stop[1] - self.start[1]


def multiscale_patches(
    images: Sequence[Image], config: MultiscaleConfig | None = None, *, most_bytes: int = MOST_BYTES
) -> PatchSet:
    """A training set from coarse pictures alone, for :func:`finescan.training.train`.

    The model it trains reads pictures like the recorded ones and answers with pixels ``sr_factor`` times smaller.

    Parameters
    ----------
    images : recorded pictures of one zoom level; square pixels, scanning-probe pictures flattened.
    config : the zoom levels; None = :class:`MultiscaleConfig` as it stands, which is the recorded level alone.
        ``PRESETS`` holds the published ones.
    most_bytes : memory of the set. Where all levels would take more, each holds a part of its pictures.

    Returns
    -------
    PatchSet with a piece per picture, level and filter; pieces of a level share their fine pixels. ``boxes`` and
    ``regions`` are those of the first picture. The recorded level and finer ones (1, 3) judge, with what a coarser scan
    would have recorded (:func:`finescan.patches.zoom.points`); coarser ones (2) and interpolated ones (4) only train.

    Raises
    ------
    InputError : no picture, a volume or movie, pixels that are not square or differ between pictures, a picture
        smaller than a crop, lines of a scanning-probe picture not levelled, too little left to train and to judge.
    """
    config = config or MultiscaleConfig()
    require_pictures(images, config)
    crop = config.crop or ON_THE_FLY_CROP * config.sr_factor
    require_crop(images, crop)
    filled = [_filled(image) for image in images]
    held, notes = held_places([p for p, _, _ in filled], [i.name for i in images], config.sr_factor, config.split)
    recorded = [
        _Recorded(p, bad, i.grid, i.name, h, _noise(p, bad, config))
        for (p, bad, _), i, h in zip(filled, images, held, strict=True)
    ]
    windows, said = _plan(recorded, config, crop, most_bytes)
    pieces, chances = [], []
    for k, (r, window) in enumerate(windows):
        for piece, chance in _pieces(r, window, config, np.random.default_rng([config.split.seed, 6, k])):
            pieces.append(piece)
            chances.append(chance)
    _require_enough(pieces, recorded, config)
    read = [_as_read(r, config) for r in recorded]
    grey_levels = _statistics(read)
    saturated = float(np.mean([share for _, _, share in filled]))
    notes = [f"Learned from coarse pictures alone, {config}.", *notes, *said]
    if saturated > 0.001:
        notes.append(f"{100 * saturated:.1f} % of the pictures is saturated or missing and was not learned from.")
    out_grid, work_grid = model_grids(images[0].grid, config)
    boxes = {role: [_at_work(b, config) for b in found] for role, found in held[0].items()}
    return PatchSet(
        tuple(pieces), config.sr_factor, (float(config.sr_factor),) * 2, out_grid, work_grid, grey_levels, grey_levels,
        1.0, 0.0, _range(read), str(images[0].dtype), {"lr": saturated, "hr": saturated}, boxes, (), tuple(notes),
        tuple(chances), tuple(read),
    )  # fmt: skip


def require_pictures(images: Sequence[Image], config: MultiscaleConfig, *, square: bool = True) -> None:
    """InputError unless the pictures can be brought to other zoom levels together."""
    if not images:
        raise InputError("A training set needs at least one picture, but none came.")
    for image in images:
        if image.grid.ndim != 2:
            raise InputError(
                f"{image.name} is a volume or a movie ({image.grid.axes}, {' x '.join(map(str, image.grid.shape))}), "
                "but zoom levels are made of single pictures. Choose one of its frames (--frame on the command line)."
            )
        y, x = image.grid.pixel_size_nm
        if square and abs(y / x - 1) > SQUARE:
            raise InputError(
                f"Zoom levels need square pixels, but those of {image.name} are {y:.6g} x {x:.6g} nm. Resample it to "
                "equal sizes first, or pass the right pixel size."
            )
        require_level(image, probe=True if UNITS[config.scale.unit] < 0 else None)
    sizes = [image.grid.pixel_size_nm[0] for image in images]
    odd = next((k for k, s in enumerate(sizes) if abs(s / sizes[0] - 1) > SAME_SIZE), None)
    if square and odd is not None:
        raise InputError(
            f"All pictures must be of one zoom level, but pixels of {images[0].name} are {sizes[0]:.6g} nm and those "
            f"of {images[odd].name} {sizes[odd]:.6g} nm. Make a set of each level."
        )


def require_crop(images: Sequence[Image], crop: int) -> None:
    """InputError for a picture that is smaller than one training crop."""
    for image in images:
        h, w = image.grid.shape
        if min(h, w) < crop:
            raise InputError(
                f"{image.name} has {h} x {w} px, but one training crop is {crop} x {crop} px. Use a larger picture or "
                "a smaller crop (crop=…, --crop on the command line)."
            )


def model_grids(grid: Grid, config: MultiscaleConfig) -> tuple[Grid, Grid]:
    """Grid of the result and of what the model reads, for a recorded picture's grid."""
    if config.reads == 1:
        return grid.refine(config.sr_factor), grid
    return grid, grid.coarsen(config.sr_factor)


def _filled(image: Image) -> tuple[Array, Bool | None, float]:
    """Grey levels without gaps, pixels that say nothing (None = all do), and their share."""
    recorded = image.array()
    picture, missing = grey.filled(recorded)
    bad = missing | grey.saturated(recorded, grey.cut_levels(recorded))
    return picture, (bad if bad.any() else None), float(bad.mean())


# ---------------------------------------------------------------------------------------------- which windows
def _plan(
    recorded: Sequence[_Recorded], config: MultiscaleConfig, crop: int, most_bytes: int
) -> tuple[list[tuple[_Recorded, _Window]], list[str]]:
    """What is made of which picture, and sentences about what is not."""
    s, left_out = config.sr_factor, set()
    every: list[tuple[_Recorded, _Window]] = []
    for r in recorded:
        for level in config.levels:
            if level.process not in r.processes:
                continue
            shape = zoomed_shape(r.picture.shape, level.ratio / s)
            if _has_room(r, level, shape, config, crop):
                every.append((r, _Window(level, (0, 0), shape)))
            else:
                left_out.add(level.ratio)
    notes = []
    if left_out:
        names = ", ".join(f"{config.scale.level(v):.6g}" for v in sorted(left_out))
        notes.append(
            f"Left out, with no room for a crop of {crop} px beside held-out places: {names} {config.scale.unit}."
        )
    need = sum(_bytes(w, config) for _, w in every)
    if need > most_bytes:
        share = most_bytes / need
        notes.append(f"To save memory, {100 * share:.0f} % of every zoom level is used.")
        rng = np.random.default_rng([config.split.seed, 5])
        every = [(r, _cut(r, w, math.sqrt(share), crop // s, s, rng)) for r, w in every]
    return every, notes


def _has_room(r: _Recorded, level: Level, shape: Corner, config: MultiscaleConfig, crop: int) -> bool:
    """Whether a level has a place to train at, or judges."""
    side = crop // config.sr_factor
    if min(shape) < side:
        return False
    if level.process == 1 or 2 not in r.processes:
        return True
    roles, _ = roles_at(r.held, shape, level.ratio / config.sr_factor, config.split.guard_lr_px)
    inner = slice(CONTEXT, -CONTEXT)  # only the kept part of a patch must train
    trains = window_sums((roles == TRAIN).astype(np.float64), side - 2 * CONTEXT)[inner, inner]
    return bool((trains > (side - 2 * CONTEXT) ** 2 - 0.5).any())


def _bytes(window: _Window, config: MultiscaleConfig) -> int:
    """Fine pixels once, coarse ones per filter, roles and patch positions."""
    h, w = window.shape
    pieces = 1 if window.level.process == 4 else len(config.filters) + 1
    return h * w * (4 * config.sr_factor**2 + 4 * pieces + 17)


def _cut(r: _Recorded, window: _Window, side: float, least: int, factor: int, rng: np.random.Generator) -> _Window:
    """A random part of a level; of the recorded level, one with the stop block, if there is one."""
    size = [max(least, round(n * side)) for n in window.shape]
    start = [int(rng.integers(0, n - s + 1)) for n, s in zip(window.shape, size, strict=True)]
    boxes = r.held.get("stop", [])
    if window.level.process == 1 and boxes:
        middle = ((a + b) / 2 / factor for a, b in zip(boxes[0][:2], boxes[0][2:], strict=True))
        start = [int(np.clip(m - s / 2, 0, n - s)) for m, s, n in zip(middle, size, window.shape, strict=True)]
    return _Window(window.level, (start[0], start[1]), (start[0] + size[0], start[1] + size[1]))


# ---------------------------------------------------------------------------------------------- what is in them
def _pieces(
    r: _Recorded, window: _Window, config: MultiscaleConfig, rng: np.random.Generator
) -> Iterator[tuple[Piece, float]]:
    """All pieces of one level of one picture, with their chances: 1 for each filter."""
    level, s = window.level, config.sr_factor
    fine = _times(window.start, s), _times(window.stop, s)
    roles, boxes = roles_at(r.held, window.shape, level.ratio / s, config.split.guard_lr_px, window.start)
    grid = r.grid.refine(level.ratio).crop(*fine)
    name = f"{r.name} at {config.scale.named(level.ratio)}"

    def piece(lr: Array, hr: Array, weight: Bool, judges: bool) -> Piece:
        own = {k: tuple(v) for k, v in boxes.items()} if judges else {}
        return Piece(lr, hr, weight, roles, grid.coarsen(s), grid, name, own)

    if level.process == 4:
        lr = zoomed(r.picture, level.ratio / s, window.start, window.stop)
        hr = resized(lr, _times(lr.shape, s), "bicubic")
        yield piece(lr, hr, _weight(_bad_at(r.bad, level.ratio / s, window.start, window.stop), 2, s, hr), False), 1.0
        return
    first, second = r.picture, r.picture
    if level.process == 3 and r.noise is not None:
        first, second = decoupled(r.picture, r.noise, config.decoupling, rng)
    hr = zoomed(second, level.ratio, *fine)
    bad = _bad_at(r.bad, level.ratio, *fine)
    weight = _weight(None if bad is None else np.any(_blocks(bad, s), axis=(1, 3)), 1, s, hr)
    judge = _judging_filter(config) if level.process in (1, 3) else ""
    for name_of_filter in config.filters if 2 in r.processes else (judge,):
        if first is second:
            versions = _coarser(r, window, hr, name_of_filter, config)
        else:
            versions = [_decoupled(first, r, window, name_of_filter, config, rng)]
        for lr in versions:
            yield piece(lr, hr, weight, name_of_filter == judge), 1 / len(versions)


def _judging_filter(config: MultiscaleConfig) -> str:
    return "nearest" if "nearest" in config.filters else config.filters[0]


def _coarser(r: _Recorded, window: _Window, hr: Array, filter_name: str, config: MultiscaleConfig) -> list[Array]:
    """Coarse versions of a fine picture."""
    level, s = window.level, config.sr_factor
    if filter_name == "nearest":
        return points(r.picture, level.ratio / s, window.start, window.stop, interpolated=level.process == 3)
    return [resized(hr, (hr.shape[0] // s, hr.shape[1] // s), filter_name)]


def _decoupled(
    first: Array, r: _Recorded, window: _Window, filter_name: str, config: MultiscaleConfig, rng: np.random.Generator
) -> Array:
    """The coarse version whose noise has nothing to do with that of the fine picture."""
    level, s = window.level, config.sr_factor
    if filter_name == "nearest":
        assert r.noise is not None
        return decoupled_points(first, r.noise, config.decoupling, level.ratio / s, window.start, window.stop, rng)
    fine = zoomed(first, level.ratio, _times(window.start, s), _times(window.stop, s))
    return resized(fine, window.shape, filter_name)


def _noise(picture: Array, bad: Bool | None, config: MultiscaleConfig) -> NoiseModel | None:
    if not config.decoupling:
        return None
    return noise_of(picture, None if bad is None else ~bad)


def _bad_at(bad: Bool | None, ratio: float, start: Corner, stop: Corner) -> Bool | None:
    """Where a zoomed picture was made with pixels that say nothing."""
    if bad is None:
        return None
    if ratio > 1:
        bad = ndimage.binary_dilation(bad, np.ones((5, 5), bool))  # reach of bicubic interpolation
    rows, columns = (
        np.minimum(np.floor((np.arange(a, b) + 0.5) / ratio + 1e-9).astype(np.intp), n - 1)
        for a, b, n in zip(start, stop, bad.shape, strict=True)
    )
    return np.asarray(bad[np.ix_(rows, columns)])


def _weight(bad: Bool | None, reach: int, factor: int, hr: Array) -> Bool:
    """Fine pixels that count, from coarse ones that say nothing; without any, one value for all of them."""
    if bad is None or not bad.any():
        return np.broadcast_to(np.True_, hr.shape)
    good = ~ndimage.binary_dilation(bad, np.ones((2 * reach + 1,) * 2, bool))
    return np.repeat(np.repeat(good, factor, axis=0), factor, axis=1)


def _blocks(values: Bool, factor: int) -> Bool:
    h, w = values.shape
    return values.reshape(h // factor, factor, w // factor, factor)


def _times(corner: Sequence[int], factor: int) -> Corner:
    return corner[0] * factor, corner[1] * factor


# ---------------------------------------------------------------------------------------------- what all say together
def _require_enough(pieces: Sequence[Piece], recorded: Sequence[_Recorded], config: MultiscaleConfig) -> None:
    train = max((int(np.count_nonzero(p.role == TRAIN)) for p in pieces), default=0)
    stop = sum(int(np.count_nonzero(p.role == STOP)) for p in pieces if p.boxes)
    if train < LEAST_TRAIN or stop < LEAST_STOP:
        h, w = recorded[0].picture.shape
        raise InputError(
            f"The pictures are too small to train and to judge: of {recorded[0].name} ({h} x {w} px) and all others, "
            f"with gaps of {config.split.guard_lr_px} coarse px, {train} coarse px are left to train and {stop} to "
            f"judge, but {LEAST_TRAIN} and {LEAST_STOP} are needed. Use larger or more pictures."
        )


def _as_read(r: _Recorded, config: MultiscaleConfig) -> tuple[Array, Bool]:
    """A recorded picture as the model will read it, and where it was learned from."""
    shape = zoomed_shape(r.picture.shape, config.reads)
    guard = round(config.split.guard_lr_px * config.sr_factor * config.reads)
    trains = roles_at(r.held, shape, config.reads, guard)[0] == TRAIN
    bad = _bad_at(r.bad, config.reads, (0, 0), shape)
    return zoomed(r.picture, config.reads), trains if bad is None else trains & ~bad


def _statistics(read: Sequence[tuple[Array, Bool]]) -> GreyStatistics:
    """Of the learned part of all pictures; of a large set, of evenly spaced pixels."""
    step = max(1, round(sum(int(m.sum()) for _, m in read) / _LOOKED_AT))
    values = np.concatenate([p[m][::step] for p, m in read])
    found = grey.statistics(values)
    if not found.std > 1e-6 * max(abs(found.mean), 1e-30):
        raise InputError("The pictures are constant where they train: there is nothing to learn. Check the files.")
    return found


def _range(read: Sequence[tuple[Array, Bool]]) -> tuple[float, float]:
    """Locally averaged grey levels, at the level that the model will read.

    At other levels the same five pixels average over more or less of the sample; what was learned is its grey levels.
    """
    ends = [np.percentile(grey.local_average(p)[m], grey.RANGE_PERCENTILES) for p, m in read if m.any()]
    return float(min(e[0] for e in ends)), float(max(e[1] for e in ends))


def _at_work(box: tuple[int, int, int, int], config: MultiscaleConfig) -> tuple[int, int, int, int]:
    t, x, b, r = (v * config.reads for v in box)
    return math.floor(t), math.floor(x), math.ceil(b), math.ceil(r)
