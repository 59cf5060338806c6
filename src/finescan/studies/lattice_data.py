"""The recordings of the lattice study: gallium nitride as a STEM shows it and graphite as an STM does, simulated.

The data sets of Möller et al. 2023 (Table 2): coarse pictures that train, fine ones of other samples that judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from finescan import io
from finescan.patches import PRESETS, MultiscaleConfig, ZoomScale, multiscale_default
from finescan.simulation import LatticePair, LatticeScan, Scanner, simulate_lattice
from finescan.simulation.scanner import expected
from finescan.values import Image

TEST_SEED = 1000  # added to the study's seed: another sample, another noise
MAIN, OURS, ORACLE = "multi-scale", "finescan", "oracle"


@dataclass(frozen=True)
class Kind:
    """One instrument and its two zoom levels.

    Parameters
    ----------
    name : "stem" or "stm".
    coarse, fine : zoom levels, in the unit of the scale.
    unit : "MX" or "nm".
    sr_factor : of the enhancement.
    lists : method -> row of the published lists of zoom levels.
    """

    name: str
    coarse: float
    fine: float
    unit: str
    sr_factor: int
    lists: Mapping[str, str]

    @property
    def scale(self) -> ZoomScale:
        """Of the coarse pictures."""
        return ZoomScale(self.coarse, self.unit)

    @property
    def methods(self) -> tuple[str, ...]:
        """All that learn, in the order they are shown: the oracle last."""
        found = [*(m for m in self.lists if m != ORACLE), OURS]
        return (*found, *(m for m in self.lists if m == ORACLE))

    def config(self, method: str, image: Image) -> MultiscaleConfig:
        """The zoom levels of a method that learns from a picture."""
        if method == OURS:
            return multiscale_default(self.sr_factor, image, scale=self.scale)
        return PRESETS[self.lists[method]]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "stem": Kind(
            "stem", 5.0, 20.0, "MX", 4,
            {
                "single-scale": "stem-single-scale", "coarser": "stem-down", "finer": "stem-up", MAIN: "stem",
                "converging": "stem-converging", ORACLE: "stem-oracle",
            },
        ),
        "stm": Kind(
            "stm", 24.0, 12.0, "nm", 2,
            {
                "single-scale": "stm-single-scale", "finer": "stm-up", MAIN: "stm", "converging": "stm-converging",
                ORACLE: "stm-oracle",
            },
        ),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Pieces:
    """What of the coarse picture is looked for in the fine one.

    Parameters
    ----------
    percent : levels, 100 = the resolution of the pictures that are learned from.
    per_side : pieces along each side of the coarse picture.
    piece_px : largest side of a piece. Short where the two scans drift differently: a piece is scaled and turned, but
        not sheared, and 3 % are a third of graphite's period over 96 px.
    """

    percent: tuple[float, ...]
    per_side: int
    piece_px: int


@dataclass(frozen=True)
class Size:
    """How much is recorded and how long networks learn.

    Parameters
    ----------
    pixels : kind -> edge of a picture.
    pictures : kind -> coarse pictures that train.
    levels : kind -> zoom levels that are judged, from the coarse one to the fine one.
    lattice_px : edge of the coarse picture whose lattice is judged.
    pieces : kind -> of the physical evaluation.
    architecture : of the networks.
    minutes : of every training; None = as published.
    steps : of every training instead, if not 0: the same bits in every run.
    """

    pixels: Mapping[str, int]
    pictures: Mapping[str, int]
    levels: Mapping[str, int]
    lattice_px: int
    pieces: Mapping[str, Pieces]
    architecture: str = "fast"
    minutes: float | None = None
    steps: int = 0


STEM_PERCENT, STM_PERCENT = (100.0, 200.0, 300.0, 400.0), (100.0, 150.0, 175.0, 200.0)
FINE_STEM_PERCENT, FINE_STM_PERCENT = tuple(np.arange(100.0, 401.0, 20).tolist()), (*STM_PERCENT, 120.0, 133.3, 160.0)
FEW = {"stem": Pieces(STEM_PERCENT, 2, 256), "stm": Pieces(STM_PERCENT, 3, 96)}
MANY = {"stem": Pieces(FINE_STEM_PERCENT, 4, 256), "stm": Pieces(FINE_STM_PERCENT, 4, 96)}

#: quick: five minutes on two cores; medium: about an hour; full: the published sizes, for a graphics card
SIZES: dict[str, Size] = {
    "quick": Size({"stem": 768, "stm": 512}, {"stem": 1, "stm": 1}, {"stem": 7, "stm": 5}, 160, FEW, minutes=0.2),
    "medium": Size({"stem": 2048, "stm": 512}, {"stem": 2, "stm": 8}, {"stem": 16, "stm": 13}, 320, MANY, minutes=2.0),
    "full": Size(
        {"stem": 2048, "stm": 512}, {"stem": 8, "stm": 205}, {"stem": 16, "stm": 13}, 512, MANY, "swinir-light"
    ),
}


@dataclass(frozen=True)
class Recorded:
    """The pictures of one kind.

    Parameters
    ----------
    train : coarse pictures.
    train_fine : fine pictures of the same samples, for the oracle alone.
    test_fine : a fine picture of another sample.
    test_coarse, test_clean : a coarse picture of that sample, and what it would show without noise and jitter.
    test_fit : scale and turn (degrees) of what the coarse picture shows in the fine one, as they were recorded.
    """

    train: tuple[Image, ...]
    train_fine: tuple[Image, ...]
    test_fine: Image
    test_coarse: Image
    test_clean: Image
    test_fit: tuple[float, float]


def record(kind: Kind, size: Size, seed: int) -> Recorded:
    """Simulate all pictures of a kind; those of an STM have their lines levelled."""
    pixels = size.pixels[kind.name]
    zooms = kind.coarse, kind.fine
    seeds = range(seed, seed + size.pictures[kind.name])
    pairs = [simulate_lattice(kind.name, zooms=zooms, pixels=pixels, seed=s) for s in seeds]
    test = simulate_lattice(kind.name, zooms=zooms, pixels=pixels, seed=seed + TEST_SEED)
    return Recorded(
        tuple(_level(p.coarse) for p in pairs),
        tuple(_level(p.fine) for p in pairs),
        _level(test.fine),
        _level(test.coarse),
        clean(test.coarse),
        true_fit(test),
    )


def true_fit(pair: LatticePair) -> tuple[float, float]:
    """Mean scale and turn (degrees, from y to x) from the frame of the coarse scan to that of the fine one."""
    a = np.linalg.inv(pair.fine.warp.matrix) @ pair.coarse.warp.matrix
    turn = np.degrees(np.arctan2(a[0, 1] - a[1, 0], a[0, 0] + a[1, 1]))
    return float(np.sqrt(np.linalg.det(a))), float(turn)


def _level(scan: LatticeScan) -> Image:
    return io.flatten_lines(scan.image) if io.is_probe(scan.image) else scan.image


def clean(scan: LatticeScan) -> Image:
    """What a scan would show without noise, jitter and offsets of lines; the drift is there."""
    grid = scan.image.grid
    probe = 0.06 if io.is_probe(scan.image) else 0.08  # nm, as recorded
    grey = expected(scan.sample.image, grid, Scanner(probe), warp=scan.warp)
    return Image(np.asarray(grey, np.float32), grid, "without noise")


def middle(image: Image, side: int) -> Image:
    """The middle of a picture, with its place kept; all of a smaller one."""
    from finescan.values import Region

    start = [max(0, (n - side) // 2) for n in image.grid.shape]
    stop = [min(n, a + side) for n, a in zip(image.grid.shape, start, strict=True)]
    return image.crop(Region(image.grid, tuple(start), tuple(stop)))
