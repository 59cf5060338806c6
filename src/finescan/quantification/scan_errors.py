"""What the scan did to a lattice: jitter of single lines, slow drift, and linear drift where the cell is known.

Rows are lines of the scan: x is the fast axis, y the slow one. Jitter is what two neighbouring lines differ by: they
cross the same columns, so that hardly any distortion of the crystal enters. Drift is what changes slower than about a
lattice vector along y; a distortion of the crystal that is the same along whole rows (a fault, say) looks like drift.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.quantification.lattice import Lattice
from finescan.quantification.reduction import as_expected, cell_vectors
from finescan.quantification.spot_fit import HEIGHT, A, C, X, Y, render
from finescan.values import Image

Array = NDArray[np.float64]

SMOOTH = 0.75  # standard deviation of the drift's smoothing over the longer lattice vector
NEAR = 0.1  # share of a usual column's height from which on pixels belong to a column
FEWEST_PIXELS = 12  # of columns on a line for it to say anything
FEWEST_LINES = 32  # for a wave in their shifts to be looked for
STEP_PX = 0.05  # of the numerical derivative
MOST_SHIFT = 1.0  # of the columns' standard deviation: farther off, a first-order shift does not describe a line
MOST_ERROR = 0.5  # likewise


@dataclass(frozen=True)
class LinearDrift:
    """Drift that is linear in time, from the known cell.

    Places of the sample are fast_scale * rotation @ [[1 + stretch, 0], [shear, 1]] @ places (y, x) in the scan.

    Parameters
    ----------
    shear : nm along x that the sample moves per nm that the scan believes to go down (dimensionless).
    stretch : nm along y that the scan goes further than it believes, per nm.
    fast_scale : true over stated pixel size along x.
    error : (3,) standard errors of the three.
    """

    shear: float
    stretch: float
    fast_scale: float
    error: tuple[float, float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return dict(vars(self)) | {"error": list(self.error)}

    def __str__(self) -> str:
        a, b, c = self.error
        return (
            f"shear {100 * self.shear:+.2f} ± {100 * a:.2f} %, stretch {100 * self.stretch:+.2f} ± {100 * b:.2f} %, "
            f"pixels along x {self.fast_scale:.4f} ± {c:.4f} times as long as stated"
        )


@dataclass(frozen=True)
class ScanErrors:
    """Jitter and drift of a scan.

    Parameters
    ----------
    line_shift_nm, line_error_nm : (rows,) how far every line's content is displaced along x from the lattice and the
        drift, and its standard error; NaN for lines that cross no columns.
    drift_nm : (rows, 2) slow displacement (y, x) of every line from the lattice, mean 0, without what is linear.
    jitter_nm, jitter_error_nm : rms of the shifts of single lines, from the differences of neighbours and without what
        their errors explain, and its standard error. Lines that move together count less.
    hum : (period in lines, amplitude in nm) of a wave in the line shifts, as mains or a vibration make it; None if none
        stands out.
    linear : the linear drift, or None when the cell was not given.
    notes : what the reader must know.
    """

    line_shift_nm: Array = field(repr=False)
    line_error_nm: Array = field(repr=False)
    drift_nm: Array = field(repr=False)
    jitter_nm: float
    jitter_error_nm: float
    hum: tuple[float, float] | None = None
    linear: LinearDrift | None = None
    notes: tuple[str, ...] = ()

    @property
    def drift_range_nm(self) -> tuple[float, float]:
        """Peak to peak of the drift that is not linear, y and x."""
        y, x = np.ptp(self.drift_nm, axis=0)
        return float(y), float(x)

    def table(self) -> dict[str, NDArray]:
        """One row per scan line, for CSV; pm."""
        return {
            "line": np.arange(len(self.line_shift_nm)),
            "x_shift_pm": 1e3 * self.line_shift_nm,
            "x_shift_error_pm": 1e3 * self.line_error_nm,
            "y_drift_pm": 1e3 * self.drift_nm[:, 0],
            "x_drift_pm": 1e3 * self.drift_nm[:, 1],
        }

    def summary(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "jitter_rms_pm": 1e3 * self.jitter_nm,
            "jitter_error_pm": 1e3 * self.jitter_error_nm,
            "lines_measured": int(np.isfinite(self.line_shift_nm).sum()),
            "line_error_median_pm": 1e3 * float(np.nanmedian(self.line_error_nm)),
            "hum": None if self.hum is None else {"period_lines": self.hum[0], "amplitude_pm": 1e3 * self.hum[1]},
            "nonlinear_drift_range_pm": [1e3 * v for v in self.drift_range_nm],
            "linear_drift": None if self.linear is None else self.linear.to_dict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        y, x = self.drift_range_nm
        linear = f"; {self.linear}" if self.linear is not None else ""
        if self.hum is not None:
            linear = f", a wave of {1e3 * self.hum[1]:.1f} pm every {self.hum[0]:.2f} lines{linear}"
        return (
            f"line jitter {1e3 * self.jitter_nm:.1f} ± {1e3 * self.jitter_error_nm:.1f} pm rms, drift that is not "
            f"linear {1e3 * y:.0f} (y) and {1e3 * x:.0f} pm (x) peak to peak{linear}"
        )


def measure_scan(image: Image, lattice: Lattice, *, cell: ArrayLike | None = None) -> ScanErrors:
    """Measure jitter and drift of a scan of a lattice.

    A picture is drawn of the columns, with the usual shape of their family, where the lattice and the smoothed drift
    put them; then the shift of every line against it follows by least squares on the line's own pixels (offset, slope,
    gain, shift).

    Parameters
    ----------
    image : the picture that ``lattice`` was measured in.
    cell : (first nm, second nm, angle in degrees) of the true lattice; any of its cells will do. None leaves the linear
        drift unknown: without the cell it cannot be told from the crystal.

    Raises
    ------
    InputError : a lattice of another image, or a cell that no drift of less than 30 % turns into the measured one.
    """
    if lattice.columns.grid.shape != image.grid.shape:
        raise InputError(
            f"{image.name} is {image.grid}, but the lattice was measured in {lattice.columns.grid}. Pass the same "
            "image."
        )
    drift = _drift(lattice)
    shift, error = _line_shifts(image, lattice, drift)
    jitter, uncertain = _jitter(shift, error)
    linear = None if cell is None else linear_drift(lattice, cell)
    notes = (
        () if cell is not None else ("Linear drift needs the true cell (--cell): it cannot be told from the crystal.",)
    )
    return ScanErrors(shift, error, drift, jitter, uncertain, hum_of_lines(shift, error), linear, notes)


def linear_drift(lattice: Lattice, cell: ArrayLike) -> LinearDrift:
    """Shear, stretch and scale that turn the true cell into the measured one; see :func:`measure_scan`."""
    first, second, angle = (float(v) for v in np.asarray(cell, float))
    if not (first > 0 and second > 0 and 0 < angle < 180):
        raise InputError(
            f"A cell is two lengths in nm and the angle between them, such as 0.246,0.246,60, but {first:g}, "
            f"{second:g}, {angle:g} came."
        )
    true = cell_vectors(first, second, angle)
    measured = as_expected(lattice.vectors_nm, true)
    exchange = measured @ np.linalg.inv(lattice.vectors_nm)
    middle = _lower_triangle(measured, true)
    if not np.isfinite(middle).all() or max(abs(middle[0]), abs(middle[1]), abs(middle[2] - 1)) > 0.3:
        raise InputError(
            f"The cell {first:g}, {second:g} nm, {angle:g}° does not fit the measured one "
            f"({1e3 * lattice.cell[0]:.0f}, {1e3 * lattice.cell[1]:.0f} pm, {lattice.cell[2]:.1f}°): drift of more "
            "than 30 % would be needed. Check the cell and the pixel size."
        )
    square = np.zeros(3)
    for k in np.ndindex(2, 2):
        moved = lattice.vectors_nm.copy()
        moved[k] += lattice.vectors_error_nm[k]
        square += (_lower_triangle(exchange @ moved, true) - middle) ** 2
    error = np.sqrt(square)
    shear, stretch, scale = middle.tolist()
    return LinearDrift(shear, stretch, scale, (float(error[0]), float(error[1]), float(error[2])))


def hum_of_lines(shift: Array, error: Array, *, false_alarms: float = 0.01) -> tuple[float, float] | None:
    """Strongest wave in the line shifts that stands out of what neighbouring frequencies have.

    Returns
    -------
    (period in lines, amplitude in nm), or None; ``false_alarms`` is the chance that random shifts give one.
    """
    rows, known = len(shift), np.flatnonzero(np.isfinite(shift) & np.isfinite(error))
    if len(known) < FEWEST_LINES:
        return None
    s, e = shift[known], error[known]
    weight = 1 / (e**2 + np.median((s - np.median(s)) ** 2) + 1e-300)
    frequency = np.arange(16, rows) / (2 * rows)  # per line, up to one half; what is slower is drift
    waves = np.exp(-2j * np.pi * frequency[:, None] * known) @ (weight * (s - (weight * s).sum() / weight.sum()))
    power = np.abs(waves) ** 2 / weight.sum()
    local = ndimage.median_filter(power, 51, mode="reflect") / np.log(2)
    best = int(np.argmax(np.where(power > np.log(rows / false_alarms) * local, power, 0.0)))
    if power[best] <= np.log(rows / false_alarms) * local[best]:
        return None
    return float(1 / frequency[best]), float(2 * np.abs(waves[best]) / weight.sum())


def excess_scatter(values: Array, errors: Array) -> tuple[float, float]:
    """Standard deviation beyond the errors, and its standard error.

    The scatter s with sum(v² / (s² + e²)) = n - 1, v about the weighted mean (Paule and Mandel 1982,
    doi:10.6028/jres.087.022); 0 where the errors explain everything.
    """
    if len(values) < 3:
        return 0.0, float("nan")

    def misfit(square: float) -> float:
        w = 1 / (errors**2 + square)
        return float((w * (values - (w * values).sum() / w.sum()) ** 2).sum()) - (len(values) - 1)

    low, high = 0.0, float(np.sum((values - values.mean()) ** 2)) + 1e-300
    if misfit(low) > 0:
        for _ in range(200):
            half = (low + high) / 2
            low, high = (half, high) if misfit(half) > 0 else (low, half)
    square = (low + high) / 2 if misfit(0.0) > 0 else 0.0
    spread = np.sqrt(2 / np.sum(1 / (errors**2 + square) ** 2))  # of the square
    root = float(np.sqrt(square))
    return root, float(spread / (2 * root) if square > spread else np.sqrt(square + spread) - root)


def _lower_triangle(measured: Array, true: Array) -> Array:
    """(shear, stretch, fast scale) from vectors as measured and true, up to a rotation."""
    back = np.linalg.inv(measured)
    s = back @ true @ true.T @ back.T
    scale, shear = np.sqrt(s[1, 1]), s[0, 1] / s[1, 1]
    with np.errstate(invalid="ignore"):
        return np.array([shear, np.sqrt(s[0, 0] / s[1, 1] - shear**2) - 1, scale])


def _drift(lattice: Lattice) -> Array:
    """Displacements of the columns against their row, smoothed along y: (rows, 2), nm."""
    c, placed = lattice.columns, lattice.placed
    rows = c.grid.shape[0]
    y = np.clip(np.rint(c.spots[placed, Y]).astype(int), 0, rows - 1)
    moved = lattice.displacement_nm[placed]
    limit = 4 * np.median(np.abs(moved), axis=0) + 1e-12
    moved = np.clip(moved, -limit, limit)  # a defect must not bend the drift
    width = SMOOTH * float(np.linalg.norm(lattice.vectors_nm, axis=1).max()) / c.grid.pixel_size_nm[0]
    total = ndimage.gaussian_filter1d(np.bincount(y, minlength=rows).astype(float), width, mode="nearest")
    out = np.stack([ndimage.gaussian_filter1d(np.bincount(y, m, rows), width, mode="nearest") for m in moved.T], 1)
    out /= np.maximum(total, 1e-9 * total.max())[:, None]
    return np.asarray(out - out.mean(0))


def _jitter(shift: Array, error: Array) -> tuple[float, float]:
    """rms of independent line shifts from the differences of neighbours, and its standard error."""
    step, uncertain = np.diff(shift), np.hypot(error[1:], error[:-1])
    known = np.isfinite(step) & np.isfinite(uncertain)
    scatter, spread = excess_scatter(step[known], uncertain[known])
    return float(scatter / np.sqrt(2)), float(spread / np.sqrt(2))


def _ideal(lattice: Lattice, drift: Array) -> Array:
    """The spots where lattice and drift put them, with the median shape of their family.

    A line's shift must not hide in the columns' own places and shapes.
    """
    placed, size = lattice.placed, np.asarray(lattice.columns.grid.pixel_size_nm)
    spots, family = lattice.columns.spots[placed].copy(), lattice.family[placed]
    for k in range(int(family.max()) + 1):
        spots[family == k, A : C + 1] = np.median(spots[family == k, A : C + 1], axis=0)
    spots[:, [Y, X]] -= lattice.displacement_nm[placed] / size
    lines = np.clip(np.rint(spots[:, Y]).astype(int), 0, len(drift) - 1)
    spots[:, [Y, X]] += drift[lines] / size
    return spots


def _line_shifts(image: Image, lattice: Lattice, drift: Array) -> tuple[Array, Array]:
    """Shift of every line against the ideal picture, and its standard error, nm."""
    c, spots = lattice.columns, _ideal(lattice, drift)
    size = np.asarray(c.grid.pixel_size_nm)
    right, left = spots.copy(), spots.copy()
    right[:, X] += STEP_PX
    left[:, X] -= STEP_PX
    model = render(image.grid.shape, spots)
    slope = (render(image.grid.shape, right) - render(image.grid.shape, left)) / (2 * STEP_PX)
    grey = np.asarray(image.data[...], np.float64)
    if np.median(c.height) < 0:
        grey = -grey
    weight = (model > NEAR * float(np.median(np.abs(spots[:, HEIGHT])))).astype(np.float64)
    shift, error = _fitted_lines(grey, model, slope, weight)
    wide = max(1.0, float(np.median(c.sigma_nm)) / size[1])
    far = (np.abs(shift) > MOST_SHIFT * wide) | (error > MOST_ERROR * wide)
    return np.where(far, np.nan, shift * size[1]), np.where(far, np.nan, error * size[1])


def _fitted_lines(grey: Array, model: Array, slope: Array, weight: Array) -> tuple[Array, Array]:
    """Per row: grey = offset + tilt * x + gain * (model + shift * slope); shift and its standard error, pixels."""
    x = np.broadcast_to(np.linspace(-1, 1, grey.shape[1]), grey.shape)
    design = np.stack([np.ones_like(grey), x, model, slope], -1)
    weighted = np.swapaxes(design * weight[..., None], 1, 2)
    normal, right = weighted @ design, (weighted @ grey[..., None])[..., 0]
    count = weight.sum(1)
    sound = count >= FEWEST_PIXELS
    scale = np.sqrt(np.maximum(np.einsum("rii->ri", normal), 1e-300))
    scaled = normal / scale[:, :, None] / scale[:, None, :] + 1e-9 * np.eye(4)
    back = np.linalg.inv(np.where(sound[:, None, None], scaled, np.eye(4)))
    solved = np.einsum("rij,rj->ri", back, right / scale) / scale
    left = grey - (design @ solved[..., None])[..., 0]
    variance = (weight * left**2).sum(1) / np.maximum(count - 4, 1)
    gain = solved[:, 2]
    sound &= gain > 0.2  # the columns must show on this line
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = solved[:, 3] / gain
        error = np.sqrt(variance * back[:, 3, 3]) / scale[:, 3] / gain
    return np.where(sound, shift, np.nan), np.where(sound, error, np.nan)
