"""Judgement without the network: works on anybody's super-resolved image."""

from finescan.trust.consistency import (
    Consistency,
    calibrate,
    consistency_bands,
    consistency_map,
    degrade,
    fit_psf_sigma,
)
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
from finescan.trust.evaluation import evaluate
from finescan.trust.metrics import METRICS, Metric, essim, matched, ms_ssim, psnr, rmse, ssim
from finescan.trust.report import Block, Gain, Score, TrustReport
from finescan.trust.resolution import RingCurve, radial_spectrum, ring_correlation

__all__ = [
    "METRICS",
    "Block",
    "Consistency",
    "Gain",
    "GreyDistance",
    "Metric",
    "RingCurve",
    "Score",
    "TrustReport",
    "calibrate",
    "consistency_bands",
    "consistency_map",
    "degrade",
    "essim",
    "evaluate",
    "fit_psf_sigma",
    "grey_distance",
    "grey_statistics",
    "local_average",
    "matched",
    "ms_ssim",
    "psnr",
    "radial_spectrum",
    "ring_correlation",
    "rmse",
    "saturated",
    "saturation_levels",
    "ssim",
    "training_range",
    "untrained",
]
