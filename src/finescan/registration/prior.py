"""What is known before the search: where the fine scan should lie, and how far its geometry may be off."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from finescan.errors import InputError
from finescan.values import Image, StagePose

ION_COLUMN_DEG = {"Thermo Fisher": 52.0, "FEI": 52.0, "Zeiss": 54.0, "TESCAN": 55.0, "JEOL": 53.0}
OTHER_ION_COLUMN_DEG = 52.0
STAGE_SLACK = 0.15  # of the coarse field: play of the stage, beam shift, height difference
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

    Parameters
    ----------
    lr, hr : the scans, with what their files said in ``acquisition``.

    Returns
    -------
    Prior; with nothing known in the files, the whole map at the default half-ranges.
    """
    a, b = lr.acquisition.stage, hr.acquisition.stage
    if lr.grid.ndim != 2:
        return Prior(ratio_error=(0.15,) * lr.grid.ndim, ratio_centre=(1.0,) * lr.grid.ndim)
    turn = _scan_rotation(hr) - _scan_rotation(lr)
    turn = (turn + 180.0) % 360.0 - 180.0
    prior = Prior(rotation_centre_deg=turn)
    if a is None or b is None:
        return prior
    lr_incidence, hr_incidence = _incidence_deg(lr, a), _incidence_deg(hr, b)
    if lr_incidence is not None and hr_incidence is not None and abs(turn) < 45:
        stretch = _cos(lr_incidence) / _cos(hr_incidence)
        stretch = min(MAX_STRETCH, max(1 / MAX_STRETCH, stretch))
        prior = replace(prior, ratio_centre=(stretch, 1.0))
    if None in (a.x_nm, a.y_nm, b.x_nm, b.y_nm):
        return prior
    return _with_position(prior, lr, a, b, lr_incidence or 0.0)


def _with_position(prior: Prior, lr: Image, a: StagePose, b: StagePose, incidence_deg: float) -> Prior:
    """Add the difference of the stage positions; none if it lies outside the coarse map."""
    dx = float(b.x_nm or 0.0) - float(a.x_nm or 0.0)
    dy = -(float(b.y_nm or 0.0) - float(a.y_nm or 0.0)) * _cos(incidence_deg)
    r = math.radians(_scan_rotation(lr))
    dy, dx = dy * math.cos(r) + dx * math.sin(r), dx * math.cos(r) - dy * math.sin(r)
    extent = lr.grid.extent_nm
    if abs(dy) > 0.75 * extent[0] or abs(dx) > 0.75 * extent[1]:
        return prior
    middle = [e + x / 2 for e, x in zip(lr.grid.edge_nm, extent, strict=True)]
    radius = STAGE_SLACK * max(extent) + 0.25 * math.hypot(dy, dx)
    return replace(prior, centre_nm=(middle[0] + dy, middle[1] + dx), radius_nm=radius)


def _scan_rotation(image: Image) -> float:
    """Scan rotation the file stated, degrees; 0 if it did not."""
    value = image.acquisition.extra.get("scan_rotation_deg")
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0


def _incidence_deg(image: Image, stage: StagePose) -> float | None:
    """Angle between beam and the normal of the stage, degrees, if the tilt is known."""
    if stage.tilt_deg is None:
        return None
    beam = str(image.acquisition.extra.get("beam", "")).lower()
    if beam.startswith("i"):
        return abs(ION_COLUMN_DEG.get(image.acquisition.vendor, OTHER_ION_COLUMN_DEG) - stage.tilt_deg)
    return abs(stage.tilt_deg)


def _cos(deg: float) -> float:
    return math.cos(math.radians(min(deg, 80.0)))
