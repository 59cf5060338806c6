"""Critics: their losses against independent computations, and trainings in two parts, resumed to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from finescan.errors import InputError
from finescan.models import Model
from finescan.training import TrainConfig, train
from finescan.training import adversarial as adv
from finescan.training.adversarial import Rival
from finescan.training.loop import CLIP, Member
from finescan.training.pictures import PictureJob
from finescan.training.schedules import cosine

CPU = torch.device("cpu")
TINY = {"precision": "float32", "threads": 1, "batch": 2, "patch": 16, "device": "cpu", "members": 1}
SMALL = {"channels": 8, "depth": 1}


@pytest.fixture(scope="module")
def quadruple(make_set):
    return make_set(factor=4)


class _Linear(nn.Module):
    """A critic whose slope is known: its weights."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-0.3, 0.5, pixels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight[:, None]


def test_the_slope_of_a_linear_critic_is_its_weights() -> None:
    critic, mix = _Linear(16), torch.rand(3, 1, 1, 1)
    real, fake = torch.rand(2, 3, 1, 4, 4)
    expected = (critic.weight.norm() - 1) ** 2
    torch.testing.assert_close(adv.gradient_penalty(critic, real, fake, mix), expected)
    total = adv.wasserstein_loss(critic, real, fake, mix)
    torch.testing.assert_close(total, (critic(fake) - critic(real)).mean() + 10 * expected)
    torch.testing.assert_close(adv.wasserstein_verdict(critic, fake), -(fake.flatten(1) @ critic.weight).mean())


def test_the_gradient_penalty_agrees_with_differences_one_sample_at_a_time() -> None:
    """Central differences of a bent critic in double precision; each sample has its own mixture."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    real, fake = torch.rand(2, 4, 1, 3, 3, dtype=torch.float64)
    mix = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=torch.float64).view(4, 1, 1, 1)
    slopes = []
    for r, f, m in zip(real, fake, mix, strict=True):
        between, slope = r * m + f * (1 - m), torch.zeros(9, dtype=torch.float64)
        for k in range(9):
            step = torch.zeros(9, dtype=torch.float64)
            step[k] = 1e-6
            up, down = (critic((between + s * step.view(1, 3, 3))[None])[0, 0] for s in (1, -1))
            slope[k] = (up - down) / 2e-6
        slopes.append(slope.norm().detach())
    expected = torch.stack([(s - 1) ** 2 for s in slopes]).mean()
    torch.testing.assert_close(adv.gradient_penalty(critic, real, fake, mix), expected, rtol=1e-6, atol=1e-9)


def test_the_gradient_penalty_trains_the_critic() -> None:
    """Its own derivative by differences: the penalty needs a second derivative."""
    torch.manual_seed(1)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    real, fake = torch.rand(2, 2, 1, 2, 2, dtype=torch.float64)
    mix = torch.full((2, 1, 1, 1), 0.4, dtype=torch.float64)
    adv.gradient_penalty(critic, real, fake, mix).backward()
    weight = critic[1].weight
    found, moved = weight.grad[1, 2].item(), []
    for step in (1e-6, -2e-6):
        weight.data[1, 2] += step
        moved.append(adv.gradient_penalty(critic, real, fake, mix).item())
    assert found == pytest.approx((moved[0] - moved[1]) / 2e-6, rel=1e-5) and found != 0


def test_the_critic_of_patches_is_trained_on_cross_entropy() -> None:
    critic = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        critic.weight.fill_(1.0)
        critic.bias.fill_(0.0)
    real, fake = torch.full((1, 1, 2, 2), 1.5), torch.full((1, 1, 2, 2), -0.5)
    expected = (np.log1p(np.exp(-1.5)) + np.log1p(np.exp(-0.5))) / 2
    assert adv.patch_loss(critic, real, fake, torch.zeros(1)).item() == pytest.approx(expected, rel=1e-6)
    assert adv.patch_verdict(critic, fake).item() == pytest.approx(np.log1p(np.exp(0.5)), rel=1e-6)


def test_a_critic_takes_its_steps_on_the_same_patches_and_gives_the_network_a_slope() -> None:
    torch.manual_seed(0)
    rival = Rival("wgan-gp", 32, seed=3, device=CPU)
    calls = []
    rival.optimiser.register_step_post_hook(lambda *_: calls.append(1))
    real, fake = torch.rand(2, 2, 1, 32, 32)
    fake.requires_grad_(True)
    rival.learn(real, fake)
    assert len(calls) == 2 and fake.grad is None  # two steps, and the network is left alone
    before = {k: v.clone() for k, v in rival.critic.state_dict().items()}
    rival.verdict(fake).backward()
    assert fake.grad.abs().sum() > 0
    assert all(torch.equal(before[k], v) for k, v in rival.critic.state_dict().items())
    rival.optimiser.zero_grad()
    rival.verdict(fake).backward()
    assert all(p.grad is None and p.requires_grad for p in rival.critic.parameters())


def test_a_critic_learns_to_tell_pictures_apart() -> None:
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(1)
    rival = Rival("patch", 32, steps=3, seed=0, device=CPU)
    assert rival.optimiser.defaults["betas"] == (0.5, 0.999)
    for _ in range(4):
        rival.learn(torch.rand(4, 1, 32, 32, generator=rng), torch.zeros(4, 1, 32, 32))
    with torch.no_grad():
        assert (
            rival.critic(torch.rand(4, 1, 32, 32, generator=rng)).mean()
            > rival.critic(torch.zeros(4, 1, 32, 32)).mean()
        )


@pytest.mark.parametrize(
    ("critic", "patch", "text"),
    [
        ("wgan-gp", 18, "whole multiples of 32 fine pixels, but they have 72.*a multiple of 8"),
        ("patch", 12, "at least 32 fine pixels, but they have 24"),
    ],
)
def test_a_patch_that_a_critic_cannot_judge_is_refused(make_set, critic: str, patch: int, text: str) -> None:
    patches = make_set(factor=4 if critic == "wgan-gp" else 2)
    options = {**TINY, "patch": patch}
    with pytest.raises(InputError, match=text):
        train(patches, TrainConfig(max_steps=2, arguments=SMALL, terms={"critic": critic}, **options))


# ---------------------------------------------------------------------- whole trainings
class _Interrupt(Exception):
    pass


def _stop_after(steps: int):
    def progress(done: float, total: float, message: str) -> None:
        if done >= steps:
            raise _Interrupt

    return progress


def _equal(a: Model, b: Model) -> bool:
    pairs = zip(a.members, b.members, strict=True)
    return all(torch.equal(v, y.state_dict()[k]) for x, y in pairs for k, v in x.state_dict().items())


@pytest.mark.parametrize("critic", ["wgan-gp", "patch"])
@pytest.mark.parametrize("stop", [4, 9])
def test_a_training_with_a_critic_continues_to_the_bit(
    quadruple, small_critics, tmp_path, critic: str, stop: int
) -> None:
    """Twelve steps: stopped in the first part (before the critic learns anything) and in the second."""
    config = TrainConfig(
        max_steps=12, arguments=SMALL, terms={"critic": critic, "adversarial": 0.1}, checkpoint_seconds=1e-6, **TINY
    )
    whole = train(quadruple, config)
    with pytest.raises(_Interrupt):
        train(quadruple, config, folder=tmp_path, progress=_stop_after(stop))
    seen = []
    continued = train(quadruple, config, folder=tmp_path, progress=lambda d, t, m: seen.append(d))
    assert _equal(whole, continued) and len(seen) <= 12 - stop + 1
    assert _equal(whole, train(quadruple, config))
    alone = train(quadruple, config.model_copy(update={"terms": config.terms.model_copy(update={"critic": "none"})}))
    assert not _equal(whole, alone)  # the critic did something


def _job(patches, **terms) -> PictureJob:
    config = TrainConfig(max_steps=10, arguments=SMALL, terms=terms, **TINY)
    return PictureJob(patches, config, CPU)


def test_the_second_part_begins_when_it_should_and_nothing_of_it_is_felt_before(quadruple, small_critics) -> None:
    with_critic = Member(_job(quadruple, critic="patch", content_share=0.4), index=0, steps=10, bfloat16=False)
    without = Member(_job(quadruple), index=0, steps=10, bfloat16=False)
    critic = [v.clone() for v in with_critic.further.rival.critic.parameters()]
    for k in range(10):
        assert with_critic.step() and without.step()
        same = all(
            torch.equal(a, b) for a, b in zip(with_critic.average.values(), without.average.values(), strict=True)
        )
        rested = all(
            torch.equal(a, b) for a, b in zip(critic, with_critic.further.rival.critic.parameters(), strict=True)
        )
        assert same == rested == (k < 4)


def test_with_further_terms_the_last_averaged_state_is_kept_and_nothing_stops_early(quadruple, small_critics) -> None:
    member = Member(_job(quadruple, critic="patch"), index=0, steps=10, bfloat16=False)
    plain = Member(_job(quadruple), index=0, steps=10, bfloat16=False)
    for psnr in (30.0, 20.0):
        for m in (member, plain):
            m.step()
            m.judged(psnr, 25.0, 0.0)
    assert not member.finished and member.best_psnr == 20.0
    assert all(torch.equal(member.best[k], v) for k, v in member.average.items())
    assert plain.finished and plain.best_psnr == 30.0
    assert not all(torch.equal(plain.best[k], v) for k, v in plain.average.items())


def test_pixels_without_weight_teach_the_critic_nothing(quadruple) -> None:
    from finescan.training.job import Answer

    sr, target = torch.rand(2, 1, 1, 4, 4)
    weight = torch.ones(1, 1, 4, 4)
    weight[..., :2] = 0
    real = Answer(sr, target, weight).real
    assert torch.equal(real[..., :2], sr[..., :2]) and torch.equal(real[..., 2:], target[..., 2:])


def test_training_with_the_content_loss_alone_is_what_it_always_was(quadruple) -> None:
    """A few lines of plain descent give the same bits: nothing of the further terms is felt without them."""
    job = _job(quadruple)
    member = Member(job, index=0, steps=8, bfloat16=False)
    seeds = np.random.SeedSequence([0, 0]).generate_state(2)
    torch.manual_seed(int(seeds[0]))
    network, sampler = job.network(), job.sampler(int(seeds[1]))
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    average = {k: v.clone() for k, v in network.state_dict().items()}
    grey = quadruple.hr_grey
    for k in range(8):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * cosine(k, 8)
        optimiser.zero_grad()
        lr, hr, weight = (torch.from_numpy(a)[:, None] for a in sampler.batch(2))
        x = lr * (quadruple.gain / grey.std) + (quadruple.offset - grey.mean) / grey.std
        answer = network(x.contiguous(memory_format=torch.channels_last))
        loss = ((answer - (hr - grey.mean) / grey.std).abs() * weight).sum() / weight.sum()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
        keep = min(0.995, (k + 1) / (k + 10.0))
        for key, value in network.state_dict().items():
            average[key].lerp_(value, 1 - keep)
        assert member.step()
        assert member.last_loss == loss.item()
    assert all(torch.equal(average[k], v) for k, v in member.average.items())


def test_srresnet_against_the_critic_of_patches_lowers_its_content_loss(quadruple) -> None:
    """The real critic; afterwards the card says what was asked for, and why the PSNR is not the measure."""
    config = TrainConfig(
        architecture="srresnet",
        max_steps=30,
        learning_rate=3e-3,
        arguments={"features": 8, "blocks": 1},
        terms={"critic": "patch", "content_share": 0.8},
        **TINY,
    )
    job = PictureJob(quadruple, config, CPU)
    member = Member(job, index=0, steps=30, bfloat16=False)
    batch = job.sampler(1).batch(16)
    before = member.loss_of(batch).item()
    assert all(member.step() for _ in range(30))
    assert member.loss_of(batch).item() < 0.9 * before
    model = train(quadruple, config.model_copy(update={"max_steps": 4}))
    recipe = model.card.training["recipe"]
    assert recipe["critic"] == "patch" and recipe["adversarial"] == 1e-3 and recipe["content_share"] == 0.8
    assert any("costs PSNR by design" in n for n in model.card.training["notes"])
