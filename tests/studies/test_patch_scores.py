"""Scores of patches against scikit-image, and what standard errors and gains are of."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from finescan.errors import InputError
from finescan.models import Model
from finescan.patches import PatchSet, recorded_patches
from finescan.simulation import dual_phase, small_pairs
from finescan.studies.patch_scores import by_map, by_model, gain, held_patches, score
from finescan.studies.steel_data import scanning_minutes
from finescan.training import fit_contestants
from finescan.values import Image


@pytest.fixture(scope="module")
def patches() -> PatchSet:
    return recorded_patches(small_pairs(dual_phase((1000, 1000), seed=2).image, 40, seed=2))


@pytest.fixture(scope="module")
def contestants(patches) -> dict[str, Model]:
    return fit_contestants(patches)


def test_held_patches_are_those_of_a_role_and_as_large_as_recorded(patches) -> None:
    counts = {role: len(held_patches(patches, role)) for role in ("train", "stop", "test", "any")}
    assert counts["train"] + counts["stop"] + counts["test"] == counts["any"] == len(patches.pieces)
    assert all(h.reference.shape == (128, 128) and h.coarse.shape == (32, 32) for h in held_patches(patches))
    with pytest.raises(KeyError):
        held_patches(patches, "nothing")


def test_no_patch_of_a_role_is_said(patches) -> None:
    from dataclasses import replace

    only = replace(patches, pieces=tuple(p for p in patches.pieces if (p.role == 1).any()))
    with pytest.raises(InputError, match=r"No patch has the role 'test'. Record more pairs"):
        held_patches(only)


def test_scores_are_the_means_of_scikit_image(patches, contestants) -> None:
    held = held_patches(patches)
    got = score(held, by_model(contestants["bicubic"]), data_range=255.0)
    whole = [h for h in held if h.mask.all()]
    assert whole
    answers = [contestants["bicubic"].predict(h.piece.lr)[h.box] for h in whole]
    for k, h in enumerate(held):
        if not h.mask.all():
            continue
        a = answers[whole.index(h)].astype(float)
        r = h.reference.astype(float)
        assert got.values["psnr"][k] == pytest.approx(peak_signal_noise_ratio(r, a, data_range=255), abs=1e-6)
        ssim = structural_similarity(
            r, a, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert got.values["ssim"][k] == pytest.approx(ssim, abs=1e-6)
    assert got.error("psnr") == pytest.approx(np.std(got.values["psnr"], ddof=1) / np.sqrt(len(held)))


def test_a_gain_is_paired(patches, contestants) -> None:
    """Patches differ far more than methods do: the paired error is the smaller one."""
    held = held_patches(patches)
    one, other = (score(held, by_model(contestants[n]), data_range=255.0) for n in ("bicubic", "nearest"))
    mean, error = gain(one, other, "psnr")
    assert mean == pytest.approx(one.mean("psnr") - other.mean("psnr")) and mean > 0.5
    assert error < 0.5 * one.error("psnr")


def test_the_truth_itself_scores_the_ideal_when_it_is_the_reference(patches) -> None:
    held = held_patches(patches)
    truth = [h.reference for h in held]
    perfect = score(held, lambda h: h.reference, data_range=255.0, references=truth)
    assert perfect.mean("ssim") == pytest.approx(1) and np.isinf(perfect.mean("psnr"))
    shifted = score(held, lambda h: h.reference + 10, data_range=255.0, references=truth)
    assert shifted.mean("psnr") == pytest.approx(20 * np.log10(255 / 10))


def test_an_enhanced_map_is_read_where_the_patch_lies(patches) -> None:
    """Every pixel of the map says where it is."""
    h, w = patches.out_grid.shape
    map_ = Image(np.arange(h * w, dtype=np.float64).reshape(h, w), patches.out_grid, "map")
    for patch in held_patches(patches)[:3]:
        part = by_map(map_, patches)(patch)
        nm = patch.piece.out_grid.to_nm([patch.box[0].start, patch.box[1].start])
        y, x = np.rint(patches.out_grid.to_index(nm)).astype(int)
        assert part.shape == (128, 128) and part[0, 0] == pytest.approx(y * w + x, rel=1e-6)


def test_beam_time_is_that_of_both_scans() -> None:
    """Reclik et al.: 2000 pairs of 32 and 128 pixels at 32 µs are about 20 minutes."""
    assert scanning_minutes(2000, 32.0) == pytest.approx(2000 * (32**2 + 128**2) * 32e-6 / 60)
    assert 15 < scanning_minutes(2000, 32.0) < 20
