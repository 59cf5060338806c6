"""The inner loops of the tomograph: rays through spheres and voxels, blur of projections, back-projection.

Each output element is computed by one thread in a fixed order, so the bits do not depend on the number of threads.
Positions are nm relative to the point where the central ray crosses the axis; see :mod:`.tomography` for the geometry.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

TILE = 8  # columns of the volume that are back-projected together, so that the detector columns stay in the cache
REACH = 4.0  # the blur kernel ends at this many standard deviations


@numba.njit(parallel=True, cache=True)
def chords(
    out: Any, angles: Any, at: Any, radii: Any, middle: Any, wall: float, half: float, source: float, pitch: float
) -> None:
    """Length of solid along every ray: that of the cylinder less those of the spheres; views in parallel."""
    rows, columns = out.shape[1:]
    for k in numba.prange(len(angles)):
        image = np.zeros((rows, columns))
        c, s = np.cos(angles[k]), np.sin(angles[k])
        # along = towards the source, across = along the columns
        cylinder = (middle[1] * s + middle[2] * c, middle[1] * c - middle[2] * s, middle[0])
        for j in range(columns):
            for i in range(rows):
                v, u = (i - 0.5 * (rows - 1)) * pitch, (j - 0.5 * (columns - 1)) * pitch
                t0, t1 = _within(u, v, source, cylinder, wall, half)
                image[i, j] = max(0.0, t1 - t0)
        for n in range(len(radii)):
            along, across = at[n, 1] * s + at[n, 2] * c, at[n, 1] * c - at[n, 2] * s
            r = radii[n]
            cut = abs(at[n, 0] - middle[0]) + r > half
            far = source - along
            lo_u, hi_u = _shadow(across, far, r, source)
            lo_v, hi_v = _shadow(at[n, 0], far, r, source)
            j0 = max(0, int(np.ceil(lo_u / pitch + 0.5 * (columns - 1))))
            j1 = min(columns - 1, int(np.floor(hi_u / pitch + 0.5 * (columns - 1))))
            i0 = max(0, int(np.ceil(lo_v / pitch + 0.5 * (rows - 1))))
            i1 = min(rows - 1, int(np.floor(hi_v / pitch + 0.5 * (rows - 1))))
            square = far * far + across * across + at[n, 0] * at[n, 0]
            for i in range(i0, i1 + 1):
                v = (i - 0.5 * (rows - 1)) * pitch
                for j in range(j0, j1 + 1):
                    u = (j - 0.5 * (columns - 1)) * pitch
                    length = np.sqrt(source * source + u * u + v * v)
                    t = (far * source + across * u + at[n, 0] * v) / length
                    room = r * r - (square - t * t)
                    if room <= 0:
                        continue
                    h = np.sqrt(room)
                    if not cut:
                        image[i, j] -= 2 * h
                        continue
                    t0, t1 = _within(u, v, source, cylinder, wall, half)
                    image[i, j] -= max(0.0, min(t + h, t1) - max(t - h, t0))
        for i in range(rows):
            for j in range(columns):
                out[k, i, j] = max(0.0, image[i, j])


@numba.njit(cache=True)
def _shadow(across: float, far: float, r: float, source: float) -> tuple[float, float]:
    """Limits of a sphere's shadow along one detector axis: the two tangent planes through the source."""
    middle = np.arctan2(across, far)
    spread = np.arcsin(min(1.0, r / np.sqrt(across * across + far * far)))
    return source * np.tan(middle - spread), source * np.tan(middle + spread)


@numba.njit(cache=True)
def _within(u: float, v: float, source: float, middle: Any, wall: float, half: float) -> tuple[float, float]:
    """Where the ray to ``u, v`` enters and leaves the cylinder, as distance from the source; empty if it does not."""
    along, across, up = middle
    length = np.sqrt(source * source + u * u + v * v)
    d_along, d_across, d_up = -source / length, u / length, v / length
    p_along, p_across = source - along, -across
    a = d_along * d_along + d_across * d_across
    b = p_along * d_along + p_across * d_across
    room = b * b - a * (p_along * p_along + p_across * p_across - wall * wall)
    if room <= 0:
        return 0.0, 0.0
    t0, t1 = (-b - np.sqrt(room)) / a, (-b + np.sqrt(room)) / a
    low, high = up - half, up + half
    if abs(d_up) < 1e-12:
        return (t0, t1) if low < 0 < high else (0.0, 0.0)
    z0, z1 = low / d_up, high / d_up
    if z0 > z1:
        z0, z1 = z1, z0
    t0, t1 = max(t0, z0), min(t1, z1)
    return (t0, t1) if t1 > t0 else (0.0, 0.0)


@numba.njit(parallel=True, cache=True, fastmath=True)
def integrals(out: Any, angles: Any, volume: Any, first: Any, step: Any, source: float, pitch: float) -> None:
    """Line integrals through a volume (y, x, z) by Joseph's method: one bilinear sample per plane of the main axis.

    ``first`` is the middle of the first voxel and ``step`` the voxel size, z y x. All rows of a detector column share
    their path in the plane, so two lines of voxels are mixed once per plane and read by all rows.
    """
    rows, columns = out.shape[1:]
    ny, nx, nz = volume.shape
    for k in numba.prange(len(angles)):
        c, s = np.cos(angles[k]), np.sin(angles[k])
        sums, line = np.empty(rows, np.float32), np.zeros(nz + 3, np.float32)
        for j in range(columns):
            u = (j - 0.5 * (columns - 1)) * pitch
            # from the source to the detector on the axis, in the plane
            dy, dx = u * c - source * s, -u * s - source * c
            main_y = abs(dy) / step[1] > abs(dx) / step[2]
            n_main, n_side = (ny, nx) if main_y else (nx, ny)
            sums[:] = np.float32(0)
            for i in range(n_main):
                if main_y:
                    t = (first[1] + step[1] * i - source * s) / dy
                    side = (source * c + t * dx - first[2]) / step[2]
                else:
                    t = (first[2] + step[2] * i - source * c) / dx
                    side = (source * s + t * dy - first[1]) / step[1]
                m = int(np.floor(side))
                if t <= 0 or m < -1 or m >= n_side:
                    continue
                g = np.float32(side - m)
                low, high = max(m, 0), min(m + 1, n_side - 1)
                a = np.float32(0) if m < 0 else np.float32(1) - g
                b = np.float32(0) if m + 1 >= n_side else g
                one = volume[i, low] if main_y else volume[low, i]
                other = volume[i, high] if main_y else volume[high, i]
                inner = line[1 : nz + 1]
                for z in range(nz):
                    inner[z] = a * one[z] + b * other[z]
                # row r looks at voxel start + r * slope, counted from the zero before the first voxel
                slope = t * pitch / step[0]
                start = -0.5 * (rows - 1) * slope - first[0] / step[0] + 1
                r0 = max(0, int(np.ceil(-start / slope)))
                r1 = min(rows - 1, int(np.floor((nz + 1 - start) / slope)))
                _read(sums[r0 : r1 + 1], line, start + r0 * slope, slope)
            across = np.sqrt(dy * dy + dx * dx)
            width = step[1] * across / abs(dy) if main_y else step[2] * across / abs(dx)
            for r in range(rows):
                v = (r - 0.5 * (rows - 1)) * pitch
                out[k, r, j] = sums[r] * np.float32(width * np.sqrt(across * across + v * v) / across)


def blur(images: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Images (n, rows, columns) blurred by a Gaussian of ``sigma_px`` in rows and columns; border pixels repeated."""
    reach = max(1, int(np.ceil(REACH * sigma_px)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    out = np.empty_like(images)
    _blur(np.ascontiguousarray(images), out, (weights / weights.sum()).astype(np.float32))
    return out


@numba.njit(parallel=True, cache=True, fastmath=True)
def _blur(images: Any, out: Any, weights: Any) -> None:
    rows, columns = images.shape[1:]
    reach = len(weights) // 2
    for k in numba.prange(len(images)):
        line = np.empty(columns + 2 * reach, np.float32)
        for i in range(rows):
            line[:] = np.float32(0)
            for w in range(len(weights)):
                source = images[k, min(rows - 1, max(0, i + w - reach))]
                for j in range(columns):
                    line[reach + j] += weights[w] * source[j]
            line[:reach] = line[reach]
            line[reach + columns :] = line[reach + columns - 1]
            out[k, i, :] = np.float32(0)
            for w in range(len(weights)):
                for j in range(columns):
                    out[k, i, j] += weights[w] * line[j + w]


@numba.njit(parallel=True, cache=True, fastmath=True)
def back_project(
    out: Any, mask: Any, filtered: Any, angles: Any, z: Any, y: Any, x: Any, source: float, pitch: float
) -> None:
    """Add filtered projections (views, columns, rows) to a volume (z, y, x), weighted by (source / distance)²."""
    views, columns, rows = filtered.shape
    nz, ny, nx = out.shape
    tiles = (nx + TILE - 1) // TILE
    step = z[1] - z[0] if nz > 1 else pitch
    for tile in numba.prange(tiles * ((ny + TILE - 1) // TILE)):
        y0, x0 = (tile // tiles) * TILE, (tile % tiles) * TILE
        sums = np.zeros((TILE, TILE, nz), np.float32)
        column = np.empty(rows + 1, np.float32)
        for k in range(views):
            c, s = np.cos(angles[k]), np.sin(angles[k])
            for iy in range(y0, min(y0 + TILE, ny)):
                for ix in range(x0, min(x0 + TILE, nx)):
                    if not mask[iy, ix]:
                        continue
                    scale = source / (source - (y[iy] * s + x[ix] * c))
                    u = (y[iy] * c - x[ix] * s) * scale / pitch + 0.5 * (columns - 1)
                    j = min(max(int(u), 0), columns - 2)
                    _interpolate(
                        sums[iy - y0, ix - x0], column, filtered[k, j], filtered[k, j + 1], np.float32(u - j),
                        np.float32(scale * scale), z[0] * scale / pitch + 0.5 * (rows - 1), step * scale / pitch,
                    )  # fmt: skip
        for iz in range(nz):
            for iy in range(y0, min(y0 + TILE, ny)):
                for ix in range(x0, min(x0 + TILE, nx)):
                    out[iz, iy, ix] += sums[iy - y0, ix - x0, iz]


@numba.njit(cache=True, fastmath=True)
def _interpolate(line: Any, column: Any, left: Any, right: Any, f: Any, weight: Any, first: float, step: float) -> None:
    """Add the bilinear samples of two detector columns to one column of voxels."""
    rows = len(left)
    a = min(max(int(first), 0), rows - 1)
    b = min(int(first + step * (len(line) - 1)) + 2, rows)
    # slices, because indices that might be negative keep the compiler from using vector instructions
    mixed, one, other = column[a:b], left[a:b], right[a:b]
    for i in range(len(mixed)):
        mixed[i] = weight * (one[i] + f * (other[i] - one[i]))
    column[b] = column[b - 1]
    _read(line, column, max(first, 0.0), step)


@numba.njit(cache=True, fastmath=True, inline="always")
def _read(out: Any, line: Any, first: float, step: float) -> None:
    """Add linear samples of a line at ``first``, ``first + step`` and so on; 0 <= ``first``, one spare at the end.

    Positions are counted in fixed point, 32 bits after the point: faster than floats, and a slab gets those of a whole.
    """
    at, slope = np.int64(first * 4294967296.0), np.int64(step * 4294967296.0)
    for i in range(len(out)):
        n = at >> 32
        g = np.float32(at & 0xFFFFFFFF) * np.float32(2.0**-32)
        out[i] += line[n] + g * (line[n + 1] - line[n])
        at += slope
