"""What every row of the MODELS table must do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finescan.errors import InputError, ModelError
from finescan.models import MODELS, build, load_model, save_model

NAMES = [name for name, row in MODELS.items() if row.axes == "YX"]
TILED = [name for name in NAMES if not MODELS[name].window]  # what runs on windows has no exact halo
RNG = np.random.default_rng(0)


def _cases(names: list[str], *factors: int) -> list[tuple[str, int]]:
    """Every name with those of the factors (or the next it has) that it can enhance by."""
    cases = [(n, f) for n in names for f in factors if not MODELS[n].factors or f in MODELS[n].factors]
    missing = [n for n in names if n not in {c[0] for c in cases}]
    return cases + [(n, MODELS[n].factors[0]) for n in missing]


def _scan(*shape: int) -> np.ndarray:
    return RNG.normal(90, 12, shape).astype(np.float32)


@pytest.mark.parametrize(("name", "factor"), _cases(NAMES, 1, 2, 3, 4, 7))
def test_the_answer_has_factor_times_as_many_pixels(fresh, name: str, factor: int) -> None:
    answer = fresh(name, factor).predict(_scan(2, 11, 14))
    assert answer.shape == (2, 11 * factor, 14 * factor) and answer.dtype == np.float32


@pytest.mark.parametrize(("name", "factor"), _cases([n for n in NAMES if MODELS[n].arguments.get("skip", 1)], 1, 4, 5))
def test_a_constant_stays_that_constant(fresh, name: str, factor: int) -> None:
    model = fresh(name, factor)
    side = 2 * model.halo + 6
    answer = model.predict(np.full((side, side), 80.0, np.float32))
    inner = slice(model.halo * factor, (side - model.halo) * factor)
    np.testing.assert_allclose(answer[inner, inner], -1.5 * 80 + 200, rtol=1e-6)


@pytest.mark.parametrize(("name", "factor"), _cases(TILED, 1, 3))
def test_the_halo_is_exact(fresh, name: str, factor: int) -> None:
    """A pixel just outside the halo of a kept box changes nothing in it; one at the rim of the halo does."""
    model = fresh(name, factor, **({"blocks": 3} if name == "strong" else {}))
    halo, keep = model.halo, 5
    side = 2 * halo + keep + 4
    scan = _scan(side, side)
    first = halo + 2
    kept = (slice(first * factor, (first + keep) * factor),) * 2

    def changed(at: tuple[int, int]) -> float:
        other = scan.copy()
        other[at] += 60.0
        # the largest response of a deep random network at its very rim is small, so look in float64
        return float(np.abs(_exact(model, other)[kept] - _exact(model, scan)[kept]).max())

    for outside in (first - halo - 1, first + keep + halo):
        assert changed((outside, first + 2)) == 0 and changed((first + 2, outside)) == 0
    if halo and not (factor == 1 and name in ("bicubic", "lanczos")):
        inside = max(changed((first - halo, first)), changed((first + keep - 1, first + keep + halo - 1)))
        inside = max(inside, *(changed((first - halo, first + k)) for k in range(keep)))
        assert inside > 0


def _exact(model, scan: np.ndarray) -> np.ndarray:
    network = model.members[0].double()
    try:
        with torch.inference_mode():
            return _forward(network, torch.from_numpy(scan.astype(np.float64))[None, None])[0, 0].numpy()
    finally:
        network.float()


def _forward(network: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The network in float64: only the correction, whose reach the halo is about; the skip has its own radius."""
    if hasattr(network, "span"):
        return network.net((x - 90) / 12 / network.span)
    body = getattr(network, "body", None)
    if body is not None:
        return torch.nn.functional.pixel_shuffle(body((x - 90) / 12), network.factor)
    weight = getattr(network, "weight", None)
    filters = network.filters if weight is None else weight
    pad = filters.shape[-1] // 2
    y = torch.nn.functional.conv2d(torch.nn.functional.pad(x, (pad,) * 4, mode="replicate"), filters)
    return torch.nn.functional.pixel_shuffle(y, network.factor)


@pytest.mark.parametrize(("name", "factor"), _cases(TILED, 2, 5))
def test_tiles_with_their_halo_equal_the_whole(fresh, name: str, factor: int) -> None:
    model = fresh(name, factor, members=2 if MODELS[name].trainable else 1)
    halo, scan = model.halo, _scan(61, 74)
    padded = np.pad(scan, halo, mode="symmetric")
    whole = model.predict(padded)[halo * factor :, halo * factor :][: 61 * factor, : 74 * factor]
    for top, left, h, w in ((0, 0, 13, 20), (17, 33, 7, 31), (50, 60, 11, 14)):
        tile = model.predict(padded[top : top + h + 2 * halo, left : left + w + 2 * halo])
        kept = tile[halo * factor : (halo + h) * factor, halo * factor : (halo + w) * factor]
        here = whole[top * factor : (top + h) * factor, left * factor : (left + w) * factor]
        np.testing.assert_allclose(kept, here, atol=1e-6 * np.ptp(whole), rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_models_give_identical_answers(fresh, name: str, tmp_path) -> None:
    model = fresh(name, (MODELS[name].factors or (3,))[0], members=2 if MODELS[name].trainable else 1)
    again = load_model(save_model(model, tmp_path / "model"))
    scan = _scan(40, 45)
    np.testing.assert_array_equal(again.predict(scan), model.predict(scan))
    assert again.card.to_dict() == model.card.to_dict() and len(again.members) == len(model.members)


@pytest.mark.parametrize("name", NAMES)
def test_an_argument_of_another_architecture_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=rf"{name} takes .*, but kernel came"):
        build(name, (MODELS[name].factors or (2,))[0], {"kernel": 3})


@pytest.mark.parametrize("name", ["fast", "strong"])
def test_a_correction_is_bounded_by_the_spread_of_the_coarse_image(fresh, name: str) -> None:
    """A flat (saturated) part of the scan comes out flat, whatever the weights are."""
    bound, free = fresh(name, 4, bound=0.5), fresh(name, 4, bound=0.0)
    scan = _scan(60, 60)
    scan[:, 20:] = 255.0
    flat = (slice(100, 140), slice(100, 140))
    assert np.ptp(bound.predict(scan)[flat]) < 1e-3 < 1 < np.ptp(free.predict(scan)[flat])


def test_the_mean_and_spread_of_an_ensemble(fresh) -> None:
    model, scan = fresh("fast", 2, members=3), _scan(30, 30)
    mean, spread = model.predict_spread(scan)
    alone = np.stack([type(model)(m, model.card).predict(scan) for m in model.members])
    np.testing.assert_allclose(mean, alone.mean(axis=0), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(spread, alone.std(axis=0), atol=1e-3)
    assert spread.max() > 1


def test_bfloat16_touches_the_correction_only(fresh) -> None:
    model, scan = fresh("fast", 4), torch.from_numpy(_scan(1, 1, 40, 40))
    exact, fast = model.predict_tensor(scan), model.predict_tensor(scan, bfloat16=True)
    assert fast.dtype == torch.float32
    correction = exact - fresh("bicubic", 4).predict_tensor(scan)
    assert 0 < (fast - exact).abs().max() < 0.05 * correction.abs().max()


def test_the_fast_network_has_about_sixty_thousand_weights(fresh) -> None:
    assert fresh("fast", 4).weights == 60_432 and fresh("fast", 4).halo == 8


@pytest.mark.parametrize(
    ("name", "factor", "arguments", "text"),
    [
        ("swinir", 4, {}, "An architecture is one of nearest, .* but 'swinir' came"),
        ("fast", 0, {}, "factor is a whole number from 1 to 32, but 0 came"),
        ("fast", 4.0, {}, "factor is a whole number from 1 to 32, but 4.0 came"),
        ("ttsr", 3, {}, "ttsr enhances by 4, but the ratio asks for 3. Use another network, such as fast or strong"),
        ("srresnet", 3, {}, "srresnet enhances by 2 or 4 or 8, but the ratio asks for 3"),
        ("ttsr-grey", 4, {"side": 124}, "at least as large as a patch, 128 fine pixels, .* but side 124 came"),
        ("fast", 4, {"channels": 10**9}, "channels must be a whole number from 1 to 512, but 1000000000 came"),
        ("fast", 4, {"depth": "6"}, "depth must be a whole number from 1 to 64, but '6' came"),
    ],
)
def test_what_cannot_be_built_is_named(name: str, factor: int, arguments: dict, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        build(name, factor, arguments)


def test_a_block_without_pixels_is_refused(fresh) -> None:
    with pytest.raises(InputError, match="block of at least"):
        fresh("fast", 2).predict(np.zeros((0, 4), np.float32))
