"""describe(), problems(), require_pair(): known answers."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.io import describe, problems, require_pair
from finescan.values import Acquisition, Grid, Image, StagePose


def an_image(shape=(300, 300), size=100.0, *, name="lr", data=None, seed=0, tilt=None):
    if data is None:
        waves = 120 + 40 * np.sin(np.arange(shape[0])[:, None] / 9) * np.cos(np.arange(shape[1]) / 13)
        data = np.clip(waves + np.random.default_rng(seed).normal(0, 5, shape), 1, 254).astype(np.uint8)
    stage = None if tilt is None else StagePose(tilt_deg=tilt)
    return Image(data, Grid.of(data.shape, size), name, Acquisition(stage=stage))


def test_noise_of_a_known_level_is_found_on_a_slope_with_edges():
    y, x = np.mgrid[:400, :400]
    truth = 50 + 0.2 * y + 0.1 * x + 60 * ((x // 50) % 2)
    for sigma in (2.0, 8.0):
        noisy = truth + np.random.default_rng(1).normal(0, sigma, truth.shape)
        assert describe(an_image(data=noisy.astype(np.float32)))["noise"] == pytest.approx(sigma, rel=0.12)


def test_used_bits_are_those_of_the_levels_not_of_the_container():
    levels = np.random.default_rng(0).integers(0, 4096, (300, 300))
    assert describe(an_image(data=levels.astype(np.uint16)))["bits_used"] == 12
    assert describe(an_image(data=(levels * 16).astype(np.uint16)))["bits_used"] == 12
    assert describe(an_image(data=(levels // 16 * 257).astype(np.uint16)))["bits_used"] == 8


def test_saturation_is_the_share_of_clipped_pixels():
    f = np.random.default_rng(0).normal(200, 40, (400, 400))
    share = float(np.mean(f > 255))
    facts = describe(an_image(data=np.clip(f, 0, 255).astype(np.uint8)))
    assert facts["saturated_high"] == pytest.approx(share, abs=0.002) and facts["saturated_low"] == 0
    # clipped by an earlier step that did not use the whole range
    facts = describe(an_image(data=np.clip(f, 0, 240).astype(np.float32)))
    assert facts["saturated_high"] == pytest.approx(float(np.mean(f >= 240)), abs=0.002)
    assert describe(an_image())["saturated_high"] == 0


def test_nan_and_constant_rows_are_counted():
    data = an_image().data.astype(np.float32)
    data[:30] = np.nan
    data[40:45] = 7
    facts = describe(an_image(data=data))
    assert facts["nan_share"] == pytest.approx(0.1) and facts["constant_rows"] == 5


def test_a_good_pair_has_no_problems():
    lr, hr = an_image(), an_image((600, 600), 25.0, name="hr")
    assert problems(lr, hr) == []
    require_pair(lr, hr)


@pytest.mark.parametrize(
    ("hr_size", "message"),
    [
        (250.0, r"seem to be swapped: lr has pixels of 100 x 100 nm and hr of 250 x 250 nm.*--pixel-size"),
        (80.0, r"must be 1\.5 to 16, but it is 1\.25"),
        (5.0, r"must be 1\.5 to 16, but it is 20"),
        ((50.0, 90.0), r"but it is 1\.11 and 2"),
    ],
)
def test_impossible_pairs_are_refused(hr_size, message):
    lr, hr = an_image(), an_image((300, 300), hr_size, name="hr")
    with pytest.raises(InputError, match=message):
        require_pair(lr, hr)
    with pytest.raises(InputError, match=message):
        raise InputError(problems(lr, hr)[0])


def test_problems_are_told_in_sentences():
    flat = np.random.default_rng(0).integers(10, 20, (100, 500)).astype(np.uint8)
    hr = an_image((600, 600), (24.0, 25.0), name="hr", tilt=41.0)
    told = " ".join(problems(an_image(name="lr", data=flat, tilt=35.0), hr))
    wide = (an_image().data.astype(np.uint16)) * 257
    told += " ".join(problems(an_image(name="wide", data=wide), hr))
    for part in (
        "wide is uint16 but holds 7-bit grey levels",
        "lr has only 10 different grey levels",
        "hr has pixels that are not square",
        "ratio of pixel sizes differs",
        "tilted to 35.0° for lr and to 41.0° for hr",
        "field of view of hr is larger",
        "lr is mostly noise",
    ):
        assert part in told, part


def test_a_large_image_is_sampled_not_loaded():
    class Counted:
        shape, dtype, read = (200_000, 4096), np.dtype(np.uint8), 0

        def __getitem__(self, rows):
            n = len(range(*rows.indices(self.shape[0])))
            Counted.read += n * 4096
            return np.random.default_rng(n).integers(0, 255, (n, 4096)).astype(np.uint8)

    facts = describe(Image(Counted(), Grid.of(Counted.shape, 10.0), "huge"))
    assert facts["rows"] == 200_000 and 1 << 20 < Counted.read < 1 << 25
