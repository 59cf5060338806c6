"""Lattices as microscopes record them: STEM at a magnification, STM at a scan width, and pairs of both.

What is wrong with the scan is known: the shift of every line (jitter), the slow drift, and in STM the offset of every
line and the tilt of the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.simulation.lattices import MARGIN_NM, LatticeSample, lattice_sample
from finescan.simulation.scanner import Scanner, _jitter, digitise, expected, random_warp, scan
from finescan.values import Acquisition, Grid, Image, Warp

#: nm times million-fold magnification: a picture of 2048 pixels that is 127 mm wide at magnification one. Möller et al.
#: 2023 do not state the pixel size of their 5 and 20 MX; this assumption makes it 12.4 and 3.1 pm, and the real
#: recordings we know of such lattices have 10 and 12 pm.
STEM_PIXEL_NM_MX = 0.0620
STEM_ZOOMS, STEM_PIXELS = (5.0, 20.0), 2048
STM_WIDTHS, STM_PIXELS = (24.0, 12.0), 512
CRYSTAL_OF = {"stem": "GaN [11-20]", "stm": "graphite"}


def stem_pixel_size_nm(zoom_mx: float) -> float:
    """Pixel size of a STEM picture at a magnification in millions; 0.0124 nm at 5 MX."""
    return STEM_PIXEL_NM_MX / zoom_mx


@dataclass(frozen=True)
class Faults:
    """What is wrong with a recording.

    Parameters
    ----------
    counts : electrons per pixel at grey 1 (STEM); inf = no noise.
    noise : standard deviation of the additive noise, grey (STM).
    jitter_nm : rms shift of single lines along the fast axis.
    shear, stretch : linear drift: sample nm along x, and along y, per nm that the scan moved down (dimensionless).
    drift_nm : largest shift by the drift that is not linear.
    line_offsets : standard deviation of the offsets of single lines, grey (STM).
    tilt : grey from one edge of the field to the other (STM).
    rotation_deg, scale_error, misplaced_nm : of this scan against the sample's frame; scale_error 0.01 = 1 % larger.
    """

    counts: float = 150.0
    noise: float = 0.0
    jitter_nm: float = 0.006
    shear: float = 0.004
    stretch: float = -0.003
    drift_nm: float = 0.02
    line_offsets: float = 0.0
    tilt: float = 0.0
    rotation_deg: float = 0.0
    scale_error: float = 0.0
    misplaced_nm: tuple[float, float] = (0.0, 0.0)


NO_FAULTS = Faults(float("inf"), 0.0, 0.0, 0.0, 0.0, 0.0)
STEM_FAULTS = Faults()
STM_FAULTS = Faults(float("inf"), 0.04, 0.008, 0.03, -0.02, 0.05, line_offsets=0.1, tilt=0.8)


@dataclass(frozen=True)
class LatticeScan:
    """A recording with a known answer.

    Parameters
    ----------
    image : as recorded.
    sample : what was recorded.
    warp : nm in the frame of the scan to nm in the frame of the sample, drift included, jitter not.
    line_shift_nm : (rows,) how far the content of every line is displaced along x by jitter.
    columns_nm : (n, 2) y, x of the columns in the frame of the scan, drift included, jitter not; row k is row k of the
        sample. Columns outside the field are there too.
    vectors_nm : (2, 2) lattice vectors in the frame of the scan: linear drift, turn and scale error included.
    faults : what was asked for.
    """

    image: Image
    sample: LatticeSample
    warp: Warp
    line_shift_nm: NDArray[np.float64]
    columns_nm: NDArray[np.float64]
    vectors_nm: NDArray[np.float64]
    faults: Faults

    def in_field(self, margin_nm: float = 0.0) -> NDArray[np.bool_]:
        """(n,) which columns lie in the field of view, at least a margin from its edge."""
        low = np.asarray(self.image.grid.edge_nm) + margin_nm
        high = np.asarray(self.image.grid.edge_nm) + np.asarray(self.image.grid.extent_nm) - margin_nm
        return np.asarray(((self.columns_nm > low) & (self.columns_nm < high)).all(-1))


@dataclass(frozen=True)
class LatticePair:
    """The same sample at a low and at a high magnification, with independent noise, jitter and drift."""

    coarse: LatticeScan
    fine: LatticeScan


def record_stem(
    sample: LatticeSample,
    pixel_size_nm: float,
    *,
    pixels: int | tuple[int, int] = STEM_PIXELS,
    centre_nm: Sequence[float] | None = None,
    faults: Faults = STEM_FAULTS,
    probe_fwhm_nm: float = 0.08,
    dtype: str = "uint16",
    seed: int = 0,
) -> LatticeScan:
    """Record a sample with a STEM: shot noise of counted electrons, a probe of 0.08 nm (aberration-corrected, 200 kV).

    Parameters
    ----------
    pixels : rows and columns.
    centre_nm : middle of the scan in the frame of the sample; None = middle of the sample.
    seed : of noise, jitter and drift.

    Raises
    ------
    InputError : the scan leaves the sample.
    """
    scanner = Scanner(probe_fwhm_nm, faults.counts, faults.jitter_nm, dtype=dtype)
    grid = _grid(pixels, pixel_size_nm)
    warp = _warp(sample, grid, centre_nm, faults, seed)
    return _described(sample, scan(sample.image, grid, scanner, warp=warp, seed=seed, name="stem"), warp, faults, seed)


def record_stm(
    sample: LatticeSample,
    width_nm: float,
    *,
    pixels: int | tuple[int, int] = STM_PIXELS,
    centre_nm: Sequence[float] | None = None,
    faults: Faults = STM_FAULTS,
    tip_fwhm_nm: float = 0.06,
    dtype: str = "uint16",
    seed: int = 0,
) -> LatticeScan:
    """Record a sample with an STM: additive noise, an offset of its own for every line, a tilted plane.

    Parameters
    ----------
    width_nm : of the scan; its rows have the same pixel size.
    others : see :func:`record_stem`.
    """
    columns = pixels if isinstance(pixels, int) else pixels[1]
    grid = _grid(pixels, width_nm / columns)
    scanner = Scanner(tip_fwhm_nm, line_jitter_nm=faults.jitter_nm, dtype=dtype)
    warp = _warp(sample, grid, centre_nm, faults, seed)
    rng = np.random.default_rng([seed, 52])
    grey = expected(sample.image, grid, scanner, warp=warp, seed=seed)
    grey = grey + faults.noise * rng.standard_normal(grid.shape) + _line_offsets(grid.shape[0], faults, rng)[:, None]
    grey = grey + faults.tilt * _plane(grid.shape, rng) + (0.5 * faults.tilt + 4 * faults.line_offsets)
    data, _ = digitise(grey.astype(np.float32), scanner)
    image = Image(
        data, grid, "stm", Acquisition(vendor="simulation", pixel_size_from="simulation", extra={"technique": "STM"})
    )
    return _described(sample, image, warp, faults, seed)


def simulate_lattice(
    kind: str = "stem",
    *,
    zooms: tuple[float, float] | None = None,
    pixels: int | None = None,
    crystal: str | None = None,
    faults: tuple[Faults, Faults] | None = None,
    defects: bool = True,
    seed: int = 0,
) -> LatticePair:
    """One sample recorded twice: coarse over the whole field, fine in its middle, a little misplaced and turned.

    Parameters
    ----------
    kind : "stem" (GaN; zoom in millions, 5 and 20) or "stm" (graphite; zoom = scan width in nm, 24 and 12).
    zooms : of the coarse and the fine scan.
    pixels : edge of both scans; None = 2048 (STEM) or 512 (STM) as Möller et al. 2023 have them.
    crystal : name in :data:`finescan.simulation.lattices.CRYSTALS`; None = by kind.
    faults : of both scans; None = typical ones, the fine scan misplaced by up to 0.4 nm, turned by up to 0.7 degrees
        and up to 0.5 % larger or smaller than it says.
    seed : of everything; another seed is another sample.

    Examples
    --------
    >>> pair = simulate_lattice("stm", zooms=(6, 3), pixels=64, seed=1)
    >>> round(pair.coarse.image.grid.pixel_size_nm[0] / pair.fine.image.grid.pixel_size_nm[0], 6)
    2.0
    """
    if kind not in CRYSTAL_OF:
        raise InputError(f"A lattice is recorded with 'stem' or 'stm', but {kind!r} came.")
    pixels = pixels or (STEM_PIXELS if kind == "stem" else STM_PIXELS)
    zooms = zooms or (STEM_ZOOMS if kind == "stem" else STM_WIDTHS)
    sizes = [stem_pixel_size_nm(z) if kind == "stem" else z / pixels for z in zooms]
    sample = lattice_sample(crystal or CRYSTAL_OF[kind], sizes[0] * pixels, defects=defects, seed=seed)
    both = faults or _typical(kind, seed)
    record = record_stem if kind == "stem" else record_stm
    seeds = np.random.default_rng([seed, 53]).integers(2**31, size=2).tolist()
    scans = []
    for k, name in enumerate(("coarse", "fine")):
        size = sizes[k] if kind == "stem" else zooms[k]
        one = record(sample, size, pixels=pixels, faults=both[k], seed=seeds[k])
        scans.append(replace(one, image=replace(one.image, name=name)))
    return LatticePair(scans[0], scans[1])


def _typical(kind: str, seed: int) -> tuple[Faults, Faults]:
    rng = np.random.default_rng([seed, 54])
    usual = STEM_FAULTS if kind == "stem" else STM_FAULTS
    y, x = rng.uniform(-0.4, 0.4, 2).tolist()
    turned, larger, s, t = rng.uniform(-1, 1, 4).tolist()
    fine = replace(
        usual, rotation_deg=0.7 * turned, scale_error=0.005 * larger, misplaced_nm=(y, x), shear=usual.shear * s,
        stretch=usual.stretch * t,
    )  # fmt: skip
    return usual, fine


def _grid(pixels: int | tuple[int, int], pixel_size_nm: float) -> Grid:
    rows, columns = (pixels, pixels) if isinstance(pixels, int) else pixels
    return Grid.of((rows, columns), pixel_size_nm)


def _warp(sample: LatticeSample, grid: Grid, centre: Sequence[float] | None, faults: Faults, seed: int) -> Warp:
    field = np.asarray(sample.image.grid.extent_nm) - 2 * MARGIN_NM
    middle = (field / 2 if centre is None else np.asarray(centre, float)) + np.asarray(faults.misplaced_nm)
    stretch = (1 + faults.scale_error) * (1 + faults.stretch) - 1
    return random_warp(
        grid, centre_nm=middle.tolist(), scale_error=(stretch, faults.scale_error), rotation_deg=faults.rotation_deg,
        shear=faults.shear / (1 + faults.stretch), drift_nm=faults.drift_nm, seed=seed,
    )  # fmt: skip


def _described(sample: LatticeSample, image: Image, warp: Warp, faults: Faults, seed: int) -> LatticeScan:
    shift = -_jitter(image.grid.shape[0], faults.jitter_nm, seed)  # the probe went right: the picture goes left
    columns = warp.inverse_at(sample.columns_nm)
    vectors = sample.vectors_nm @ np.linalg.inv(warp.matrix).T
    return LatticeScan(image, sample, warp, shift, columns, vectors, faults)


def _line_offsets(rows: int, faults: Faults, rng: np.random.Generator) -> NDArray[np.float64]:
    """White offsets and slow ones, of equal variance; none beyond four standard deviations."""
    white, slow = rng.standard_normal((2, rows))
    for k in range(1, rows):
        slow[k] = 0.95 * slow[k - 1] + np.sqrt(1 - 0.95**2) * slow[k]
    return np.asarray(faults.line_offsets * np.clip((white + slow) / np.sqrt(2), -4, 4))


def _plane(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """-0.5 to 0.5 from corner to corner, steepest in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = (np.linspace(-0.5, 0.5, n) for n in shape)
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray((c * y[:, None] + s * x) / (abs(c) + abs(s)))
