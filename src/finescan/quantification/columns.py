"""Atom columns: where they are, to a fraction of a picometre where the dose allows it, and how well that is known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from finescan.errors import InputError
from finescan.io.flattening import require_flat
from finescan.quantification.reduction import dual, reduced
from finescan.quantification.spectrum import (
    TOLERANCE,
    Peaks,
    Spectrum,
    order_of,
    reciprocal_basis,
    spectrum,
    spectrum_peaks,
)
from finescan.quantification.spot_fit import (
    GROUND,
    HEIGHT,
    UsualShape,
    Windows,
    X,
    Y,
    covariances,
    fit_spots,
    grey_variance,
    likeness,
    noise_model,
    render,
    sigmas,
    spot_grey,
    usual_shape,
)
from finescan.values import Grid, Image

Array = NDArray[np.float64]

PASS = 0.2  # sigma of the smoothing times the highest frequency of the lattice that stands out of the noise
BACKGROUND = 0.4  # sigma of what counts as background over the longer lattice vector
LEAST_HEIGHT = 0.25  # of a column over the usual one's, after the band pass
ABOVE_NOISE = 2.0  # standard deviations of the band-passed noise
APART = 0.3  # least distance of columns over the shortest lattice vector
TOO_CLOSE = 0.5  # of the usual distance of neighbours: two maxima of one column
WINDOW = 0.55  # radius of the fitted window over the distance of neighbours
SMALLEST_WINDOW = 2.2  # pixels: 13 of them for seven numbers
CLOSEST_PX = 3.5  # neighbours closer than this cannot be fitted
FEWEST = 12
WIDTHS = (1 / 10, 1 / 3)  # of a usual column, standard deviation over the distance of neighbours
SQUARE = 1.5  # ratio of pixel sizes from which on round windows are no longer round
WANDER = 0.5  # of the window's radius: a fit whose centre left its column by more is dropped
ROUNDS = (3, 10)  # fewest and most, of fitting each column without its neighbours
STILL = 0.01  # pixels: most columns move by less in a round when it was the last
ALIKE = 1.3  # from which on it is said


@dataclass(frozen=True)
class Columns:
    """Fitted atom columns, in the order of their rows.

    Parameters
    ----------
    grid : of the image.
    position_nm, error_nm : (n, 2) y, x and standard errors, nm, in the frame of the image.
    height, height_error : (n,) grey of the middle over the ground around it.
    ground : (n,) grey of that ground.
    sigma_nm : (n, 2) standard deviation along the longer and shorter axis.
    spots : (n, 7) parameters of the fit, see :mod:`finescan.quantification.spot_fit`, centres in pixels.
    radius_px : of the fitted windows.
    noise : (constant, slope) of the noise variance as a function of grey.
    peaks : the periods of the image.
    tally : ``seen`` maxima, ``cut`` by the edge, ``bad_fits`` dropped.
    notes : what the reader must know, in sentences.
    """

    grid: Grid
    position_nm: Array
    error_nm: Array
    height: Array
    height_error: Array
    ground: Array
    sigma_nm: Array
    spots: Array = field(repr=False)
    radius_px: float
    noise: tuple[float, float]
    peaks: Peaks = field(repr=False)
    tally: dict[str, int]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.height)

    @property
    def spacing_nm(self) -> float:
        """Median distance of nearest neighbours."""
        return _spacing(self.position_nm)

    def only(self, which: NDArray) -> Columns:
        """Some of the columns."""
        names = ("position_nm", "error_nm", "height", "height_error", "ground", "sigma_nm", "spots")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def summary(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "columns": len(self),
            **self.tally,
            "spacing_pm": 1e3 * self.spacing_nm,
            "median_error_pm": 1e3 * float(np.median(self.error_nm)),
            "median_fwhm_pm": 2354.82 * float(np.median(np.sqrt(self.sigma_nm.prod(1)))),
            "noise_variance": {"constant": self.noise[0], "per_grey": self.noise[1]},
            "notes": list(self.notes),
        }


def find_columns(image: Image, *, least_height: float = LEAST_HEIGHT, bright: bool = True) -> Columns:
    """Find and fit the atom columns of a picture of a crystal.

    The scale comes from the power spectrum: what lies beyond the highest period that stands out of the noise is
    smoothed away, what is slower than a lattice vector is subtracted, and every local maximum that is high enough over
    the noise and against the others is a column. Each is fitted by an elliptical Gaussian on a constant, in a round
    window, three times or until most stay where they are: without what the fits of its neighbours reach into the
    window, and from the second time on with weights from a noise model (constant plus proportional to grey) that the
    residuals give.

    Parameters
    ----------
    image : a picture; any number format, pixels nearly square.
    least_height : share of the usual column's height below which a maximum is no column.
    bright : columns are bright on dark; False = dark on bright (bright-field images).

    Returns
    -------
    Columns : whole ones only; those whose window the edge cuts are left out and counted. Standard errors are for
        independent noise, enlarged where residuals of neighbouring pixels are alike (interpolated and enhanced images).

    Raises
    ------
    InputError : a volume, no lattice, lines that are not flattened, pixels not square, columns fewer than 12 or closer
        than 3.5 pixels.
    """
    _require_judgeable(image)
    waves = spectrum(image)
    peaks = spectrum_peaks(waves)
    data = np.asarray(image.data[...], np.float64) * (1.0 if bright else -1.0)
    at, sigma = _maxima(data, image, waves, peaks, least_height)
    spacing = _spacing(at)
    _require_enough(at, spacing, image.name)
    radius = max(WINDOW * spacing, SMALLEST_WINDOW)
    whole = ((at >= radius) & (at <= np.array(data.shape) - 1 - radius)).all(1)
    _require_enough(at[whole], spacing, image.name)
    windows = Windows.cut(data, at[whole], radius)
    shape = usual_shape(windows, max(sigma, spacing / 6), *(spacing * share for share in WIDTHS))
    spots, noise, alike = _fit(data, windows, shape, radius, waves.noise_after(0.0, np.inf))
    variance = grey_variance(spot_grey(spots, windows.offset), noise)
    error = np.sqrt(np.einsum("nii->ni", covariances(windows, spots, variance, shape)) * alike)
    # a column that is no more than noise, or whose fit ran away, is none
    good = np.isfinite(error).all(1) & (spots[:, HEIGHT] > ABOVE_NOISE * error[:, HEIGHT])
    _require_enough(at[whole][good], spacing, image.name)
    spots[:, [Y, X]] += windows.centre
    tally = {"seen": len(at), "cut": int((~whole).sum()), "bad_fits": int((~good).sum())}
    return _measured(
        image.grid,
        spots[good],
        error[good],
        bright,
        radius_px=radius,
        noise=noise,
        peaks=peaks,
        tally=tally,
        notes=_notes(alike),
    )


def _require_judgeable(image: Image) -> None:
    """Columns are fitted in flat pictures of nearly square pixels; :func:`spectrum` refuses the rest."""
    if image.grid.ndim != 2:
        return
    ratio = max(image.grid.pixel_size_nm) / min(image.grid.pixel_size_nm)
    if ratio > SQUARE:
        raise InputError(
            f"{image.name}: columns are fitted in round windows, but its pixels are {ratio:.2f} times as long as wide. "
            "Resample it to square pixels first."
        )
    if image.grid.shape[1] >= 8 and np.isfinite(np.asarray(image.data[...], np.float64)).all():
        require_flat(image)


def _spacing(at: NDArray) -> float:
    """Median distance of nearest neighbours; 0 of fewer than two."""
    return float(np.median(spatial.cKDTree(at).query(at, k=2)[0][:, 1])) if len(at) > 1 else 0.0


def _require_enough(at: NDArray, spacing: float, name: str) -> None:
    if len(at) < FEWEST:
        raise InputError(
            f"{name}: at least {FEWEST} whole columns are needed, but {len(at)} were found. Use a larger field, or "
            "lower least_height (--least-height)."
        )
    if spacing < CLOSEST_PX:
        raise InputError(
            f"{name}: columns must be at least {CLOSEST_PX} pixels apart to be fitted, but they are {spacing:.1f}. "
            "Enhance or interpolate the image first."
        )


def _maxima(data: Array, image: Image, waves: Spectrum, peaks: Peaks, least: float) -> tuple[NDArray[np.int64], float]:
    """Pixels (n, 2) of the columns, and sigma of the smoothing that showed them."""
    size = np.asarray(image.grid.pixel_size_nm)
    basis = reciprocal_basis(peaks, image.name)
    vectors = reduced(dual(basis)) / size
    lengths = np.linalg.norm(vectors, axis=1)
    explained = order_of(peaks.frequency, basis, peaks.step)[1] <= 2 * TOLERANCE  # others are no part of the crystal
    fine = PASS / float(np.linalg.norm(peaks.frequency[explained] * size, axis=1).max())
    broad = BACKGROUND * float(lengths.max())
    band = ndimage.gaussian_filter(data, fine, mode="mirror") - ndimage.gaussian_filter(data, broad, mode="mirror")
    foot = max(1, int(APART * lengths.min() / np.sqrt(2)))
    at = np.argwhere((band >= ndimage.maximum_filter(band, size=2 * foot + 1, mode="mirror")) & (band > 0))
    height = band[at[:, 0], at[:, 1]]
    cells = max(1, int(np.prod(data.shape) / abs(np.linalg.det(vectors))))
    usual = float(np.median(np.sort(height)[::-1][:cells])) if len(height) else 0.0
    keep = height > max(least * usual, ABOVE_NOISE * waves.noise_after(fine, broad))
    return _thinned(at[keep], height[keep]), fine


def _thinned(at: NDArray[np.int64], height: Array) -> NDArray[np.int64]:
    """Without the lower of two maxima that are closer than half the usual distance of neighbours, in order of rows."""
    if len(at) < FEWEST:
        return at
    pairs = spatial.cKDTree(at).query_pairs(TOO_CLOSE * _spacing(at), output_type="ndarray")
    lower = np.where(height[pairs[:, 0]] < height[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    return np.delete(at, np.unique(lower), axis=0)


def _fit(
    data: Array, windows: Windows, shape: UsualShape, radius: float, noise_grey: float
) -> tuple[Array, tuple[float, float], float]:
    """Parameters (centres relative to the windows), noise model, and how much errors grow by likeness."""
    guess = windows.first_guess(windows.centre, float(np.exp(-shape.mean[0])))
    spots, own, noise, sane = guess.copy(), windows, (1.0, 0.0), np.ones(len(guess), bool)
    variance = np.full_like(windows.grey, max(noise_grey**2, 1e-300))
    for k in range(ROUNDS[1]):
        before = spots
        if k:
            own = _alone(data, windows, spots, sane, radius)
        spots = fit_spots(own, spots, variance, shape)
        sane = _sane(spots, shape, radius)
        spots[~sane] = guess[~sane]  # a runaway must not spoil its neighbours
        noise = noise_model(own.only(sane), spots[sane])
        variance = grey_variance(spot_grey(spots, windows.offset), noise)
        moved = np.linalg.norm((spots - before)[:, [Y, X]], axis=1)
        if k + 1 >= ROUNDS[0] and np.quantile(moved, 0.95) < STILL:
            break
    spots[~sane, HEIGHT] = 0.0
    return spots, noise, likeness(own.only(sane), spots[sane])


def _alone(data: Array, windows: Windows, spots: Array, sane: NDArray[np.bool_], radius: float) -> Windows:
    """The windows without what the fits of the neighbours reach into them."""
    placed = spots[sane]
    placed[:, [Y, X]] += windows.centre[sane]
    every = Windows.cut(render(data.shape, placed), windows.centre, radius).grey
    itself = np.where(sane[:, None], spot_grey(spots, windows.offset) - spots[:, [GROUND]], 0.0)
    return replace(windows, grey=windows.grey - (every - itself))


def _sane(spots: Array, shape: UsualShape, radius: float) -> NDArray[np.bool_]:
    """Fits that stayed on their column and are about as wide as the others."""
    wide, usual = sigmas(spots), float(np.exp(-shape.mean[0]))
    on_it = np.linalg.norm(spots[:, [Y, X]], axis=1) <= WANDER * radius + 0.75
    shaped = (wide[:, 0] < 2.5 * usual) & (wide[:, 1] > 0.4 * usual)
    sound = np.isfinite(spots).all(1) & on_it & shaped & (spots[:, HEIGHT] > 0)
    return np.asarray(sound if sound.sum() >= FEWEST else np.ones(len(spots), bool))


def _notes(alike: float) -> tuple[str, ...]:
    if alike <= ALIKE:
        return ()
    return (
        f"What the fits leave over is alike in neighbouring pixels; errors are {np.sqrt(alike):.1f} times those of "
        "independent noise.",
    )


def _measured(grid: Grid, spots: Array, error: Array, bright: bool, **facts: Any) -> Columns:
    size, sign = np.asarray(grid.pixel_size_nm), 1.0 if bright else -1.0
    return Columns(
        grid=grid,
        position_nm=grid.to_nm(spots[:, [Y, X]]),
        error_nm=error[:, [Y, X]] * size,
        height=sign * spots[:, HEIGHT],
        height_error=error[:, HEIGHT],
        ground=sign * spots[:, GROUND],
        sigma_nm=sigmas(spots) * np.sqrt(size.prod()),
        spots=spots,
        **facts,
    )
