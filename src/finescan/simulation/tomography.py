"""A cone-beam tomograph: exact projections of spheres, blur, photon noise, and FDK reconstruction.

Geometry. The sample turns about an axis parallel to z. At view angle ``a`` the source stands at
``(y, x) = source_object * (sin a, cos a)`` from the axis, the flat detector opposite; columns of the detector run along
``(y, x) = (cos a, -sin a)``, its rows along z. Lengths on the detector are referred to the axis (divided by the
magnification), so one pixel usually is one voxel.

FDK after Feldkamp, Davis & Kress 1984, 10.1364/JOSAA.1.000612.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from finescan.errors import InputError
from finescan.simulation import beams
from finescan.simulation.spheres import Spheres
from finescan.values import Acquisition, Circle, Grid, Image

#: distances from the source to axis and detector over the width of the field: a cone of 3.6 degrees to either side.
#: Twice that angle was measured to shift the grey of the outermost slices by 1 to 3 %, this one by less than 1 %.
SOURCE, DETECTOR = 8.0, 12.0
VIEWS_AT_ONCE = 32  # views that are in memory together
WINDOWS = ("ramp", "shepp-logan", "cosine", "hann")
Array = NDArray[np.float32]


@dataclass(frozen=True)
class ConeBeam:
    """Where source and detector stand, and from how many sides they look.

    Parameters
    ----------
    source_object_nm, source_detector_nm : distances of the source from the axis and from the detector.
    detector_shape : rows (along z) and columns.
    pixel_nm : pitch of the detector itself, rows and columns alike.
    views : number of equidistant views over 360 degrees, the first at angle 0.
    axis_nm : (z, y, x) where the central ray, which hits the middle of the detector, crosses the rotation axis.
    """

    source_object_nm: float
    source_detector_nm: float
    detector_shape: tuple[int, int]
    pixel_nm: float
    views: int
    axis_nm: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not (0 < self.source_object_nm <= self.source_detector_nm and self.pixel_nm > 0):
            raise InputError(
                "A cone beam needs 0 < source_object_nm <= source_detector_nm and a positive pixel, but "
                f"{self.source_object_nm:g}, {self.source_detector_nm:g} and {self.pixel_nm:g} nm came."
            )
        if self.views < 1 or min(self.detector_shape) < 2:
            raise InputError(
                f"A cone beam needs at least 1 view and 2 x 2 detector pixels, but {self.views} and "
                f"{self.detector_shape} came."
            )

    @classmethod
    def around(
        cls,
        grid: Grid,
        *,
        views: int | None = None,
        margin_px: int = 8,
        source: float = SOURCE,
        detector: float = DETECTOR,
    ) -> ConeBeam:
        """A tomograph whose detector sees the round field of a volume from all sides, one pixel per voxel at the axis.

        Parameters
        ----------
        grid : ZYX voxels of the volume; the axis runs through the middle of its YX face.
        views : None = as many as voxels across.
        margin_px : detector pixels beyond the field on all sides, for a blur's memory.
        source, detector : distances of the source from axis and detector, in widths of the field.
        """
        width = min(grid.extent_nm[-2:])
        if source <= 0.5 or detector < source:
            raise InputError(f"A source must stand outside the field, but {source:g} and {detector:g} widths came.")
        pitch = min(grid.pixel_size_nm)
        near = source / (source - 0.5)
        across = 1 / math.sqrt(1 - (0.5 / source) ** 2)
        shape = (
            2 * (math.ceil(grid.extent_nm[0] / 2 * near / pitch) + margin_px),
            2 * (math.ceil(width / 2 * across / pitch) + margin_px),
        )
        middle = (grid.edge_nm[0] + grid.extent_nm[0] / 2, *Circle.inscribed(grid).centre_nm)
        views = min(grid.shape[-2:]) if views is None else views
        return cls(source * width, detector * width, shape, pitch * detector / source, views, middle)

    @property
    def pitch_nm(self) -> float:
        """Detector pitch referred to the axis."""
        return self.pixel_nm * self.source_object_nm / self.source_detector_nm

    @property
    def angles(self) -> NDArray[np.float64]:
        """View angles, radians."""
        return 2 * np.pi * np.arange(self.views) / self.views

    @property
    def circle(self) -> Circle:
        """The columns of the sample that are seen in every view."""
        edge = (self.detector_shape[1] - 1) / 2 * self.pitch_nm
        seen = edge * self.source_object_nm / math.hypot(edge, self.source_object_nm)
        return Circle((self.axis_nm[1], self.axis_nm[2]), seen)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        d = dict(vars(self))
        return {**d, "detector_shape": list(self.detector_shape), "axis_nm": list(self.axis_nm)}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> ConeBeam:
        """Inverse of :meth:`to_dict`."""
        rows, columns = d["detector_shape"]
        z, y, x = d["axis_nm"]
        return cls(**{**d, "detector_shape": (int(rows), int(columns)), "axis_nm": (float(z), float(y), float(x))})


@dataclass(frozen=True)
class Exposure:
    """How projections are recorded.

    Parameters
    ----------
    sigma_px : standard deviation of the Gaussian blur of the projections, detector pixels (voxels at the axis).
    photons : counts per pixel without a sample; inf = no noise.
    attenuation_per_nm : of the solid.
    seed : of the noise; every view has a generator of its own.
    """

    sigma_px: float
    photons: float
    attenuation_per_nm: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sigma_px < 0 or not self.photons > 0 or not self.attenuation_per_nm > 0:
            raise InputError(
                f"An exposure needs sigma_px >= 0, photons > 0 and attenuation_per_nm > 0, but {self} came."
            )


def project(spheres: Spheres, geometry: ConeBeam, views: range | None = None) -> Array:
    """Length of solid along the ray to the middle of every detector pixel: exact chords, no voxels.

    Parameters
    ----------
    spheres : the sample.
    geometry : the tomograph.
    views : which views; None = all.

    Returns
    -------
    (views, rows, columns) float32, nm.

    Examples
    --------
    >>> one = Spheres.of([[0.0, 0.0, 0.0]], [50.0], (0.0, 0.0, 0.0), 80.0, 400.0)
    >>> project(one, ConeBeam(1000.0, 1000.0, (3, 3), 10.0, 4, (0.0, 0.0, 0.0)))[:, 1, 1].tolist()
    [60.0, 60.0, 60.0, 60.0]
    """
    angles = geometry.angles[_of(views)]
    out = np.zeros((len(angles), *geometry.detector_shape), np.float32)
    axis = np.asarray(geometry.axis_nm)
    beams.chords(
        out, angles, spheres.position_nm - axis, spheres.radius_nm, np.asarray(spheres.centre_nm) - axis,
        spheres.cylinder_radius_nm, spheres.cylinder_height_nm / 2, geometry.source_object_nm, geometry.pitch_nm,
    )  # fmt: skip
    return out


def project_volume(image: Image, geometry: ConeBeam, views: range | None = None) -> Array:
    """Line integrals through any volume, by Joseph's method (1982, 10.1109/TMI.1982.4307572).

    Parameters
    ----------
    image : ZYX, in memory as a whole; grey 1 counts as solid, air around it as 0. NaN is refused.
    geometry : the tomograph; its source must stand outside the volume.
    views : which views; None = all.

    Returns
    -------
    (views, rows, columns) float32, grey times nm.
    """
    grid = image.grid
    data = np.asarray(image.data[...], np.float32)
    if grid.axes != "ZYX" or not np.isfinite(data).all():
        raise InputError(f"{image.name}: projecting needs a ZYX volume without NaN. Set what is outside to air (0).")
    corner = np.abs(
        np.asarray(grid.edge_nm)[:, None] + np.outer(grid.extent_nm, (0, 1)) - np.reshape(geometry.axis_nm, (3, 1))
    )
    if math.hypot(*corner[1:].max(axis=1)) >= geometry.source_object_nm:
        raise InputError(f"{image.name}: the source would pass through the volume. Use a larger source_object_nm.")
    angles = geometry.angles[_of(views)]
    out = np.empty((len(angles), *geometry.detector_shape), np.float32)
    first = np.asarray(grid.origin_nm) - np.asarray(geometry.axis_nm)
    beams.integrals(
        out, angles, np.ascontiguousarray(np.moveaxis(data, 0, 2)), first, np.asarray(grid.pixel_size_nm),
        geometry.source_object_nm, geometry.pitch_nm,
    )  # fmt: skip
    return out


def attenuation_for(spheres: Spheres, geometry: ConeBeam, transmission: float = 0.22) -> float:
    """Attenuation per nm with which the thickest path, over every eighth view, transmits the given share."""
    if not 0 < transmission < 1:
        raise InputError(f"A transmission lies between 0 and 1, but {transmission:g} came.")
    thickest = max(float(project(spheres, geometry, range(k, k + 1)).max()) for k in range(0, geometry.views, 8))
    if thickest == 0:
        raise InputError("The detector does not see the sample: no ray crosses it. Check axis_nm and the frames.")
    return -math.log(transmission) / thickest


def expose(lengths: Array, exposure: Exposure, views: range | None = None) -> Array:
    """Projections as recorded: transmitted intensity, blurred, counted, and turned back into lengths.

    Parameters
    ----------
    lengths : (views, rows, columns) float32 from :func:`project`, nm; left as they are.
    exposure : blur and noise. The blur acts on intensities, noise comes after it.
    views : which views these are (for the noise); None = the first ones.

    Returns
    -------
    (views, rows, columns) float32, nm; a pixel without a count is read as half a count.
    """
    views = range(len(lengths)) if views is None else views
    mu = np.float32(exposure.attenuation_per_nm)
    intensity = np.exp(-mu * lengths)
    if exposure.sigma_px > 0:
        intensity = beams.blur(intensity, exposure.sigma_px)
    if np.isfinite(exposure.photons):
        for image, view in zip(intensity, views, strict=True):
            counts = np.random.default_rng([exposure.seed, 54, view]).poisson(image * exposure.photons)
            image[...] = np.maximum(counts, 0.5) / exposure.photons
    np.log(intensity, out=intensity)
    intensity /= -mu
    return intensity


def ramp_filtered(lengths: Array, geometry: ConeBeam, *, window: str = "ramp") -> Array:
    """Cosine-weighted projections after the ramp filter along the columns.

    Parameters
    ----------
    lengths : (views, rows, columns) float32.
    geometry : the tomograph.
    window : "ramp" (none), "shepp-logan", "cosine" or "hann".

    Returns
    -------
    (views, columns, rows) float32, dimensionless: rows last, as the back-projection wants them.
    """
    n_views, rows, columns = lengths.shape
    source, pitch = geometry.source_object_nm, geometry.pitch_nm
    v = (np.arange(rows) - (rows - 1) / 2) * pitch
    u = (np.arange(columns) - (columns - 1) / 2) * pitch
    cosine = (source / np.sqrt(source**2 + v[:, None] ** 2 + u**2)).astype(np.float32)
    length = fft.next_fast_len(2 * columns - 1, real=True)
    transfer = _ramp(length, pitch, window)
    out = np.empty((n_views, columns, rows), np.float32)
    for k in range(n_views):
        spectrum = fft.rfft(lengths[k] * cosine, length, axis=1)
        out[k] = fft.irfft(spectrum * transfer, length, axis=1)[:, :columns].T
    return out


def _ramp(length: int, pitch: float, window: str) -> Array:
    """Transfer function of the band-limited ramp, from its samples in space, so that the mean is right."""
    if window not in WINDOWS:
        raise InputError(f"A window is one of {', '.join(WINDOWS)}, but {window!r} came.")
    n = fft.fftfreq(length, 1 / length)
    kernel = np.zeros(length)
    odd = n.astype(int) % 2 != 0
    kernel[odd] = -1 / (np.pi * n[odd] * pitch) ** 2
    kernel[0] = 1 / (4 * pitch**2)
    f = fft.rfftfreq(length)  # cycles per pixel
    shape = {
        "ramp": np.ones_like(f),
        "shepp-logan": np.sinc(f),
        "cosine": np.cos(np.pi * f),
        "hann": 0.5 + 0.5 * np.cos(2 * np.pi * f),
    }[window]
    return (fft.rfft(kernel).real * pitch * shape).astype(np.float32)


def reconstruct(
    lengths: Array | Callable[[range], Array],
    geometry: ConeBeam,
    grid: Grid,
    *,
    window: str = "ramp",
    circle: Circle | None = None,
    outside: float = float("nan"),
) -> Image:
    """FDK reconstruction of any box of the sample.

    Parameters
    ----------
    lengths : all projections (views, rows, columns), or a callable that gives those of a range of views; then only
        :data:`VIEWS_AT_ONCE` of them are in memory.
    geometry : the tomograph.
    grid : ZYX voxels to compute; any slab or region of interest, any voxel size.
    window : of the ramp filter.
    circle : columns to compute; None = all that are seen in every view.
    outside : grey level of the other columns.

    Returns
    -------
    Image float32; solid is about 1 and air about 0 where ``lengths`` are those of solid.

    Raises
    ------
    InputError : the circle is not seen in every view, or the detector is not tall enough for the slices.
    """
    circle = circle or geometry.circle
    _check_seen(geometry, grid, circle)
    out = np.zeros(grid.shape, np.float32)
    mask = circle.mask(grid)
    z, y, x = (np.arange(n) * p + o for n, p, o in zip(grid.shape, grid.pixel_size_nm, grid.origin_nm, strict=True))
    az, ay, ax = geometry.axis_nm
    for views in _chunks(geometry.views):
        part = lengths(views) if callable(lengths) else lengths[views.start : views.stop]
        filtered = ramp_filtered(part, geometry, window=window)
        beams.back_project(
            out, mask, filtered, geometry.angles[views.start : views.stop], z - az, y - ay, x - ax,
            geometry.source_object_nm, geometry.pitch_nm,
        )  # fmt: skip
    out *= np.float32(np.pi / geometry.views)
    out[:, ~mask] = outside
    return Image(out, grid, "tomogram", Acquisition(vendor="simulation", pixel_size_from="simulation"))


def _of(views: range | None) -> slice:
    return slice(None) if views is None else slice(views.start, views.stop, views.step)


def _chunks(views: int) -> Iterator[range]:
    for first in range(0, views, VIEWS_AT_ONCE):
        yield range(first, min(first + VIEWS_AT_ONCE, views))


def _check_seen(geometry: ConeBeam, grid: Grid, circle: Circle) -> None:
    """The circle must be seen whole, and every slice of it too."""
    if grid.axes != "ZYX":
        raise InputError(f"A reconstruction needs a ZYX grid, but {grid} came.")
    seen = geometry.circle
    shift = math.hypot(circle.centre_nm[0] - seen.centre_nm[0], circle.centre_nm[1] - seen.centre_nm[1])
    if circle.radius_nm + shift > seen.radius_nm * (1 + 1e-9):
        raise InputError(
            f"The detector sees a circle of radius {seen.radius_nm:.6g} nm in every view, but one of "
            f"{circle.radius_nm:.6g} nm, {shift:.6g} nm beside its middle, was asked for."
        )
    near = geometry.source_object_nm / (geometry.source_object_nm - circle.radius_nm - shift)
    edge = (geometry.detector_shape[0] - 1) / 2 * geometry.pitch_nm
    first, last = grid.origin_nm[0], float(grid.to_nm(np.array(grid.shape) - 1)[0])
    if max(abs(first - geometry.axis_nm[0]), abs(last - geometry.axis_nm[0])) * near > edge * (1 + 1e-9):
        raise InputError(
            f"The detector sees slices up to {edge / near:.6g} nm above and below the central ray, but slices from "
            f"{first - geometry.axis_nm[0]:.6g} to {last - geometry.axis_nm[0]:.6g} nm were asked for. "
            "Use a taller detector or fewer slices."
        )
