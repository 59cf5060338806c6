"""SwinIR-light as a row of the MODELS table: public weights on grey levels, tiles, recipes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from foreign_states import random_state, swinir_shapes

from finescan.errors import ModelError
from finescan.models import build, load_model, save_model
from finescan.models.importing import import_foreign
from finescan.models.store import load_foreign
from finescan.models.windows import WIDE, Windows
from finescan.training import TrainConfig
from finescan.training.schedules import SCHEDULES

RNG = np.random.default_rng(0)
WHOLE = Windows(64, 64, False)  # a picture of 64 x 64 pixels in one piece


def _scan(h: int, w: int) -> np.ndarray:
    return RNG.integers(0, 256, (h, w)).astype(np.float32)


@pytest.mark.parametrize(("factor", "channels", "wrap"), [(2, 1, "params"), (4, 1, ""), (4, 3, "params_ema")])
def test_public_weights_on_grey_levels(factor: int, channels: int, wrap: str, tmp_path) -> None:
    state, scan = random_state(swinir_shapes(factor, channels), gain=0.7), _scan(64, 64)
    model = import_foreign("swinir-light", {wrap: state} if wrap else state, pixel_size_nm=(0.1, 0.1))
    model = load_model(save_model(model, tmp_path / "m"))
    x = torch.from_numpy(scan / 255)[None, None].expand(-1, channels, -1, -1)
    with torch.inference_mode():
        expected = 255 * load_foreign("swinir-light", state)(x).mean(dim=1)[0].numpy()
    got = model.predict(scan, windows=WHOLE)
    np.testing.assert_allclose(got, expected, atol=5e-5 * expected.std(), rtol=0)
    assert model.factor == factor and model.card.hr_dtype == "uint8"


def test_the_network_has_the_published_size_and_starts_near_bicubic_interpolation() -> None:
    for factor, count in ((2, 904_744), (4, 911_236)):
        assert sum(p.numel() for p in build("swinir-light", factor).parameters()) == count
    x = torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    with torch.no_grad():
        ours, bicubic = build("swinir-light", 2).eval()(x), build("bicubic", 2)(x)
        free = build("swinir-light", 2, {"skip": 0}).eval()(x)
    assert 0 < 10 * (ours - bicubic).std() < bicubic.std() < (free - bicubic).std()


def test_windows_fade_so_that_no_pixel_is_from_one_window_alone_at_a_border() -> None:
    share = WIDE.share(2)
    total = share[96:] + share[:32]  # two neighbours, where both answer
    np.testing.assert_allclose(total, 1.0, atol=1e-12)
    assert share[0] < 0.01 and np.abs(np.diff(share)).max() < 0.06


def test_other_channels_and_factors_are_refused() -> None:
    with pytest.raises(ModelError, match=r"1 \(grey\) or 3 \(colour\) channels, but 2 came"):
        build("swinir-light", 2, {"channels": 2})
    with pytest.raises(ModelError, match="swinir-light enhances by 2 or 4, but the ratio asks for 3"):
        build("swinir-light", 3)


def test_the_published_recipe_is_the_papers() -> None:
    config = TrainConfig(architecture="swinir-light", recipe="published")
    two, four = config.resolved(2), config.resolved(4)
    assert (two.batch, two.patch, four.batch, four.patch, four.steps) == (4, 128, 16, 64, 150_000)
    descent = four.descent
    assert (descent.optimiser, descent.learning_rate, descent.averaging, four.loss) == ("adamw", 1e-3, 0.999, "l1")
    assert dict(four.arguments) == {"skip": 0, "bound": 0.0}
    rates = [SCHEDULES["halving"](1000 * k, 150_000) for k in (0, 24, 25, 39, 40, 54, 55, 74, 75, 84, 85, 149)]
    assert rates == [1, 1, *(0.5**k for k in (1, 1, 2, 2, 3, 3, 4, 4, 5, 5))]
    assert config.model_copy(update={"batch": 3}).resolved(2).batch == 3
