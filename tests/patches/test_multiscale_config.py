"""The published lists of zoom levels, typed from Table 1 of Möller et al. 2023, and what cannot be a list."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.patches import PRESETS, MultiscaleConfig, SplitConfig, ZoomScale, oracle, single_scale
from finescan.patches.multiscale_config import between

DOWN_MX = [1.25 + 0.25 * k for k in range(15)]
#: preset -> factor, levels of (2), of (3) and of (4) in the unit of its scale
TABLE = {
    "stem-down": (4, DOWN_MX, [], []),
    "stem-up": (4, [], [6, 7, 8, 9, 10], []),
    "stem": (4, DOWN_MX, [6, 7, 8, 9, 10], []),
    "stem-converging": (4, DOWN_MX, [6, 7, 8, 9, 10], [11, 12, 13, 14, 15]),
    "stem-converging-17": (4, DOWN_MX, list(range(6, 18)), [17, 18, 19]),
    "stem-up-converging-17": (4, [], list(range(6, 18)), [17, 18, 19]),
    "stem-single-scale": (4, [], [], []),
    "stem-oracle": (4, list(range(19, 4, -1)), [], []),
    "stm-up": (2, [], list(range(23, 13, -1)), []),
    "stm": (2, list(range(48, 24, -1)), list(range(23, 13, -1)), []),
    "stm-converging": (2, [], list(range(23, 13, -1)), [14, 13]),
    "stm-single-scale": (2, [], [], []),
    "stm-oracle": (2, list(range(13, 25)), [], []),
}


@pytest.mark.parametrize("name", PRESETS)
def test_the_levels_of_every_preset(name):
    factor, *wanted = TABLE[name]
    config = PRESETS[name]
    assert config.sr_factor == factor and config.filters == (
        "nearest", "lanczos", "bilinear", "bicubic", "box", "hamming",
    )  # fmt: skip
    for process, levels in zip((2, 3, 4), wanted, strict=True):
        found = [config.scale.level(v.ratio) for v in config.levels if v.process == process]
        np.testing.assert_allclose(found, levels, rtol=1e-9)


def test_the_parameters_of_the_table():
    stem, stm = PRESETS["stem-converging"], PRESETS["stm-converging"]
    np.testing.assert_allclose(stem.alpha, np.arange(0.25, 0.951, 0.05))
    np.testing.assert_allclose(stem.gamma, [0.55, 0.6, 0.65, 0.7, 0.75])
    np.testing.assert_allclose(PRESETS["stem-converging-17"].gamma, [0.85, 0.9, 0.95])
    assert [round(v, 2) for v in (stm.beta[0], stm.beta[-1], *stm.gamma)] == [1.04, 1.71, 0.86, 0.92]
    assert round(PRESETS["stm"].alpha[-1], 2) == 0.96 and PRESETS["stm"].alpha[0] == 0.5


def test_single_scale_and_oracle():
    assert [v.ratio for v in single_scale(4).levels] == [1.0]
    found = oracle(4, [10, 5], ZoomScale(20, "MX"))
    assert found.alpha == (0.5, 0.25) and found.reads == 0.25 and not found.beta


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": (0.5, 1.0)}, "Every alpha must be above 0 and below 1 .*, but 1 came"),
        ({"alpha": (0.0,)}, "Every alpha .*, but 0 came"),
        ({"beta": (1.0,)}, "Every beta must be above 1 .*, but 1 came"),
        ({"beta": (float("nan"),)}, "Every beta .*, but nan came"),
        ({"gamma": (1.1,)}, "Every gamma must be above 0 and at most 1 .*, but 1.1 came"),
        ({"gamma": (0.0,)}, "Every gamma .*, but 0 came"),
        ({"beta": (1.5, 1.5)}, "Every beta is given once, but 1.5 came twice"),
        ({"sr_factor": 1}, "a whole number from 2 to 16, but 1 came"),
        ({"sr_factor": 2.5}, "a whole number from 2 to 16, but 2.5 came"),
        ({"filters": ("sinc",)}, "Filters are some of nearest, .*, but sinc came"),
        ({"filters": ()}, "but none came"),
        ({"recorded": False, "gamma": (0.5,)}, "needs a level with recorded detail"),
        ({"crop": 30}, "a multiple of the factor and at least 8 coarse pixels wide .*, but 30 came"),
        ({"crop": 16}, r"\(32 px for a factor of 4\), but 16 came"),
        ({"split": SplitConfig(guard_lr_px=5)}, "a gap of at least 6 coarse px .*, but guard_lr_px=5 came"),
        ({"reads": 0.5}, r"those 4 times coarser \(reads=0.25\), but reads=0.5 came"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        MultiscaleConfig(**arguments)


def test_lists_of_levels():
    assert between(0.25, 0.95, 0.05)[-1] == 0.95 and len(between(0.25, 0.95, 0.05)) == 15
    assert MultiscaleConfig(alpha=[0.5]).alpha == (0.5,)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"goes up in positive steps, but 2 to 1 by 0\.1 came"):
        between(2, 1, 0.1)


def test_the_words_and_the_written_form():
    config = PRESETS["stm-converging"]
    assert str(config) == "x2 from the zoom levels (1) 24 nm, (3) 23 to 14 nm, (4) 14 to 13 nm"
    d = config.to_dict()
    assert d["scale"] == {"recorded": 24.0, "unit": "nm"} and d["beta"] == list(config.beta)
    assert SplitConfig(**d["split"]) == config.split
