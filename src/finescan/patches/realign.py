"""Where a coarse patch lies in a fine scan recorded after it: the offset of the highest structural similarity.

Pairs that a microscope records one after the other drift apart. Each coarse patch is therefore compared with the fine
scan thinned to every ``factor``-th pixel, at every whole offset of a search window, and the most similar one wins
(after T. Reclik et al., Materials & Design 2025, section 2.3.3; what they leave open is decided and said here).

**Which fine pixel is nearest.** Coarse pixel ``i`` has its centre at ``factor * i + (factor - 1) / 2`` in fine pixels.
For an even factor that is the middle between two fine pixels; the second one, ``factor // 2``, is taken, and its
distance (half a fine pixel) is put right in :attr:`Offset.shift`, which says where the patch *really* begins.

**Structural similarity.** Z. Wang et al. 2004, doi:10.1109/TIP.2003.819861, with a uniform 7 x 7 window, population
variances and the windows that lie wholly in the patch. The two scans need not share their grey levels: patch and
searched window are each brought to mean 1/2 and standard deviation 1/6, with a data range of 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from finescan.errors import InputError

WINDOW = 7  # side of SSIM's window, coarse pixels
MEAN, SPREAD = 0.5, 1 / 6
LEAST_SIDE = 15  # coarse pixels of a patch; a smaller one holds too few windows to tell offsets apart
_C1, _C2 = 0.01**2, 0.03**2
_AT_ONCE = 128  # patches: few enough for the cache, enough to make the loops cheap
_VOTERS = 5  # blocks that say how far a place has drifted

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Offset:
    """Where a coarse patch was found in the fine scan.

    Parameters
    ----------
    dy, dx : whole fine pixels between the thinned fine scan and the patch, 0 where the scans do not drift.
    ssim : of the patch at this offset, -1 to 1.
    shift : (row, column) in fine pixels, with the fraction: the patch at coarse pixel ``corner`` begins at fine pixel
        ``factor * corner + shift`` (centre of its first fine pixel).
    at_rim : True where the best offset lies on the rim of the search window, so a better one may lie outside.
    """

    dy: int
    dx: int
    ssim: float
    shift: tuple[float, float]
    at_rim: bool


def nearest_phase(factor: int) -> int:
    """Fine pixel that stands for a coarse one in the thinned scan, counted from the first one under it."""
    return factor // 2


def best_offset(
    lr_patch: NDArray[np.floating], hr: NDArray[np.floating], corner: Sequence[int], factor: int, search_hr_px: int
) -> Offset:
    """The offset at which a fine scan, thinned to the coarse pitch, resembles a coarse patch most.

    Parameters
    ----------
    lr_patch : (h, w) coarse grey levels, finite.
    hr : (H, W) fine grey levels, finite.
    corner : (row, column) of the patch's first pixel on the coarse scan, coarse pixels.
    factor : fine pixels per coarse pixel.
    search_hr_px : half-width of the search window, fine pixels.

    Returns
    -------
    Offset; of equally good ones the one nearest to no shift.

    Raises
    ------
    InputError : a patch below 15 pixels, or one whose search window leaves the fine scan.

    Examples
    --------
    >>> fine = np.random.default_rng(0).normal(size=(120, 120))
    >>> found = best_offset(fine[12:102:4, 9:99:4][:20, :20], fine, (2, 2), 4, 6)
    >>> found.dy, found.dx, round(found.ssim, 3)
    (2, -1, 1.0)
    """
    patch = np.asarray(lr_patch, np.float32)
    box = np.array([[0, *corner, corner[0] + patch.shape[0], corner[1] + patch.shape[1]]], np.intp)
    low, high = _reach(hr.shape, factor, search_hr_px)
    if (box[0, 1:3] < low).any() or (box[0, 3:] > high).any():
        raise InputError(
            f"A search of {search_hr_px} fine pixels needs the patch between coarse pixels {low} and {high}, but it "
            f"covers {box[0, 1:3].tolist()} to {box[0, 3:].tolist()}. Choose a patch farther inside, or a smaller "
            "search window."
        )
    scan = np.zeros(box[0, 3:], np.float32)
    scan[corner[0] :, corner[1] :] = patch
    return search([scan], [np.asarray(hr, np.float32)], box, factor, search_hr_px)[0]


def search(
    lr: Sequence[Float],
    hr: Sequence[Float],
    boxes: NDArray[np.intp],
    factor: int,
    search_hr_px: int,
    around: NDArray[np.intp] | None = None,
) -> list[Offset]:
    """:func:`best_offset` of many patches of many pairs at once.

    Parameters
    ----------
    lr, hr : coarse and fine scan of each pair, finite.
    boxes : (m, 5) pair, and top, left, bottom, right of the patch in coarse pixels; moved by ``around`` it lies in the
        pair's :func:`core`.
    factor, search_hr_px : as there.
    around : (m, 2) middle of the search window of each patch, whole coarse pixels; None = no shift.

    Returns
    -------
    m offsets, that of the window's middle included.
    """
    around = np.zeros((len(boxes), 2), np.intp) if around is None else around
    sides = boxes[:, 3:] - boxes[:, 1:3]
    if len(boxes) and sides.min() < LEAST_SIDE:
        raise InputError(
            f"Patches must keep {LEAST_SIDE} coarse pixels per axis to be found again, but {int(sides.min())} are left "
            "under the search window. Use a larger patch_lr_px or a smaller search_lr_px."
        )
    found: list[Offset | None] = [None] * len(boxes)
    for shape in np.unique(sides, axis=0):
        same = np.flatnonzero((sides == shape).all(axis=1))
        for first in range(0, len(same), _AT_ONCE):
            some = same[first : first + _AT_ONCE]
            pixels = _gather(lr, hr, boxes[some], around[some], factor, search_hr_px)
            scores = _scores(*pixels, factor, search_hr_px)
            for k, one in zip(some.tolist(), np.moveaxis(scores, -1, 0), strict=True):
                found[k] = _moved(_peak(one, factor, search_hr_px), factor * around[k])
    return [f for f in found if f is not None]


def core(lr_shape: Sequence[int], hr_shape: Sequence[int], factor: int, search_hr_px: int) -> tuple[int, int, int, int]:
    """Box (top, left, bottom, right) of the coarse pixels that have a fine one at every offset of the search."""
    low, high = _reach(hr_shape, factor, search_hr_px)
    return low[0], low[1], min(lr_shape[0], high[0]), min(lr_shape[1], high[1])


def _reach(hr_shape: Sequence[int], factor: int, search_hr_px: int) -> tuple[tuple[int, int], tuple[int, int]]:
    phase = nearest_phase(factor)
    low = max(0, -((phase - search_hr_px) // factor))
    high = [max(0, (n - 1 - phase - search_hr_px) // factor + 1) for n in hr_shape]
    return (low, low), (high[0], high[1])


def _gather(
    lr: Sequence[Float],
    hr: Sequence[Float],
    boxes: NDArray[np.intp],
    around: NDArray[np.intp],
    factor: int,
    reach: int,
) -> tuple[Float, Float]:
    """Standardised patches (h, w, m) and the fine windows that the search looks at (H, W, m); patches run fastest."""
    phase = nearest_phase(factor)
    patches, windows = [], []
    for (k, top, left, bottom, right), (dy, dx) in zip(boxes.tolist(), around.tolist(), strict=True):
        patches.append(_standardised(lr[k][top:bottom, left:right]))
        rows, columns = (
            slice(factor * a + phase - reach, factor * (b - 1) + phase + reach + 1)
            for a, b in ((top + dy, bottom + dy), (left + dx, right + dx))
        )
        windows.append(_standardised(hr[k][rows, columns]))
    return np.stack(patches, axis=-1), np.stack(windows, axis=-1)


def _standardised(array: Float) -> Float:
    """Mean 0 and standard deviation 1/6; the mean of 1/2 is added where SSIM compares brightness."""
    spread = float(array.std(dtype=np.float64))
    return (array - array.mean(dtype=np.float64)).astype(np.float32) * np.float32(SPREAD / spread if spread else 1.0)


def _scores(x: Float, window: Float, factor: int, reach: int) -> Float:
    """SSIM of every patch at every offset, (2 reach + 1, 2 reach + 1, m)."""
    (h, w, m), n = x.shape, 2 * reach + 1
    scores = np.empty((n, n, m), np.float32)
    of_x = _moments(x)
    for row, column in _phases(factor):
        # one thinned copy serves all offsets that differ by whole coarse pixels
        y = np.ascontiguousarray(window[row::factor, column::factor])
        of_y = _moments(y)
        for dy in range(row, n, factor):
            for dx in range(column, n, factor):
                a, b = dy // factor, dx // factor
                box = slice(a, a + len(of_x[0])), slice(b, b + of_x[0].shape[1])
                product = _box_mean(x * y[a : a + h, b : b + w])
                scores[dy, dx] = _ssim(of_x, (of_y[0][box], of_y[1][box]), product).mean(axis=(0, 1))
    return scores


def _moments(x: Float) -> tuple[Float, Float]:
    """Mean and variance in every window."""
    mean = _box_mean(x)
    return mean, _box_mean(x * x) - mean * mean


def _ssim(x: tuple[Float, Float], y: tuple[Float, Float], product: Float) -> Float:
    """SSIM of every window from means and variances of values about 0, and the mean of their product."""
    covariance = product - x[0] * y[0]
    mx, my = x[0] + np.float32(MEAN), y[0] + np.float32(MEAN)
    above = (2 * mx * my + np.float32(_C1)) * (2 * covariance + np.float32(_C2))
    below: Float = (mx * mx + my * my + np.float32(_C1)) * (x[1] + y[1] + np.float32(_C2))
    return np.divide(above, below, out=below)


def _phases(factor: int) -> Iterator[tuple[int, int]]:
    return ((row, column) for row in range(factor) for column in range(factor))


def _box_mean(x: Float) -> Float:
    """Mean over every 7 x 7 window that lies wholly inside, axes 0 and 1, by running sums."""
    for axis in (0, 1):
        x = _running_sum(x, axis)
    x *= np.float32(1 / WINDOW**2)
    return x


def _running_sum(x: Float, axis: int) -> Float:
    along = np.moveaxis(x, axis, 0)
    shape = list(x.shape)
    shape[axis] -= WINDOW - 1
    out = np.empty(shape, np.float32)
    sums = np.moveaxis(out, axis, 0)
    np.sum(along[:WINDOW], axis=0, out=sums[0])
    for k in range(1, len(sums)):
        np.add(sums[k - 1], along[k + WINDOW - 1], out=sums[k])
        sums[k] -= along[k - 1]
    return out


def _peak(scores: Float, factor: int, reach: int) -> Offset:
    """The best offset of one table of scores; of equal ones the nearest to none, then the first."""
    offsets = np.arange(-reach, reach + 1)
    distance = (offsets[:, None] ** 2 + offsets[None] ** 2).ravel()
    best = np.flatnonzero(scores.ravel() == scores.max())
    at = int(best[np.argmin(distance[best])])
    row, column = divmod(at, scores.shape[1])
    middle = nearest_phase(factor) - (factor - 1) / 2
    shift = (
        row - reach + middle + _vertex(scores[:, column], row),
        column - reach + middle + _vertex(scores[row], column),
    )
    rim = reach > 0 and (row in (0, 2 * reach) or column in (0, 2 * reach))
    return Offset(row - reach, column - reach, float(scores[row, column]), shift, rim)


def _moved(offset: Offset, by: NDArray[np.intp]) -> Offset:
    """The same find, counted from no shift instead of the middle of its search window."""
    dy, dx = by.tolist()
    return replace(
        offset, dy=offset.dy + dy, dx=offset.dx + dx, shift=(offset.shift[0] + dy, offset.shift[1] + dx)
    )  # fmt: skip


def _vertex(line: Float, at: int) -> float:
    """Fraction by which the top of a parabola through the best score and its neighbours lies beyond it."""
    if not 0 < at < len(line) - 1:
        return 0.0
    before, top, after = (float(v) for v in line[at - 1 : at + 2])
    bend = before - 2 * top + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0


def drift(
    lr: Float, hr: Float, factor: int, places: NDArray[np.floating], *, block: int = 64, far: int = 12
) -> NDArray[np.intp]:
    """How far a large pair has drifted apart around places, in whole coarse pixels; none in a small pair.

    Large blocks are compared at the coarse pitch alone, over a wide window; of neighbouring blocks the median counts,
    so that single errors do not matter. It tells where patches are to be looked for, not where they are.

    Parameters
    ----------
    lr, hr : (h, w) and (H, W) grey levels, finite.
    places : (n, 2) row and column, coarse pixels.
    block, far : side of the blocks and half-width of the window, coarse pixels.

    Returns
    -------
    (n, 2) rows and columns by which the fine scan lies further on.
    """
    phase = nearest_phase(factor)
    thin = hr[phase::factor, phase::factor]
    top, left, bottom, right = core(lr.shape, thin.shape, 1, far)
    if min(bottom - top, right - left) < 2 * block:
        return np.zeros((len(places), 2), np.intp)
    step = block if min(lr.shape) < 10 * block else 2 * block  # a large pair has enough blocks with gaps between them
    rows, columns = (np.arange(a, b - block + 1, step) for a, b in ((top, bottom), (left, right)))
    corners = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    boxes = np.concatenate([np.zeros((len(corners), 1), np.intp), corners, corners + block], axis=1)
    found = np.array([(o.dy, o.dx) for o in search([lr], [thin], boxes, 1, far)], float)
    nearest = cKDTree(corners + block / 2).query(places, k=min(_VOTERS, len(corners)))[1]
    return np.rint(np.median(found[nearest], axis=1)).astype(np.intp)
