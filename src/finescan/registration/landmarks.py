"""The fallback: a location from points that somebody picked by hand in both scans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError
from finescan.registration.location import Candidate, Location
from finescan.values import Image, Verdict, Warp


def locate_from_landmarks(lr: Image, hr: Image, landmarks: Sequence[Sequence[ArrayLike]]) -> Location:
    """Location from hand-picked points, by least squares.

    Parameters
    ----------
    lr, hr : coarse map and fine scan.
    landmarks : ``((y, x) in fine pixels, (y, x) in coarse pixels)`` per point. Two points give a similarity (the
        header's pixel-size ratio may be off by one common factor), three or more an affine map.

    Returns
    -------
    Location with mode "landmarks"; found, with the largest residual among the reasons.

    Raises
    ------
    InputError : fewer than two points, points outside the scans, coinciding points or points on one line.
    """
    if len(landmarks) < 2:
        raise InputError(f"At least two landmarks are needed, but {len(landmarks)} came. Pick more points.")
    fine = np.array([np.asarray(a, float) for a, _ in landmarks])
    coarse = np.array([np.asarray(b, float) for _, b in landmarks])
    if fine.shape != (len(landmarks), hr.grid.ndim) or coarse.shape != fine.shape:
        raise InputError(f"A landmark is a pair of {hr.grid.ndim} pixel coordinates: fine scan first, then the map.")
    for points, image in ((fine, hr), (coarse, lr)):
        if (points < -0.5).any() or (points > np.asarray(image.grid.shape) - 0.5).any():
            raise InputError(f"A landmark lies outside {image.name} ({image.grid}). Fine pixels come first.")
    x, y = hr.grid.to_nm(fine), lr.grid.to_nm(coarse)
    warp = _similarity(x, y) if len(landmarks) == 2 else _least_squares(x, y)
    miss = np.linalg.norm((warp(x) - y) / np.asarray(lr.grid.pixel_size_nm), axis=1)
    reason = f"Placed by {len(landmarks)} hand-picked landmarks; they fit to {miss.max():.2f} coarse pixels at worst."
    if len(landmarks) <= 3:
        reason += " That many points always fit: pick one more as a check."
    found = Candidate(warp, float("nan"), "landmarks")
    return Location(warp, "landmarks", float("nan"), float("nan"), Verdict.FOUND, (reason,), (found,))


def _similarity(x: NDArray[np.float64], y: NDArray[np.float64]) -> Warp:
    """Rotation and one factor through two points."""
    a, b = x[1] - x[0], y[1] - y[0]
    length = float(a @ a)
    if len(a) != 2 or length <= 0 or float(b @ b) <= 0:
        raise InputError("Two landmarks must be different points of a 2-D image. Pick three or more, further apart.")
    c, s = float(a @ b) / length, float(a[0] * b[1] - a[1] * b[0]) / length
    matrix = np.array([[c, -s], [s, c]])
    return Warp.affine(matrix, y.mean(0) - matrix @ x.mean(0))


def _least_squares(x: NDArray[np.float64], y: NDArray[np.float64]) -> Warp:
    """Affine map through three or more points."""
    centred = x - x.mean(0)
    spread = np.linalg.svd(centred, compute_uv=False)
    if spread[-1] < 0.02 * spread[0]:
        raise InputError("The landmarks lie on one line. Pick points that are spread over the fine scan.")
    matrix = np.linalg.lstsq(centred, y - y.mean(0), rcond=None)[0].T
    return Warp.affine(matrix, y.mean(0) - matrix @ x.mean(0))
