"""What is known before the search: where the fine scan should lie, and how far its geometry may be off."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from finescan.errors import InputError
from finescan.values import Image, StagePose

ION_COLUMN_DEG = {"Thermo Fisher": 52.0, "FEI": 52.0, "Zeiss": 54.0, "TESCAN": 55.0, "JEOL": 53.0}
OTHER_ION_COLUMN_DEG = 52.0
STAGE_SLACK = 0.15  # of the coarse field: play of the stage, beam shift, height difference
VOXEL_SIZE_ERROR = 0.05  # half-range of each axis' length factor in volumes, whose voxel sizes are calibrated
MAX_STRETCH = 1.12  # of the tilt factor: beyond it the incidence is too steep to be believed from a header


@dataclass(frozen=True)
class Prior:
    """Where and how to search.

    Parameters
    ----------
    centre_nm : expected position of the centre of the fine scan in the frame of the coarse map, nm; None = anywhere.
    radius_nm : how far the centre may lie from there, nm; None with ``centre_nm`` None.
    ratio_error : half-range of the search of each axis' length factor, relative; the axes are independent.
    rotation_deg : half-range of the search of the in-plane rotation.
    ratio_centre : expected length factor per axis, coarse over fine (1 = the headers' pixel sizes are right and both
        scans look at the specimen from one side).
    rotation_centre_deg : expected rotation of the fine scan in the coarse map, from the first towards the second axis.
    """

    centre_nm: tuple[float, ...] | None = None
    radius_nm: float | None = None
    ratio_error: tuple[float, ...] = (0.15, 0.15)
    rotation_deg: float = 5.0
    ratio_centre: tuple[float, ...] = (1.0, 1.0)
    rotation_centre_deg: float = 0.0

    def __post_init__(self) -> None:
        if (self.centre_nm is None) != (self.radius_nm is None):
            raise InputError("A prior needs both centre_nm and radius_nm, or neither.")
        if self.radius_nm is not None and not self.radius_nm > 0:
            raise InputError(f"The radius of a prior must be positive, but {self.radius_nm:g} nm came.")
        if any(not 0 <= e < 0.5 for e in self.ratio_error) or not 0 <= self.rotation_deg <= 45:
            raise InputError(
                "The search half-ranges must be 0 to 0.5 for the pixel-size ratio and 0 to 45 degrees for the "
                f"rotation, but {self.ratio_error} and {self.rotation_deg} came."
            )

    def on(self, ndim: int) -> Prior:
        """The same for volumes: half-ranges and factors of two axes are replaced by the defaults of three."""
        if len(self.ratio_error) == len(self.ratio_centre) == ndim:
            return self
        plain = Prior()
        if (self.ratio_error, self.ratio_centre) != (plain.ratio_error, plain.ratio_centre) or ndim != 3:
            raise InputError(
                f"A prior for {ndim} axes needs {ndim} numbers each in ratio_error and ratio_centre, but "
                f"{self.ratio_error} and {self.ratio_centre} came."
            )
        if self.centre_nm is not None and len(self.centre_nm) != ndim:
            raise InputError(f"The centre of a prior needs {ndim} numbers (z, y, x), but {self.centre_nm} came.")
        return replace(self, ratio_error=(VOXEL_SIZE_ERROR,) * ndim, ratio_centre=(1.0,) * ndim)

    @property
    def anywhere(self) -> Prior:
        """The same geometry, no position."""
        return replace(self, centre_nm=None, radius_nm=None)


def prior_from_headers(lr: Image, hr: Image) -> Prior:
    """What stage position, tilt and scan rotation of the two files suggest.

    Conventions (Thermo Fisher's raw stage coordinates, checked on a real pair moved by a known amount): stage x
    grows to the right of the image, stage y upwards, foreshortened along the rows by the cosine of the incidence
    angle. The incidence angle is the stage tilt for electrons, and the angle between the columns (52 to 55 degrees)
    less the tilt for ions. A scan rotated by r turns the picture by r, so the fine scan lies turned by the
    difference of the scan rotations. Pre-tilted holders and other stage conventions break these rules, therefore
    :func:`finescan.registration.locate.locate` believes the prior only if the result inside it is convincing.

    In volumes, stage x, y and z are taken as the position of the centre of the field of view along the axes x, y and
    z of the volume; where an instrument counts otherwise, the whole volume is searched as well.

    Parameters
    ----------
    lr, hr : the scans, with what their files said in ``acquisition``.

    Returns
    -------
    Prior; with nothing known in the files, the whole map at the default half-ranges.
    """
    a, b = lr.acquisition.stage, hr.acquisition.stage
    if lr.grid.ndim == 3:
        return _in_volume(lr, a, b)
    turn = scan_rotation_deg(hr) - scan_rotation_deg(lr)
    turn = (turn + 180.0) % 360.0 - 180.0
    prior = Prior(rotation_centre_deg=turn)
    if a is None or b is None:
        return prior
    lr_incidence, hr_incidence = incidence_deg(lr, a), incidence_deg(hr, b)
    if lr_incidence is not None and hr_incidence is not None and abs(turn) < 45:
        stretch = _cos(lr_incidence) / _cos(hr_incidence)
        stretch = min(MAX_STRETCH, max(1 / MAX_STRETCH, stretch))
        prior = replace(prior, ratio_centre=(stretch, 1.0))
    if None in (a.x_nm, a.y_nm, b.x_nm, b.y_nm):
        return prior
    return _with_position(prior, lr, a, b, lr_incidence or 0.0)


def _in_volume(lr: Image, a: StagePose | None, b: StagePose | None) -> Prior:
    """The difference of the stage positions, if both are known in all three axes and lie inside the coarse volume."""
    prior = Prior().on(3)
    if a is None or b is None:
        return prior
    first, second = (a.z_nm, a.y_nm, a.x_nm), (b.z_nm, b.y_nm, b.x_nm)
    if None in first or None in second:
        return prior
    moved = [float(v or 0.0) - float(u or 0.0) for u, v in zip(first, second, strict=True)]
    extent = lr.grid.extent_nm
    if any(abs(m) > 0.75 * x for m, x in zip(moved, extent, strict=True)):
        return prior
    centre = tuple(e + x / 2 + m for e, x, m in zip(lr.grid.edge_nm, extent, moved, strict=True))
    return replace(prior, centre_nm=centre, radius_nm=STAGE_SLACK * max(extent))


def _with_position(prior: Prior, lr: Image, a: StagePose, b: StagePose, incidence_deg: float) -> Prior:
    """Add the difference of the stage positions; none if it lies outside the coarse map."""
    dx = float(b.x_nm or 0.0) - float(a.x_nm or 0.0)
    dy = -(float(b.y_nm or 0.0) - float(a.y_nm or 0.0)) * _cos(incidence_deg)
    r = math.radians(scan_rotation_deg(lr))
    dy, dx = dy * math.cos(r) + dx * math.sin(r), dx * math.cos(r) - dy * math.sin(r)
    extent = lr.grid.extent_nm
    if abs(dy) > 0.75 * extent[0] or abs(dx) > 0.75 * extent[1]:
        return prior
    middle = [e + x / 2 for e, x in zip(lr.grid.edge_nm, extent, strict=True)]
    radius = STAGE_SLACK * max(extent) + 0.25 * math.hypot(dy, dx)
    return replace(prior, centre_nm=(middle[0] + dy, middle[1] + dx), radius_nm=radius)


def scan_rotation_deg(image: Image) -> float:
    """Scan rotation the file stated, degrees; 0 if it did not."""
    value = image.acquisition.extra.get("scan_rotation_deg")
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0


def incidence_deg(image: Image, stage: StagePose) -> float | None:
    """Angle between beam and the normal of the stage, degrees, if the tilt is known."""
    if stage.tilt_deg is None:
        return None
    beam = str(image.acquisition.extra.get("beam", "")).lower()
    if beam.startswith("i"):
        return abs(ION_COLUMN_DEG.get(image.acquisition.vendor, OTHER_ION_COLUMN_DEG) - stage.tilt_deg)
    return abs(stage.tilt_deg)


def _cos(deg: float) -> float:
    return math.cos(math.radians(min(deg, 80.0)))
