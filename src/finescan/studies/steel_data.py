"""The recordings of the steel study: the data sets of Reclik et al. 2025 (Table 1), simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from finescan.errors import InputError
from finescan.patches import RecordedConfig
from finescan.simulation import (
    RECORDINGS,
    LargePair,
    Recording,
    case_hardening,
    dual_phase,
    large_pair,
    small_pairs,
    specimen_px,
)
from finescan.values import Image

Pairs = list[tuple[Image, Image]]

RATIO, PATCH = 4, 32  # as published
WINDOWS_PER_SECTION = 400  # small pairs recorded on one simulated section
#: seeds of sections, so that no data set shows what another does
_SEEDS = {"small": 100, "references": 200, "large": 300, "other": 400, "other references": 500}


@dataclass(frozen=True)
class Size:
    """How much is recorded and how long networks learn.

    Parameters
    ----------
    small : small pairs, 32 and 128 pixels.
    references, side : recorded reference windows, and their side in fine pixels.
    large : coarse pixels along the edges of the large dual-phase pair.
    other, others : coarse pixels along the edges of a case-hardening pair, and how many.
    features, blocks : of the texture transformer.
    texture_minutes, tuning_minutes, own_minutes : training of the texture transformer, its fine-tuning, and our own.
    published : train by the published recipe and its number of steps instead of by time.
    steps : of every training instead of its time, if not 0: the same bits in every run.
    """

    small: int
    references: int
    side: int
    large: int
    other: int
    others: int
    features: int
    blocks: int
    texture_minutes: float
    tuning_minutes: float
    own_minutes: float
    published: bool = False
    steps: int = 0


SIZES: dict[str, Size] = {
    "quick": Size(420, 12, 160, 176, 288, 1, 16, 4, 1.0, 0.4, 0.25),
    "medium": Size(1200, 32, 200, 288, 384, 2, 16, 4, 6.0, 3.0, 0.75),
    "full": Size(25_000, 256, 300, 1024, 768, 4, 64, 16, 1e5, 1e5, 3.0, published=True),
}


def recorded_config(seed: int) -> RecordedConfig:
    """80/10/10 by blocks of the sample, as the paper shares."""
    return RecordedConfig(patch_lr_px=PATCH, seed=seed)


def judged_config(seed: int) -> RecordedConfig:
    """For a pair that only judges: roles do not matter, so there is no gap between them."""
    return RecordedConfig(patch_lr_px=PATCH, guard_lr_px=0, search_lr_px=2.0, seed=seed)


def dual_phase_pairs(size: Size, dwell_us: float, seed: int) -> Pairs:
    """DP-small: many small windows of dual-phase steel."""
    pairs: Pairs = []
    recording = replace(RECORDINGS["dual-phase"], dwell_us=dwell_us)
    for k, count in enumerate(_shares(size.small)):
        section = dual_phase((_side(count),) * 2, seed=seed + _SEEDS["small"] + k)
        pairs += _elsewhere(small_pairs(section.image, count, recording=recording, seed=seed + k), k)
    return pairs


def dual_phase_references(size: Size, seed: int) -> list[Image]:
    """Separately recorded reference windows, 100 µs per pixel."""
    side = size.side // RATIO
    wide = int(np.ceil(np.sqrt(size.references))) * (size.side + 24) + 2 * size.side
    section = dual_phase((wide, wide), seed=seed + _SEEDS["references"])
    pairs = small_pairs(section.image, size.references, recording=RECORDINGS["dual-phase"], lr_px=side, seed=seed + 7)
    return [hr for _, hr in pairs]


def dual_phase_large(size: Size, seed: int) -> LargePair:
    """DP-large: one large field of dual-phase steel, drifting."""
    recording = replace(RECORDINGS["dual-phase"], drift_lr_px=4.0)
    section = dual_phase(specimen_px(size.large), seed=seed + _SEEDS["large"])
    return large_pair(section.image, recording=recording, lr_px=size.large, seed=seed + 11)


def case_hardening_pairs(size: Size, seed: int) -> Pairs:
    """16MnCrS5: large fields of case-hardening steel."""
    pairs: Pairs = []
    for k in range(size.others):
        section = case_hardening(specimen_px(size.other), seed=seed + _SEEDS["other"] + k)
        both = large_pair(section.image, recording=_other_recording(), lr_px=size.other, seed=seed + 20 + k)
        pairs += _elsewhere([(both.lr, both.hr)], k)
    return pairs


def case_hardening_references(size: Size, seed: int) -> list[Image]:
    """Two further fields, which the study divides into references, as the paper does."""
    section = case_hardening(specimen_px(size.other), seed=seed + _SEEDS["other references"])
    return [large_pair(section.image, recording=_other_recording(), lr_px=size.other, seed=seed + 31).hr]


def _other_recording() -> Recording:
    return replace(RECORDINGS["case-hardening"], drift_lr_px=4.0)


def scanning_minutes(pairs: int, dwell_us: float) -> float:
    """Beam time for so many patch pairs, minutes."""
    return pairs * PATCH**2 * (1 + RATIO**2) * dwell_us / 60e6


def _shares(count: int) -> list[int]:
    if count < 30:
        raise InputError(f"The steel study needs at least 30 small pairs, but {count} came.")
    sections = -(-count // WINDOWS_PER_SECTION)
    return [count // sections + (k < count % sections) for k in range(sections)]


def _side(count: int) -> int:
    """Of a section that holds so many windows side by side, with room between them."""
    return int(np.ceil(np.sqrt(1.6 * count))) * PATCH * RATIO + 2 * PATCH


def _elsewhere(pairs: Sequence[tuple[Image, Image]], number: int) -> Pairs:
    """Sections lie far apart in the sample: windows of two of them are no neighbours."""
    return [(_moved(lr, number), _moved(hr, number)) for lr, hr in pairs]


def _moved(image: Image, number: int) -> Image:
    extra = dict(image.acquisition.extra)
    extra["place_nm"] = [v + 1e7 * number for v in extra["place_nm"]]
    return replace(
        image, name=f"section {number + 1} {image.name}", acquisition=replace(image.acquisition, extra=extra)
    )
