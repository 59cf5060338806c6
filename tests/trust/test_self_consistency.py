"""Consistency without a fine scan: the noise of the scan itself is the yardstick."""

import re

import numpy as np
import pytest
from scipy import ndimage

from finescan.trust import consistency_map
from finescan.trust.self_consistency import self_yardstick, white_noise
from finescan.values import Grid, Image

NOISE, FACTOR = 4.0, 2


@pytest.fixture(scope="module")
def scene():
    """(recorded scan with noise, noise-free enhanced picture): atoms on a grid."""
    fine = Grid.of((192, 224), 0.01)
    y, x = np.indices(fine.shape) + 0.5
    truth = 200 + 60 * np.cos(2 * np.pi * y / 29) * np.cos(2 * np.pi * x / 31)
    coarse = truth.reshape(96, FACTOR, 112, FACTOR).mean(axis=(1, 3))
    coarse = coarse + NOISE * np.random.default_rng(0).standard_normal(coarse.shape)
    return Image(coarse.astype(np.float32), fine.coarsen(FACTOR), "scan"), Image(truth.astype(np.float32), fine, "sr")


def test_noise_is_read_off_the_spectrum_of_a_lattice(scene):
    assert white_noise(scene[0].data) == pytest.approx(NOISE, rel=0.05)
    assert white_noise(scene[1].data) < 0.05


def test_a_picture_without_the_noise_is_consistent_and_its_residual_is_the_noise(scene):
    lr, enhanced = scene
    found = self_yardstick(enhanced, lr)
    assert found.ratio == pytest.approx(1.0, abs=0.1) and found.gain == pytest.approx(1.0, abs=0.01)
    assert not found.notes() and found.check.gain == 1.0 and found.check.offset == 0.0
    assert consistency_map(enhanced, lr, found.check)[1].mean() < 0.002
    assert found.to_dict()["noise"] == pytest.approx(NOISE, rel=0.05)


def test_the_recorded_picture_interpolated_keeps_the_noise(scene):
    lr, enhanced = scene
    up = ndimage.zoom(lr.data, FACTOR, order=3, mode="nearest", grid_mode=True).astype(np.float32)
    found = self_yardstick(enhanced.with_data(up), lr)
    assert found.ratio < 0.3
    assert not consistency_map(enhanced.with_data(up), lr, found.check)[1].any()


def test_an_invented_atom_is_flagged_and_lost_contrast_is_said(scene):
    lr, enhanced = scene
    y, x = np.indices(enhanced.grid.shape)
    spot = 60 * np.exp(-((y - 100) ** 2 + (x - 120) ** 2) / 2 / 5.0**2)
    wrong = enhanced.with_data((enhanced.data + spot).astype(np.float32))
    bad = consistency_map(wrong, lr, self_yardstick(wrong, lr).check)[1]
    assert bad[50, 60] and bad.mean() < 0.02
    faint = enhanced.with_data((200 + 0.7 * (enhanced.data - 200)).astype(np.float32))
    said = " ".join(self_yardstick(faint, lr).notes())
    assert re.search(r"contrast of the enhanced image is 0.[67]\d times that of the recorded one", said), said


def test_missing_structure_is_more_than_noise(scene):
    lr, enhanced = scene
    flat = enhanced.with_data(ndimage.gaussian_filter(enhanced.data, 9.0))
    found = self_yardstick(flat, lr)
    assert found.ratio > 1.5 and any("times the white noise of the scan" in n for n in found.notes())
