"""MS-SSIM where the mask is too thin for the coarse scales."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.trust import volume_scores
from finescan.trust.metrics import VOLUME_MS_WEIGHTS


def _volumes() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(64, 64, 64))
    return truth + rng.normal(0, 0.5, truth.shape), truth


def test_scales_without_a_voxel_that_counts_are_left_out_and_the_others_share_their_weight():
    result, truth = _volumes()
    mask = np.zeros(truth.shape, bool)
    mask[8:14] = True
    scores = volume_scores(result, truth, data_range=6.0, mask=mask)
    assert len(volume_scores(result, truth, data_range=6.0).weights) == 3 and len(scores.weights) == 2
    two = volume_scores(result, truth, data_range=6.0, mask=mask, weights=VOLUME_MS_WEIGHTS[:2]).ms_ssim
    assert scores.ms_ssim == pytest.approx(two ** (sum(VOLUME_MS_WEIGHTS) / sum(VOLUME_MS_WEIGHTS[:2])), rel=1e-9)


def test_nothing_away_from_the_border_has_no_similarity():
    result, truth = _volumes()
    mask = np.zeros(truth.shape, bool)
    mask[:3] = True
    scores = volume_scores(result, truth, data_range=6.0, mask=mask)
    assert np.isnan(scores.ssim) and np.isnan(scores.ms_ssim) and scores.weights == () and np.isfinite(scores.psnr)
