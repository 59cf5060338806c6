"""The consistency yardstick knows that bright pixels are noisier."""

import numpy as np
import pytest

from finescan.trust import calibrate, consistency_map, degrade
from finescan.values import Grid, Image


def test_noise_that_grows_with_the_grey_level_is_measured_level_by_level():
    """Shot noise: variance proportional to grey. A faint change in the dark must be seen, bright noise must not."""
    rng = np.random.default_rng(3)
    fine_grid = Grid.of((512, 512), 10.0)
    ramp = np.linspace(4, 400, 512)[None, :] * np.ones((512, 1))
    fine = Image(ramp.astype(np.float32), fine_grid, "fine")
    coarse_grid = fine_grid.coarsen(4)
    clean = degrade(fine, coarse_grid, psf_sigma_px=0.5)
    coarse = Image(rng.poisson(clean).astype(np.float32), coarse_grid, "coarse")
    check = calibrate(fine, coarse)
    dark, bright = check.noise_at(np.array([20.0, 380.0]))
    assert dark == pytest.approx(np.sqrt(20), rel=0.35)
    assert bright == pytest.approx(np.sqrt(380), rel=0.25)
    painted = ramp.copy()
    painted[200:232, 20:52] += 14.0  # three times the noise there, less than that of the bright side
    _, flags = consistency_map(Image(painted.astype(np.float32), fine_grid), coarse, check)
    assert flags[50:58, 5:13].mean() > 0.5
    assert flags[:, 64:].mean() < 0.01
