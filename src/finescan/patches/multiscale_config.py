"""Which zoom levels a training set from coarse pictures alone is made of, and the published lists of them.

Source: B. Möller et al., *A super-resolution training paradigm based on low-resolution data only to surpass the
technical limits of STEM and STM microscopy*, CVPR Workshops 2023, section 3.2, Fig. 2 and Table 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from finescan.errors import InputError
from finescan.patches.decoupling import noise_of, noise_share
from finescan.patches.grey import filled
from finescan.patches.split import SplitConfig
from finescan.patches.zoom import FILTERS, ZoomScale
from finescan.values import Image

PUBLISHED_CROP = 256  # fine pixels
ON_THE_FLY_CROP = 32  # coarse pixels: what a training patch reads
LEAST_GUARD = 6  # coarse pixels: context of a patch (2), reach of the widest filter (3), rounding (1)
GUARD_LR_PX = 8
LARGEST_FACTOR = 16
PLAIN = ZoomScale()
#: less is held out than of a pair: there is one picture, and coarse levels of it are small
SPLIT = SplitConfig(guard_lr_px=GUARD_LR_PX, stop_share=0.1, test_share=0.12)


@dataclass(frozen=True)
class Level:
    """One zoom level of a set.

    Parameters
    ----------
    process : 1 recorded level, 2 coarser than it, 3 finer than it, 4 interpolated.
    ratio : pixels per length over the recorded ones, of the fine picture (also in process 4).
    """

    process: int
    ratio: float


@dataclass(frozen=True)
class MultiscaleConfig:
    """The zoom levels of a training set, as ratios to the recorded one; (1) to (4) are the paper's sub-processes.

    Parameters
    ----------
    alpha : (2) fine pictures of fewer pixels, by nearest neighbours; each above 0 and below 1.
    beta : (3) fine pictures of more pixels, bicubic; each above 1.
    gamma : (4) coarse pictures by nearest neighbours, fine ones by bicubic interpolation of *them*, which teaches the
        network to interpolate; each above 0 and at most 1. The fine picture's level is ``sr_factor`` times it.
    sr_factor : fine pixels per coarse pixel.
    filters : that make the coarse pictures of (1) to (3) from the fine ones; rows of ``FILTERS``.
    recorded : whether the recorded level itself (1) is part of the set.
    crop : side of a training crop, fine pixels; levels smaller than it are left out. None = 256 in written sets, as
        published, and 32 coarse pixels in sets made on the fly.
    reads : level of the pictures the model will enhance. 1: the recorded ones. ``1 / sr_factor``: the recorded ones are
        fine already, and stand for what nobody has (the paper's oracle).
    scale : what levels are counted in, for names.
    decoupling : of finer levels (3): part of the noise, 0 to 1, that the coarse and the fine picture do not have in
        common, so that it is not learned like detail (see :mod:`finescan.patches.decoupling`); 0 = as published.
    split : how held-out places are chosen. A gap of ``guard_lr_px`` coarse pixels is kept at every level. "auto" holds
        out blocks of every picture; from five pictures on, whole pictures.
    """

    alpha: tuple[float, ...] = ()
    beta: tuple[float, ...] = ()
    gamma: tuple[float, ...] = ()
    sr_factor: int = 4
    filters: tuple[str, ...] = tuple(FILTERS)
    recorded: bool = True
    crop: int | None = None
    reads: float = 1.0
    scale: ZoomScale = PLAIN
    split: SplitConfig = SPLIT
    decoupling: float = 0.0

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma", "filters"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # lists are welcome
        self._require_ratios()
        if self.sr_factor != int(self.sr_factor) or not 2 <= self.sr_factor <= LARGEST_FACTOR:
            raise InputError(f"The factor is a whole number from 2 to {LARGEST_FACTOR}, but {self.sr_factor} came.")
        unknown = [f for f in self.filters if f not in FILTERS]
        if unknown or not self.filters:
            raise InputError(f"Filters are some of {', '.join(FILTERS)}, but {', '.join(unknown) or 'none'} came.")
        if not (self.recorded or self.alpha or self.beta):
            raise InputError(
                "A training set needs a level with recorded detail, but only interpolated ones (gamma) or none came. "
                "Pass alpha or beta, or keep the recorded level."
            )
        if self.crop is not None and (self.crop < 8 * self.sr_factor or self.crop % self.sr_factor):
            raise InputError(
                f"A crop is a multiple of the factor and at least 8 coarse pixels wide ({8 * self.sr_factor} px for a "
                f"factor of {self.sr_factor}), but {self.crop} came."
            )
        if self.split.guard_lr_px < LEAST_GUARD:
            raise InputError(
                f"Zoom levels need a gap of at least {LEAST_GUARD} coarse px between held-out and training places, "
                f"because their filters reach that far, but guard_lr_px={self.split.guard_lr_px} came."
            )
        if self.reads not in (1.0, 1.0 / self.sr_factor):
            raise InputError(
                f"The model reads pictures of the recorded level (reads=1), or those {self.sr_factor} times coarser "
                f"(reads={1 / self.sr_factor:g}), but reads={self.reads} came."
            )

        if not 0 <= self.decoupling <= 1:
            raise InputError(
                f"The part of the noise that is decoupled is from 0 (none) to 1 (all), but {self.decoupling:g} came."
            )

    def _require_ratios(self) -> None:
        limits = {
            "alpha": ((lambda v: 0 < v < 1), "above 0 and below 1 (coarser than recorded)"),
            "beta": ((lambda v: v > 1), "above 1 (finer than recorded)"),
            "gamma": ((lambda v: 0 < v <= 1), "above 0 and at most 1 (the coarse picture, over the recorded one)"),
        }
        for name, (good, words) in limits.items():
            values = getattr(self, name)
            wrong = [v for v in values if not (math.isfinite(v) and good(v))]
            if wrong:
                raise InputError(f"Every {name} must be {words}, but {wrong[0]:g} came.")
            if len(set(values)) < len(values):
                raise InputError(f"Every {name} is given once, but {_twice(values):g} came twice.")

    @property
    def levels(self) -> tuple[Level, ...]:
        """All of them: the recorded one, the coarser, the finer and the interpolated ones."""
        return (
            *((Level(1, 1.0),) if self.recorded else ()),
            *(Level(2, v) for v in self.alpha),
            *(Level(3, v) for v in self.beta),
            *(Level(4, v * self.sr_factor) for v in self.gamma),
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        d = dict(vars(self))
        for name in ("alpha", "beta", "gamma", "filters"):
            d[name] = list(d[name])
        return {**d, "scale": dict(vars(self.scale)), "split": dict(vars(self.split))}

    def __str__(self) -> str:
        parts = []
        for process in (1, 2, 3, 4):
            names = [self.scale.level(v.ratio) for v in self.levels if v.process == process]
            if names:
                span = f"{names[0]:.6g}" if len(names) == 1 else f"{names[0]:.6g} to {names[-1]:.6g}"
                parts.append(f"({process}) {span} {self.scale.unit}")
        return f"x{self.sr_factor} from the zoom levels " + ", ".join(parts)


def single_scale(sr_factor: int, scale: ZoomScale | None = None) -> MultiscaleConfig:
    """The recorded level alone: the paper's baseline."""
    return MultiscaleConfig(sr_factor=sr_factor, scale=scale or PLAIN)


def oracle(sr_factor: int, levels: Sequence[float], scale: ZoomScale) -> MultiscaleConfig:
    """For fine pictures, where there are some: how far training on coarse ones is from what is possible.

    Parameters
    ----------
    levels : coarser than recorded, in units of the scale.
    scale : its recorded level is that of the fine pictures.
    """
    return MultiscaleConfig(alpha=scale.ratios(levels), sr_factor=sr_factor, reads=1 / sr_factor, scale=scale)


def between(first: float, last: float, step: float) -> tuple[float, ...]:
    """Evenly spaced numbers, both ends included.

    Examples
    --------
    >>> between(0.25, 0.4, 0.05)
    (0.25, 0.3, 0.35, 0.4)
    """
    if step <= 0 or last < first:
        raise InputError(f"A list of levels goes up in positive steps, but {first:g} to {last:g} by {step:g} came.")
    count = math.floor((last - first) / step + 1e-6) + 1
    return tuple(float(f"{first + k * step:.12g}") for k in range(count))


def _twice(values: Sequence[float]) -> float:
    return next(v for k, v in enumerate(values) if v in values[:k])


def _stem(alpha: Sequence[float] = (), finer: int = 5, converging: Sequence[int] = ()) -> MultiscaleConfig:
    """Factor 4 from 5 MX; the levels above it are whole numbers up to ``finer``."""
    scale = ZoomScale(5.0, "MX")
    beta, gamma = scale.ratios(range(6, finer + 1)), tuple(v / 4 for v in scale.ratios(converging))
    return MultiscaleConfig(tuple(alpha), beta, gamma, 4, scale=scale)


def _stm(coarser: int = 24, converging: Sequence[int] = ()) -> MultiscaleConfig:
    """Factor 2 from scans of 24 nm; the levels are whole numbers down to 14 nm and up to ``coarser``."""
    scale = ZoomScale(24.0, "nm")
    alpha, beta = scale.ratios(range(coarser, 24, -1)), scale.ratios(range(23, 13, -1))
    return MultiscaleConfig(alpha, beta, tuple(v / 2 for v in scale.ratios(converging)), 2, scale=scale)


#: finer levels of :func:`multiscale_default`: how much of the way from the recorded one to the factor, in logarithms
_OURS_FINER = (0.16, 0.33, 0.5, 0.66, 0.8, 0.9, 1.0)
LEAST_DECOUPLING = 0.3


def multiscale_default(
    sr_factor: int, image: Image | Sequence[Image], *, scale: ZoomScale | None = None
) -> MultiscaleConfig:
    """Our own list of zoom levels: the recorded one and finer ones up to the factor, with noise told from detail.

    Four things differ from the published lists. Finer levels go up to the factor: pictures like those that will be
    enhanced are learned from. There are no coarser ones: they gain nothing. Coarse pictures are made of single pixels
    alone, as scans are. And the noise of the two pictures of a pair is decoupled (see
    :mod:`finescan.patches.decoupling`), the less, the noisier the recorded pictures are: what is predicted without any
    noise is too smooth to look like a recorded picture.

    Parameters
    ----------
    sr_factor : fine pixels per coarse pixel.
    image : the recorded picture, or several; their noise is measured.
    scale : what levels are counted in, for names.
    """
    images = [image] if isinstance(image, Image) else list(image)
    noisy = []
    for one in images:
        picture, _ = filled(one.array())
        noisy.append(noise_share(picture, noise_of(picture)))
    part = max(LEAST_DECOUPLING, 1.0 - sum(noisy) / max(len(noisy), 1))
    return MultiscaleConfig(
        beta=tuple(float(f"{sr_factor**v:.3g}") for v in _OURS_FINER),
        sr_factor=sr_factor,
        filters=("nearest",),
        scale=scale or PLAIN,
        decoupling=float(f"{part:.2g}"),
    )


_DOWN = between(0.25, 0.95, 0.05)

#: The paper's Table 1, the baseline and the oracle of Figs. 1 and 7. Levels are relative to the recorded one, so they
#: serve pictures of any level; pass another scale where names should tell the true one.
PRESETS: Mapping[str, MultiscaleConfig] = MappingProxyType(
    {
        "stem": _stem(_DOWN, 10),
        "stem-down": _stem(_DOWN),
        "stem-up": _stem(finer=10),
        "stem-converging": _stem(_DOWN, 10, range(11, 16)),
        "stem-converging-17": _stem(_DOWN, 17, range(17, 20)),
        "stem-up-converging-17": _stem(finer=17, converging=range(17, 20)),
        "stem-single-scale": _stem(),
        "stem-oracle": oracle(4, range(19, 4, -1), ZoomScale(20.0, "MX")),
        "stm": _stm(48),
        "stm-up": _stm(),
        "stm-converging": _stm(converging=(14, 13)),
        "stm-single-scale": single_scale(2, ZoomScale(24.0, "nm")),
        "stm-oracle": oracle(2, range(13, 25), ZoomScale(12.0, "nm")),
    }
)
