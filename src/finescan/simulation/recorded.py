"""Pairs recorded as Reclik et al. recorded theirs: one field of view scanned twice by one beam, coarse and fine.

Neither scan is made from the other. Each has its own noise, and each lies a little elsewhere, because the specimen
drifts under the beam. Noise follows the dwell time: ten times longer, a tenth of the variance.

Source: T. Reclik et al., Materials & Design 2025, doi:10.1016/j.matdes.2025.113955, section 2.2 and Table 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.simulation.scanner import LEVELS, Scanner, expected, random_warp, scan
from finescan.values import Grid, Image, Warp


@dataclass(frozen=True)
class Recording:
    """How both scans of a pair are recorded.

    Parameters
    ----------
    dwell_us : time per pixel, µs, the same in both scans.
    counts_per_us : electrons per µs at grey 1; the shot noise follows from it and the dwell time.
    probe_fwhm_nm : width of the beam, nm. The same beam makes both scans, so the coarse one undersamples.
    contrast, brightness : recorded grey = contrast * grey + brightness.
    drift_lr_px : small pairs: how far apart the two scans may lie. Large pair: how far the fine scan drifts from its
        first row to its last, with a quarter as much wandering on top. Coarse pixels.
    dtype : number format; "uint8" is the instrument's own and saturates at the ends of its range.
    """

    dwell_us: float = 100.0
    counts_per_us: float = 4.0
    probe_fwhm_nm: float = 35.0
    contrast: float = 1.8
    brightness: float = 0.0
    drift_lr_px: float = 1.0
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        if not (self.dwell_us > 0 and self.counts_per_us > 0 and self.drift_lr_px >= 0):
            raise InputError(
                "A recording needs dwell_us > 0, counts_per_us > 0 and drift_lr_px >= 0, but "
                f"{self.dwell_us}, {self.counts_per_us} and {self.drift_lr_px} came."
            )

    @property
    def scanner(self) -> Scanner:
        """The instrument of both scans."""
        zero, per_grey = LEVELS.get(self.dtype, (0.0, 1.0))
        ends = (-zero / per_grey, (255 - zero) / per_grey) if self.dtype == "uint8" else None
        return Scanner(
            self.probe_fwhm_nm, self.counts_per_us * self.dwell_us, gain=self.contrast, offset=self.brightness,
            dtype=self.dtype, saturate_at=ends, dwell_time_us=self.dwell_us,
        )  # fmt: skip


#: how each specimen is recorded: the detector is set anew for each material, as an operator does
RECORDINGS: dict[str, Recording] = {
    "dual-phase": Recording(),
    "case-hardening": Recording(dwell_us=32.0, counts_per_us=8.0, probe_fwhm_nm=45.0, contrast=2.4, brightness=-0.24),
    "sandstone": Recording(dwell_us=10.0, counts_per_us=10.0, probe_fwhm_nm=600.0),
}


@dataclass(frozen=True)
class LargePair:
    """One large field of view, scanned twice.

    Parameters
    ----------
    lr, hr : coarse and fine scan; the fine one drifted.
    lr_from_hr : nm in the frame of the fine scan to nm in the frame of the coarse one.
    truth : float32 image on ``lr.grid.refine(ratio)``: what a noise-free fine scan without drift would record.
    """

    lr: Image
    hr: Image
    lr_from_hr: Warp
    truth: Image


def small_pairs(
    specimen: Image,
    count: int,
    *,
    recording: Recording | None = None,
    lr_px: int = 32,
    ratio: float = 4.0,
    seed: int = 0,
) -> list[tuple[Image, Image]]:
    """Many small windows at random places of a specimen, each scanned coarse and fine.

    The windows do not overlap as long as there is room for ``count`` of them; further ones lie anywhere.

    Parameters
    ----------
    specimen : noise-free grey levels, 0 to 1; its pixel size becomes that of the fine scans.
    count : how many pairs.
    recording : None = that of :class:`Recording`.
    lr_px : coarse pixels along both edges of a window.
    ratio : coarse over fine pixel size; need not be whole.
    seed : of places, shifts and noise.

    Returns
    -------
    (coarse, fine) pairs. Both images have the frame of their window (grids with a common outer edge, as the instrument
    believes), and in ``acquisition.extra``: ``place_nm``, the centre of the window in the specimen (y, x);
    ``shift_nm``, how far the scan truly lay off it; ``specimen_from_scan``, the true warp.

    Raises
    ------
    InputError : a window that does not fit into the specimen.

    Examples
    --------
    >>> from finescan.simulation import dual_phase
    >>> pairs = small_pairs(dual_phase((400, 400), seed=1).image, 4, seed=1)
    >>> pairs[0][0].grid.shape, pairs[0][1].grid.shape, pairs[0][1].dtype.name
    ((32, 32), (128, 128), 'uint8')
    """
    r = recording or Recording()
    lr_grid, hr_grid = window_grids(specimen.grid, lr_px, ratio)
    rng = np.random.default_rng([seed, 61])
    reach = 0.5 * r.drift_lr_px * max(lr_grid.pixel_size_nm)
    places = _places(specimen.grid, hr_grid, count, reach, rng)
    pairs = []
    for k, place in enumerate(places):
        coarse, fine = (
            _recorded(specimen, grid, r, place, _shift(reach, rng), [seed, k, which], name)
            for which, (grid, name) in enumerate(((lr_grid, f"coarse {k + 1}"), (hr_grid, f"fine {k + 1}")))
        )
        pairs.append((coarse, fine))
    return pairs


def large_pair(
    specimen: Image,
    *,
    recording: Recording | None = None,
    lr_px: int | Sequence[int] = 1024,
    ratio: float = 4.0,
    seed: int = 0,
) -> LargePair:
    """One large field of view in the middle of a specimen, scanned coarse, then fine while it drifts.

    Parameters
    ----------
    specimen : noise-free grey levels, 0 to 1; its pixel size becomes that of the fine scan. It must be larger than the
        field of view by the drift on either side: :func:`specimen_px` says how large.
    recording : None = that of :class:`Recording` with a drift of 4 coarse pixels.
    lr_px : coarse pixels, one number or rows and columns.
    ratio : coarse over fine pixel size; need not be whole.
    seed : of drift and noise.

    Raises
    ------
    InputError : a specimen that is too small.
    """
    r = recording or Recording(drift_lr_px=4.0)
    lr_grid, hr_grid = window_grids(specimen.grid, lr_px, ratio)
    wanted = specimen_px(lr_px, ratio=ratio, drift_lr_px=r.drift_lr_px)
    if any(n < w for n, w in zip(specimen.grid.shape, wanted, strict=True)):
        raise InputError(
            f"A large pair of {lr_grid.shape} coarse pixels with its drift needs a specimen of at least {wanted} px, "
            f"but {specimen.grid.shape} came. Make the specimen larger, or lr_px or the drift smaller."
        )
    middle = np.asarray(specimen.grid.edge_nm) + np.asarray(specimen.grid.extent_nm) / 2
    lr_place = Warp.affine(np.eye(2), middle - _centre(lr_grid))
    lr_from_hr = _drift(lr_grid, hr_grid, r.drift_lr_px, seed)
    facts = {"place_nm": middle.tolist()}
    lr = _scanned(specimen, lr_grid, r, lr_place, [seed, 0], "coarse", facts)
    hr = _scanned(specimen, hr_grid, r, lr_place.after(lr_from_hr), [seed, 1], "fine", facts)
    truth = Image(_quiet(specimen, hr_grid, r, lr_place), hr_grid, "truth")
    return LargePair(lr, hr, lr_from_hr, truth)


def specimen_px(lr_px: int | Sequence[int], *, ratio: float = 4.0, drift_lr_px: float = 4.0) -> tuple[int, int]:
    """Rows and columns of the specimen that a large pair needs: its field of view and its drift on either side."""
    ny, nx = (lr_px, lr_px) if isinstance(lr_px, int) else lr_px
    margin = 1.3 * drift_lr_px + 1
    return int(np.ceil((ny + 2 * margin) * ratio)), int(np.ceil((nx + 2 * margin) * ratio))


def noise_free(specimen: Image, scanned: Image, recording: Recording) -> Image:
    """What one of the scans would have recorded without noise: float32, in its grey levels, at its true place.

    Parameters
    ----------
    specimen, recording : those that ``scanned`` was made with.
    scanned : coarse or fine scan of a pair.
    """
    known = scanned.acquisition.extra.get("specimen_from_scan")
    if known is None:
        raise InputError(
            f"{scanned.name} does not say where it lay in the specimen. Pass a scan of small_pairs or large_pair."
        )
    return scanned.with_data(_quiet(specimen, scanned.grid, recording, Warp.from_dict(known)))


def _quiet(specimen: Image, grid: Grid, recording: Recording, warp: Warp) -> NDArray[np.float32]:
    """Noise-free numbers on ``grid``, neither rounded nor saturated."""
    grey = expected(specimen, grid, recording.scanner, warp=warp)
    zero, per_grey = LEVELS[recording.dtype]
    return np.asarray(zero + per_grey * (recording.contrast * grey + recording.brightness), np.float32)


def window_grids(specimen: Grid, lr_px: int | Sequence[int], ratio: float) -> tuple[Grid, Grid]:
    """Grids of the coarse and the fine scan of one window, with a common outer edge; the coarse one starts at 0 nm."""
    ny, nx = (lr_px, lr_px) if isinstance(lr_px, int) else lr_px
    lr = Grid.of((ny, nx), [p * ratio for p in specimen.pixel_size_nm])
    return lr, lr.refine(ratio)


def _centre(grid: Grid) -> NDArray[np.float64]:
    return np.asarray(grid.edge_nm) + np.asarray(grid.extent_nm) / 2


def _places(specimen: Grid, window: Grid, count: int, reach: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Centres (count, 2) of windows, nm: one per cell of a regular division first, then anywhere."""
    size = np.asarray(window.extent_nm) + 2 * reach
    room = np.asarray(specimen.extent_nm) - size
    if count < 1 or (room < 0).any():
        raise InputError(
            f"At least one window of {window} must fit, with its drift, into a specimen of {specimen}, but {count} "
            "were asked for. Make the specimen larger or the windows smaller."
        )
    fit = np.floor(np.asarray(specimen.extent_nm) / size).astype(int)
    number = rng.permutation(int(np.prod(fit)))[:count]
    pitch = np.asarray(specimen.extent_nm) / fit
    corner = np.stack(np.unravel_index(number, fit), -1) * pitch + rng.random((len(number), 2)) * (pitch - size)
    anywhere = rng.random((count - len(number), 2)) * room
    return np.asarray(specimen.edge_nm) + np.concatenate([corner, anywhere]) + size / 2


def _shift(reach: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A random shift (y, x) of at most ``reach``."""
    turn = rng.uniform(0, 2 * np.pi)
    return reach * np.sqrt(rng.random()) * np.array([np.sin(turn), np.cos(turn)])


def _recorded(
    specimen: Image, grid: Grid, recording: Recording, place: NDArray, shift: NDArray, seed: list[int], name: str
) -> Image:
    """One scan of a window, ``shift`` off its place."""
    warp = Warp.affine(np.eye(2), place + shift - _centre(grid))
    return _scanned(
        specimen, grid, recording, warp, seed, name, {"place_nm": place.tolist(), "shift_nm": shift.tolist()}
    )


def _scanned(
    specimen: Image, grid: Grid, recording: Recording, warp: Warp, seed: list[int], name: str, facts: dict
) -> Image:
    own = int(np.random.default_rng([62, *seed]).integers(2**31))
    image = scan(specimen, grid, recording.scanner, warp=warp, seed=own, name=name)
    extra = {**image.acquisition.extra, **facts, "specimen_from_scan": warp.to_dict()}
    return replace(image, acquisition=replace(image.acquisition, extra=extra))


def _drift(lr_grid: Grid, hr_grid: Grid, drift_lr_px: float, seed: int) -> Warp:
    """Warp from fine to coarse scan: the first row in place, the last ``drift_lr_px`` away, wandering in between."""
    rng = np.random.default_rng([seed, 63])
    far = drift_lr_px * max(lr_grid.pixel_size_nm)
    turn = rng.uniform(0, 2 * np.pi)
    last = far * np.array([np.sin(turn), np.cos(turn)])
    scale, shear = last / hr_grid.extent_nm[0]
    return random_warp(
        hr_grid, centre_nm=(_centre(lr_grid) + last / 2).tolist(), scale_error=(scale, 0.0), shear=shear / (1 + scale),
        drift_nm=far / 4, seed=int(rng.integers(2**31)),
    )  # fmt: skip
