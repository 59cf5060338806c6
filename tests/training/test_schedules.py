"""Learning rates at known points, and recipes that say what the papers say."""

from __future__ import annotations

import math

import pytest
import torch

from finescan.errors import InputError
from finescan.training import TrainConfig
from finescan.training.recipes import RECIPES
from finescan.training.schedules import CYCLE_STEPS, LOWEST_RATE, OPTIMISERS, SCHEDULES
from finescan.training.terms import Terms


def test_the_cosine_rises_shortly_and_ends_at_a_hundredth() -> None:
    rate = SCHEDULES["cosine"]
    assert [rate(k, 100) for k in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rate(5, 100) == 1.0
    assert rate(100, 100) == pytest.approx(0.01)
    assert rate(5 + 95 // 2, 100) == pytest.approx(0.505, abs=0.02)


def test_the_cyclic_rate_is_a_triangle_with_whole_cycles() -> None:
    rate, steps = SCHEDULES["cyclic"], 4 * CYCLE_STEPS
    peaks = [CYCLE_STEPS // 2 + k * CYCLE_STEPS for k in range(4)]
    assert [rate(k, steps) for k in peaks] == pytest.approx([1.0] * 4)
    assert [rate(k, steps) for k in (0, CYCLE_STEPS, 2 * CYCLE_STEPS, steps)] == pytest.approx([LOWEST_RATE] * 4)
    assert rate(CYCLE_STEPS // 4, steps) == pytest.approx((1 + LOWEST_RATE) / 2)  # straight lines
    assert rate(CYCLE_STEPS // 4, steps) == pytest.approx(rate(3 * CYCLE_STEPS // 4, steps))


@pytest.mark.parametrize("steps", [7, 50, 300])
def test_a_short_training_has_a_whole_cycle_in_each_half(steps: int) -> None:
    rates = [SCHEDULES["cyclic"](k, steps) for k in range(steps)]
    assert rates[0] == LOWEST_RATE and min(rates) >= LOWEST_RATE and max(rates) <= 1.0
    assert SCHEDULES["cyclic"](steps // 2, 2 * (steps // 2)) == pytest.approx(LOWEST_RATE)


def test_the_constant_rate_and_the_tables_of_optimisers() -> None:
    assert {SCHEDULES["constant"](k, 10) for k in range(11)} == {1.0}
    weight = torch.nn.Parameter(torch.zeros(2))
    made = OPTIMISERS["adam"]([{"params": [weight], "share": 0.1}], 1e-4, (0.5, 0.999), 0.0)
    assert type(made) is torch.optim.Adam and made.defaults["betas"] == (0.5, 0.999)
    assert made.param_groups[0]["share"] == 0.1
    assert type(OPTIMISERS["adamw"]([{"params": [weight]}], 1e-3, (0.9, 0.999), 1e-4)) is torch.optim.AdamW


def test_our_own_networks_are_trained_as_ever() -> None:
    """The defaults before there were recipes."""
    for name in ("auto", "quick", "large", "published"):
        recipe = TrainConfig(recipe=name).resolved(4)
        assert (recipe.batch, recipe.patch, recipe.members, recipe.loss, recipe.looks) == (4, 32, 3, "l1", 12)
        d = recipe.descent
        assert (d.learning_rate, d.weight_decay, d.optimiser, d.schedule) == (2e-3, 1e-4, "adamw", "cosine")
        assert not recipe.terms.any


def test_the_published_recipe_of_ttsr_has_the_papers_numbers() -> None:
    config = TrainConfig(architecture="ttsr", recipe="published")
    recipe = config.resolved(4)
    assert (recipe.batch, recipe.patch, recipe.members, recipe.loss, recipe.steps) == (8, 32, 1, "l1", 200_000)
    d = recipe.descent
    assert (d.learning_rate, d.learning_rate * d.extractor_share) == pytest.approx((1e-4, 1e-5))
    assert d.texture_share == 1.0
    assert (d.optimiser, d.betas, d.schedule, d.weight_decay, d.clip) == ("adam", (0.9, 0.999), "cyclic", 0, math.inf)
    assert recipe.terms == Terms("wgan-gp", 1e-3, 1e-2, 1e-2, 0, 0.5)
    assert not recipe.freeze_extractor and not config.timed and TrainConfig(minutes=1, recipe="published").timed


@pytest.mark.parametrize(("factor", "patch"), [(2, 128), (4, 64), (8, 32)])
def test_the_published_recipe_of_srresnet_has_256_fine_pixels(factor: int, patch: int) -> None:
    recipe = TrainConfig(architecture="srresnet", recipe="published", loss="l2").resolved(factor)
    assert (recipe.patch, recipe.batch, recipe.loss, recipe.epochs) == (patch, 80, "l2", 100)
    assert recipe.terms == Terms("patch", 1e-3, content_share=0.0)
    d = recipe.descent
    assert (d.learning_rate, d.optimiser, d.betas, d.schedule) == (1e-4, "adam", (0.5, 0.999), "constant")


def test_what_is_said_wins_over_the_recipe() -> None:
    asked = {"critic": "patch", "content_share": 0.25}
    config = TrainConfig(architecture="srresnet", recipe="quick", batch=2, schedule="constant", terms=asked)
    recipe = config.resolved(4)
    assert (recipe.batch, recipe.descent.schedule) == (2, "constant")
    assert recipe.terms == Terms("patch", 1e-3, content_share=0.25)
    silent = TrainConfig(architecture="ttsr", recipe="published", terms={"critic": "none"}).resolved(4)
    assert silent.terms == Terms("none", 0.0, 1e-2, 1e-2)
    assert TrainConfig(arguments={"channels": 8}).resolved(4).arguments == {"channels": 8}


def test_networks_that_are_trained_already_learn_more_slowly_unless_told() -> None:
    assert TrainConfig().resolved(4, starts=True).descent.learning_rate == pytest.approx(5e-4)
    assert TrainConfig(learning_rate=1e-3).resolved(4, starts=True).descent.learning_rate == 1e-3


def test_recipes_without_a_critic_have_no_weight_for_one() -> None:
    for rows in RECIPES.values():
        for recipe in rows.values():
            assert (recipe.terms.critic == "none") == (recipe.terms.adversarial == 0)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"terms": {"critic": "gan"}}, "critic is one of none, wgan-gp, patch"),
        ({"terms": {"perceptual": -1}}, "'terms.perceptual' cannot be used"),
        ({"terms": {"content_share": 2}}, "'terms.content_share' cannot be used"),
        ({"terms": {"critik": "none"}}, "'terms.critik' cannot be used"),
        ({"schedule": "linear"}, "schedule is one of cosine, constant, cyclic"),
        ({"optimiser": "sgd"}, "optimiser is one of adamw, adam"),
        ({"recipe": "best"}, "'recipe' cannot be used"),
    ],
)
def test_a_wrong_option_of_a_recipe_is_named(option: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        TrainConfig.of(**option)
