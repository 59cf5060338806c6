"""Judgement without the network: works on anybody's super-resolved image or volume.

What compares volumes is loaded on first use, because it needs a compiler of inner loops (numba).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from finescan.trust.acceleration import Acceleration, break_even, measure_acceleration, relative_time
from finescan.trust.consistency import (
    Consistency,
    calibrate,
    consistency_bands,
    consistency_map,
    degrade,
    fit_psf_sigma,
)
from finescan.trust.distribution import TileScores, tile_scores
from finescan.trust.domain import (
    GreyDistance,
    grey_distance,
    grey_statistics,
    local_average,
    saturated,
    saturation_levels,
    training_range,
    untrained,
)
from finescan.trust.error_maps import ErrorMaps, error_maps
from finescan.trust.evaluation import evaluate
from finescan.trust.intensities import match_intensities
from finescan.trust.likeness import Likeness, compare_looks, compare_with_card
from finescan.trust.local_judgement import LocalJudgement, UsefulPixel, judge_locally
from finescan.trust.local_resolution import LocalRings, local_blur, local_rings
from finescan.trust.local_similarity import local_ms_ssim
from finescan.trust.metrics import METRICS, Metric, essim, matched, ms_ssim, psnr, rmse, ssim
from finescan.trust.part_likeness import PartLikeness, compare_parts
from finescan.trust.report import Block, Gain, Score, TrustReport
from finescan.trust.resolution import RingCurve, radial_spectrum, ring_correlation, shell_correlation, shell_spectrum
from finescan.trust.seams import Seams, find_seams, seam_strength

if TYPE_CHECKING:
    from finescan.trust.error_boxes import volume_error_maps
    from finescan.trust.flicker import SliceFlicker, slice_flicker
    from finescan.trust.gaussian_fit import BlurFit, blur_fit
    from finescan.trust.local_volumes import judge_volume_locally
    from finescan.trust.volume_consistency import calibrate_volume, consistency_slabs, degrade_volume_onto
    from finescan.trust.volume_judgement import judge_volume
    from finescan.trust.volume_metrics import (
        VOLUME_METRICS,
        SimilarityMaps,
        VolumeMetric,
        VolumeScores,
        ms_ssim_maps,
        ssim_map,
        volume_scores,
    )

_LATER = {
    "judge_volume": "volume_judgement",
    "judge_volume_locally": "local_volumes",
    "volume_error_maps": "error_boxes",
    **dict.fromkeys(("calibrate_volume", "consistency_slabs", "degrade_volume_onto"), "volume_consistency"),
    **dict.fromkeys(("SliceFlicker", "slice_flicker"), "flicker"),
    **dict.fromkeys(("BlurFit", "blur_fit"), "gaussian_fit"),
    **dict.fromkeys(
        (
            "VOLUME_METRICS",
            "SimilarityMaps",
            "VolumeMetric",
            "VolumeScores",
            "ms_ssim_maps",
            "ssim_map",
            "volume_scores",
        ),
        "volume_metrics",
    ),
}

__all__ = [
    "METRICS",
    "VOLUME_METRICS",
    "Acceleration",
    "Block",
    "BlurFit",
    "Consistency",
    "ErrorMaps",
    "Gain",
    "GreyDistance",
    "Likeness",
    "LocalJudgement",
    "LocalRings",
    "Metric",
    "PartLikeness",
    "RingCurve",
    "Score",
    "Seams",
    "SimilarityMaps",
    "SliceFlicker",
    "TileScores",
    "TrustReport",
    "UsefulPixel",
    "VolumeMetric",
    "VolumeScores",
    "blur_fit",
    "break_even",
    "calibrate",
    "calibrate_volume",
    "compare_looks",
    "compare_parts",
    "compare_with_card",
    "consistency_bands",
    "consistency_map",
    "consistency_slabs",
    "degrade",
    "degrade_volume_onto",
    "error_maps",
    "essim",
    "evaluate",
    "find_seams",
    "fit_psf_sigma",
    "grey_distance",
    "grey_statistics",
    "judge_locally",
    "judge_volume",
    "judge_volume_locally",
    "local_average",
    "local_blur",
    "local_ms_ssim",
    "local_rings",
    "match_intensities",
    "matched",
    "measure_acceleration",
    "ms_ssim",
    "ms_ssim_maps",
    "psnr",
    "radial_spectrum",
    "relative_time",
    "ring_correlation",
    "rmse",
    "saturated",
    "saturation_levels",
    "seam_strength",
    "shell_correlation",
    "shell_spectrum",
    "slice_flicker",
    "ssim",
    "ssim_map",
    "tile_scores",
    "training_range",
    "untrained",
    "volume_error_maps",
    "volume_scores",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"finescan.trust has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(f"finescan.trust.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return __all__
