"""From the map to the stage: the transform, where it comes from, and how well it is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError
from finescan.registration.prior import incidence_deg, scan_rotation_deg
from finescan.values import Grid, Image, StagePose

ROWS, COLUMNS = ("stage x µm", "stage y µm"), ("map y nm", "map x nm", "1")
MAX_INCIDENCE_DEG = 80.0


@dataclass(frozen=True)
class StageTransform:
    """Positions on the map (y, x in nm) to positions of the stage (x, y in µm): ``matrix @ (y, x, 1)``.

    Parameters
    ----------
    matrix : 2 x 3; rows are stage x and stage y (µm), columns map y, map x (nm) and 1.
    source : where it comes from, one sentence.
    sigma_nm : standard deviation of a position along each axis, on the specimen, nm; None = not known.
    z_um, rotation_deg, tilt_deg : the rest of the pose the map was recorded at; None = not known.
    """

    matrix: tuple[tuple[float, float, float], tuple[float, float, float]]
    source: str
    sigma_nm: float | None = None
    z_um: float | None = None
    rotation_deg: float | None = None
    tilt_deg: float | None = None

    def __post_init__(self) -> None:
        a = np.asarray(self.matrix, float)
        if a.shape != (2, 3) or not np.isfinite(a).all() or abs(np.linalg.det(a[:, :2])) < 1e-15:
            raise InputError("A stage transform is an invertible 2 x 3 matrix of finite numbers, but another one came.")

    @property
    def handedness(self) -> str:
        """ "right" where stage x and y lie in the picture as x to the right and y upwards (turned or not)."""
        a = np.asarray(self.matrix, float)
        return "right" if np.linalg.det(a[:, 1::-1]) < 0 else "left"  # rows of a picture run downwards

    def __call__(self, nm: ArrayLike) -> NDArray[np.float64]:
        """Stage x, y in µm (last axis) of positions y, x in nm (last axis)."""
        a = np.asarray(self.matrix, float)
        return np.asarray(nm, np.float64) @ a[:, :2].T + a[:, 2]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with the meaning of rows and columns."""
        d = {**vars(self), "matrix": [list(row) for row in self.matrix]}
        return {**d, "rows": list(ROWS), "columns": list(COLUMNS), "handedness": self.handedness}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> StageTransform:
        """Inverse of :meth:`to_dict`."""
        rest = {k: d.get(k) for k in ("sigma_nm", "z_um", "rotation_deg", "tilt_deg")}
        return cls(_rows(np.asarray(d["matrix"], float)), str(d["source"]), **rest)

    def __str__(self) -> str:
        known = "not known" if self.sigma_nm is None else f"{self.sigma_nm / 1e3:.3g} µm"
        return f"{self.source} Position uncertainty (1 sigma per axis): {known}."


def stage_from_header(coarse: Image, checks: Sequence[tuple[str, ArrayLike, StagePose]] = ()) -> StageTransform | None:
    """The transform that the coarse map's own header suggests; None where it does not say where the stage stood.

    Stage x grows to the right of the picture and y upwards, foreshortened by the incidence angle; a scan rotation
    turns the picture. These are the conventions of :func:`finescan.registration.prior.prior_from_headers`, checked on
    a Thermo Fisher instrument; for others they are an assumption, which the fine scans of a run can confirm.

    Parameters
    ----------
    coarse : the map, with what its file said.
    checks : fine scans that were found in the map: name, (y, x) of the centre in nm of the map, and the stage pose
        their own file states. Their rms distance from where the transform puts them is the uncertainty.
    """
    pose = coarse.acquisition.stage
    if coarse.grid.ndim != 2 or pose is None or pose.x_nm is None or pose.y_nm is None:
        return None
    turn = math.radians(scan_rotation_deg(coarse))
    lean = math.cos(math.radians(min(incidence_deg(coarse, pose) or 0.0, MAX_INCIDENCE_DEG)))
    c, s = math.cos(turn), math.sin(turn)
    linear = np.array([[s, c], [-c / lean, s / lean]]) * 1e-3  # rows stage x, y; columns map y, map x
    offset = np.array([pose.x_nm, pose.y_nm]) * 1e-3 - linear @ _centre_nm(coarse)
    matrix = np.column_stack([linear, offset])
    misses = [
        (name, _miss_nm(matrix, np.asarray(centre, float), found))
        for name, centre, found in checks
        if found.x_nm is not None and found.y_nm is not None
    ]
    sigma = math.sqrt(sum(m @ m for _, m in misses) / (2 * len(misses))) if misses else None
    return StageTransform(
        _rows(matrix),
        _header_sentence(coarse, misses),
        sigma,
        None if pose.z_nm is None else pose.z_nm * 1e-3,
        pose.rotation_deg,
        pose.tilt_deg,
    )


def stage_from_landmarks(grid: Grid, landmarks: Sequence[Sequence[ArrayLike]]) -> StageTransform:
    """The transform through points of the map whose stage positions are known.

    Parameters
    ----------
    landmarks : ``((y, x) in map pixels, (x, y) of the stage in µm)`` per point. Two points give a rotation and one
        length factor with the stage's y upwards in the picture; three or more any affine map, by least squares.

    Returns
    -------
    StageTransform; from four points on its uncertainty comes from how well they fit.

    Raises
    ------
    InputError : fewer than two points, coinciding points, points on one line.
    """
    try:
        pixels = np.array([np.asarray(a, float) for a, _ in landmarks])
        stage = np.array([np.asarray(b, float) for _, b in landmarks])
        usable = pixels.shape == stage.shape == (len(landmarks), 2) and len(landmarks) >= 2
    except (TypeError, ValueError):
        usable = False
    if not usable or not (np.isfinite(pixels).all() and np.isfinite(stage).all()):
        raise InputError(
            "Landmarks of the stage are at least two pairs [[y, x] map px, [x, y] stage µm], but others came. Correct "
            "the file."
        )
    x = grid.to_nm(pixels)
    linear = _similarity(x, stage) if len(x) == 2 else _affine(x, stage)
    offset = stage.mean(0) - linear @ x.mean(0)
    left = stage - x @ linear.T - offset
    sigma = 1e3 * math.sqrt(float((left**2).sum()) / (2 * len(x) - 6)) if len(x) > 3 else None
    return StageTransform(_rows(np.column_stack([linear, offset])), f"From {len(x)} landmarks.", sigma)


def _similarity(x: NDArray[np.float64], stage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation, one factor and a mirror (rows run downwards) through two points."""
    a, b = x[1] - x[0], stage[1] - stage[0]
    u, v = complex(a[1], -a[0]), complex(b[0], b[1])
    if abs(u) == 0 or abs(v) == 0:
        raise InputError("Two landmarks of the stage must be different points. Pick points that are further apart.")
    r = v / u
    return np.array([[r.imag, r.real], [-r.real, r.imag]])


def _affine(x: NDArray[np.float64], stage: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = x - x.mean(0)
    spread = np.linalg.svd(centred, compute_uv=False)
    if spread[-1] < 0.02 * spread[0]:
        raise InputError("The landmarks of the stage lie on one line. Pick points that are spread over the map.")
    return np.linalg.lstsq(centred, stage - stage.mean(0), rcond=None)[0].T


def _centre_nm(coarse: Image) -> NDArray[np.float64]:
    """Centre of the scanned field; Zeiss paints its data bar over the last rows of it, others add it below."""
    rows, columns = coarse.grid.shape
    if coarse.acquisition.vendor == "Zeiss":
        rows += coarse.acquisition.databar_rows
    return coarse.grid.to_nm([(rows - 1) / 2, (columns - 1) / 2])


def _miss_nm(matrix: NDArray[np.float64], centre: NDArray[np.float64], pose: StagePose) -> NDArray[np.float64]:
    """Where a pose lies on the map less where its scan was found, nm along y and x."""
    stage = np.array([pose.x_nm, pose.y_nm], float) * 1e-3
    return np.linalg.solve(matrix[:, :2], stage - matrix[:, 2]) - centre


def _header_sentence(coarse: Image, misses: Sequence[tuple[str, NDArray[np.float64]]]) -> str:
    text = f"Stage pose in the header of {coarse.name}"
    if not misses:
        return f"{text}; nothing confirms it, so check the first field by eye."
    far = "; ".join(f"{name} lies {np.linalg.norm(m) / 1e3:.3g} µm from where it puts it" for name, m in misses)
    return f"{text}; {far}."


def _rows(a: NDArray[np.float64]) -> Any:
    return tuple(tuple(float(v) for v in row) for row in a)
