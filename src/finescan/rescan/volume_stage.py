"""From a volume to the stage of a tomograph: the transform, where it comes from, and how well it is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError
from finescan.values import Grid, Image, StagePose

ROWS = "stage x µm", "stage y µm", "stage z µm"
COLUMNS = "volume z nm", "volume y nm", "volume x nm", "1"
LEAST = 4  # landmarks, not in one plane
FLAT = 0.02  # spread across a plane over that along it, below which landmarks lie in it
STRETCHED = 0.1  # of the unit length, from which on units or a landmark are doubted
ASTRAY = 5.0  # times worse the others fit with a landmark than without it
CONFIRMED = 0.2  # of the way of the stage: how far a fine volume may lie from where the poses put it
RUNNER_UP = 3.0  # times as far must every other direction of the axes put it


@dataclass(frozen=True)
class VolumeStage:
    """Positions in a volume (z, y, x in nm) to positions of the stage (x, y, z in µm): ``matrix @ (z, y, x, 1)``.

    Parameters
    ----------
    matrix : 3 x 4; rows are stage x, y and z (µm), columns volume z, y, x (nm) and 1.
    source : where it comes from, in sentences.
    sigma_um : standard deviation of a position along stage x, y and z, from how well what it was fitted to fits; None =
        not known.
    left_out_um : rms distance of landmarks from where the others put them; None = not known.
    """

    matrix: tuple[tuple[float, ...], ...]
    source: str
    sigma_um: tuple[float, float, float] | None = None
    left_out_um: float | None = None

    def __post_init__(self) -> None:
        a = np.asarray(self.matrix, float)
        if a.shape != (3, 4) or not np.isfinite(a).all() or np.linalg.matrix_rank(a[:, :3]) < 3:
            raise InputError(
                "A stage transform of a volume is an invertible 3 x 4 matrix of finite numbers, but another one came."
            )

    @property
    def mirrored(self) -> bool:
        """Whether stage x, y, z is a mirror image of the volume's x, y, z: an odd number of axes runs backwards."""
        return bool(np.linalg.det(np.asarray(self.matrix, float)[:, 2::-1]) < 0)

    def __call__(self, nm: ArrayLike) -> NDArray[np.float64]:
        """Stage x, y, z in µm (last axis) of positions z, y, x in nm (last axis)."""
        a = np.asarray(self.matrix, float)
        return np.asarray(nm, np.float64) @ a[:, :3].T + a[:, 3]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with the meaning of rows and columns."""
        return {
            "matrix": [list(row) for row in self.matrix],
            "rows": list(ROWS),
            "columns": list(COLUMNS),
            "source": self.source,
            "sigma_um": None if self.sigma_um is None else list(self.sigma_um),
            "left_out_um": self.left_out_um,
            "mirrored": self.mirrored,
        }

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> VolumeStage:
        """Inverse of :meth:`to_dict`."""
        sigma, left = d.get("sigma_um"), d.get("left_out_um")
        known = None if sigma is None else (float(sigma[0]), float(sigma[1]), float(sigma[2]))
        return cls(_rows(d["matrix"]), str(d["source"]), known, None if left is None else float(left))

    def __str__(self) -> str:
        parts = [self.source]
        if self.sigma_um is None:
            parts.append("Position uncertainty: not known.")
        else:
            words = ", ".join(f"{s:.3g}" for s in self.sigma_um)
            left = "" if self.left_out_um is None else f"; a landmark left out is missed by {self.left_out_um:.3g} µm"
            parts.append(f"Position uncertainty (1 sigma along stage x, y, z): {words} µm{left}.")
        if self.mirrored:
            parts.append("Mirrored: an odd number of stage axes runs against those of the volume.")
        return " ".join(parts)


# ------------------------------------------------------------------ from landmarks
def volume_stage_from_landmarks(grid: Grid, voxels: ArrayLike, stage_um: ArrayLike) -> VolumeStage:
    """The affine map through places of a volume whose stage positions are known, by least squares.

    Parameters
    ----------
    grid : of the volume.
    voxels : (n, 3) z, y, x; 0 = centre of the first voxel. At least four that do not lie in one plane.
    stage_um : (n, 3) x, y, z of the stage, µm.

    Returns
    -------
    VolumeStage; from five landmarks on its uncertainty comes from how well they fit, and from how far each of them is
    missed by the fit to the others (by its leverage, without fitting again).

    Raises
    ------
    InputError : too few, not finite, or in one plane.
    """
    places, stage = (np.asarray(v, np.float64).reshape(-1, 3) for v in (voxels, stage_um))
    if len(places) != len(stage) or len(places) < LEAST or not np.isfinite([places, stage]).all():
        raise InputError(
            f"Landmarks of a volume are at least {LEAST} voxels with their stage positions, all finite, but "
            f"{len(places)} came. Correct the file."
        )
    nm = grid.to_nm(places)
    _require_solid(nm, "volume")
    _require_solid(stage, "stage")
    middle = nm.mean(axis=0)
    length = float(np.abs(nm - middle).max())
    design = np.column_stack([(nm - middle) / length, np.ones(len(nm))])
    solution = np.linalg.lstsq(design, stage, rcond=None)[0]
    linear = solution[:3].T / length
    matrix = np.column_stack([linear, solution[3] - linear @ middle])
    residual = stage - design @ solution
    sigma, left = _uncertainty(design, residual)
    words = [f"From {len(nm)} landmarks.", *_stretched(linear), *_astray(residual, left)]
    rms = None if left is None else float(np.sqrt(np.mean(left**2)))
    return VolumeStage(_rows(matrix), " ".join(words), sigma, rms)


def _require_solid(points: NDArray[np.float64], where: str) -> None:
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if spread[-1] < FLAT * spread[0]:
        raise InputError(
            f"The landmarks lie in one plane of the {where}, so one direction of the stage stays unknown. Add a "
            "landmark well away from that plane."
        )


def _uncertainty(
    design: NDArray[np.float64], residual: NDArray[np.float64]
) -> tuple[tuple[float, float, float] | None, NDArray[np.float64] | None]:
    """Per stage axis, sigma of a landmark about the fit; and per landmark its distance from the fit to the others."""
    free = len(design) - design.shape[1]
    if free < 1:
        return None, None
    x, y, z = np.sqrt((residual**2).sum(axis=0) / free)
    q = np.linalg.qr(design)[0]
    rest = np.maximum(1 - (q**2).sum(axis=1), 0)
    left = np.linalg.norm(residual, axis=1) / np.where(rest > 1e-9, rest, np.nan)
    known = left[np.isfinite(left)]  # without the last landmark off a plane nothing can be said of it
    return (float(x), float(y), float(z)), left if known.size else None


def _stretched(linear: NDArray[np.float64]) -> list[str]:
    """Whether lengths of the volume are others than those of the stage."""
    stretch = np.linalg.svd(linear, compute_uv=False) * 1e3
    worst = float(max(stretch, key=lambda s: abs(math.log(s))))
    if abs(math.log(worst)) <= math.log(1 + STRETCHED):
        return []
    return [
        f"They make 1 µm of the volume {worst:.3g} µm of the stage along one direction: check units and voxel size."
    ]


def _astray(residual: NDArray[np.float64], left: NDArray[np.float64] | None) -> list[str]:
    """The landmark without which all others fit much better."""
    free = len(residual) - LEAST
    if left is None or free < 2:
        return []
    square = (residual**2).sum()
    without = square - np.linalg.norm(residual, axis=1) * np.nan_to_num(left)  # e^2 / (1 - leverage)
    worst = int(np.argmin(without))
    if square < 1e-12 or without[worst] / (free - 1) * ASTRAY**2 > square / free:
        return []
    return [f"Landmark {worst + 1} lies {left[worst]:.3g} µm from where the others put it: check it."]


# ------------------------------------------------------------------ from headers
def volume_stage_from_headers(
    coarse: Image, fines: Sequence[tuple[str, ArrayLike, StagePose]]
) -> tuple[VolumeStage | None, str]:
    """The transform that the stage poses of a coarse volume and of its fine ones agree on.

    A tomograph puts the middle of what it scans on its rotation axis by moving the stage. Which stage axis moves the
    volume along which of its own, and in which direction, differs between instruments; a wrong guess would send the
    stage the wrong way. So it is read off the fine volumes: of the 48 ways to lay the axes, the one that puts their
    poses where they were found, if no other one does.

    Parameters
    ----------
    coarse : the volume, with what its file said.
    fines : name, middle (z, y, x in nm of the coarse volume) and pose of every fine volume that was found in it.

    Returns
    -------
    The transform, or None with one sentence why.
    """
    here = _position(coarse.acquisition.stage)
    if here is None:
        return None, f"{coarse.name} does not say where the stage stood."
    known = [(name, np.asarray(middle, float), p) for name, middle, pose in fines if (p := _position(pose)) is not None]
    if not known:
        return None, (
            f"{coarse.name} says where the stage stood, but no fine volume does, so the directions of its axes are not "
            "known."
        )
    centre = coarse.grid.to_nm([(n - 1) / 2 for n in coarse.grid.shape])
    moved = np.array([(m - centre)[::-1] * 1e-3 for _, m, _ in known])  # x, y, z of the volume, µm
    way = np.array([p - here for _, _, p in known])
    trials = sorted(((_miss(moved @ t.T, way), k) for k, t in enumerate(_turns())))
    (best, which), (second, _) = trials[:2]
    if best > CONFIRMED * float(np.sqrt((way**2).sum(1).mean())) or second < RUNNER_UP * max(best, 1e-6):
        return None, (
            f"The stage positions of {coarse.name} and of its fine volumes do not settle the directions of the stage's "
            f"axes (the best of them misses by {best:.3g} µm, the next by {second:.3g} µm)."
        )
    linear = _turns()[which][:, ::-1] * 1e-3  # columns z, y, x
    matrix = np.column_stack([linear, here - linear @ centre])
    names = ", ".join(name for name, _, _ in known)
    x, y, z = np.sqrt(((moved @ _turns()[which].T - way) ** 2).mean(axis=0))
    source = f"Stage poses in {coarse.name} and {names}, which lie {best:.3g} µm from where they were found."
    return VolumeStage(_rows(matrix), source, (float(x), float(y), float(z))), ""


def _position(pose: StagePose | None) -> NDArray[np.float64] | None:
    """x, y, z in µm, or None where one of them is not known."""
    if pose is None or pose.x_nm is None or pose.y_nm is None or pose.z_nm is None:
        return None
    return np.array([pose.x_nm, pose.y_nm, pose.z_nm]) * 1e-3


def _turns() -> list[NDArray[np.float64]]:
    """All 48 matrices that lay three axes along three axes, either way round."""
    return [
        np.eye(3)[list(order)] * np.array(signs)
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]


def _miss(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.sqrt(((a - b) ** 2).sum(axis=1).mean()))


def _rows(a: ArrayLike) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(v) for v in row) for row in np.asarray(a, float))
