"""The ADVERSARIES table: critics that tell computed from recorded pictures, and what a network is taught by them.

A critic makes a network paint detail that *looks* recorded. Detail painted that way is likely, not measured: errors
per pixel grow, and what is judged by eye improves. No training uses a critic unless asked to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from finescan.errors import InputError
from finescan.models.srresnet import PatchDiscriminator
from finescan.models.ttsr import TtsrDiscriminator

PENALTY = 10.0  # weight of the gradient penalty, as published
_SMALLEST_PATCH = 32  # fine pixels; the critic of patches gives a verdict per 16, and normalises over several


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, no gradient goes to the weights of a module; through it to its input, it does."""
    learning = [p for p in module.parameters() if p.requires_grad]
    try:
        for p in learning:
            p.requires_grad_(False)
        yield
    finally:
        for p in learning:
            p.requires_grad_(True)


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """How far the critic is from a slope of one, between recorded and computed pictures.

    I. Gulrajani et al., "Improved training of Wasserstein GANs" (NeurIPS 2017, arXiv:1704.00028), equation 3 without
    its weight.

    Parameters
    ----------
    real, fake : (n, 1, h, w).
    mix : (n, 1, 1, 1) in [0, 1], how much of ``real`` is in the picture between the two.
    """
    between = (real * mix + fake * (1 - mix)).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()


def wasserstein_loss(critic: nn.Module, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """What the critic makes small: its verdict on computed less that on recorded pictures, with a bounded slope."""
    return (critic(fake) - critic(real)).mean() + PENALTY * gradient_penalty(critic, real, fake, mix)


def wasserstein_verdict(critic: nn.Module, fake: Tensor) -> Tensor:
    """What the network makes small."""
    return -critic(fake).mean()


def _cross_entropy(logits: Tensor, truth: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def patch_loss(critic: nn.Module, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Mean cross entropy of the critic's verdicts on recorded and on computed pictures."""
    return (_cross_entropy(critic(real), 1.0) + _cross_entropy(critic(fake), 0.0)) / 2


def patch_verdict(critic: nn.Module, fake: Tensor) -> Tensor:
    """Cross entropy of calling computed pictures recorded."""
    return _cross_entropy(critic(fake), 1.0)


@dataclass(frozen=True)
class Adversary:
    """One row of the table.

    Parameters
    ----------
    build : ``build(side)`` -> critic of pictures of so many fine pixels, with fresh weights.
    loss : ``loss(critic, real, fake, mix)``, what the critic makes small.
    verdict : ``verdict(critic, fake)``, what the network makes small.
    betas : of the critic's Adam.
    steps : of the critic for each step of the network, on the same patches.
    learning_rate : of the critic.
    """

    build: Callable[[int], nn.Module]
    loss: Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
    verdict: Callable[[nn.Module, Tensor], Tensor]
    betas: tuple[float, float]
    steps: int
    learning_rate: float = 1e-4


def _ttsr_critic(side: int) -> nn.Module:
    if side < 32 or side % 32:
        raise InputError(
            f"The critic wgan-gp judges patches of whole multiples of 32 fine pixels, but they have {side}. Choose "
            "patch so that patch times the factor is one (×4: a multiple of 8), or the critic patch."
        )
    return TtsrDiscriminator(in_size=side, channels=1)


def _patch_critic(side: int) -> nn.Module:
    if side < _SMALLEST_PATCH:
        raise InputError(
            f"The critic patch judges patches of at least {_SMALLEST_PATCH} fine pixels, but they have {side}. Choose "
            "a larger patch."
        )
    return PatchDiscriminator()


#: name -> critic; "wgan-gp" as in TTSR (arXiv:2006.04139), "patch" as in DLE-EM (van Melick & Plümper)
ADVERSARIES: dict[str, Adversary] = {
    "wgan-gp": Adversary(_ttsr_critic, wasserstein_loss, wasserstein_verdict, (0.0, 0.9), 2),
    "patch": Adversary(_patch_critic, patch_loss, patch_verdict, (0.5, 0.999), 1),
}


class Rival:
    """A critic while it is trained, with everything needed to continue it to the bit.

    Parameters
    ----------
    name : row of :data:`ADVERSARIES`.
    side : of the pictures, fine pixels.
    steps : of the critic per step of the network; 0 = the table's.
    seed : of the critic's random numbers (its weights come from torch's).
    """

    def __init__(self, name: str, side: int, *, steps: int = 0, seed: int = 0, device: torch.device) -> None:
        self._row = ADVERSARIES[name]
        self.critic = self._row.build(side).to(device)
        self.optimiser = torch.optim.Adam(self.critic.parameters(), lr=self._row.learning_rate, betas=self._row.betas)
        self.steps = steps or self._row.steps
        self._rng = np.random.default_rng(seed)

    def learn(self, real: Tensor, fake: Tensor) -> None:
        """Train the critic on recorded and computed pictures (n, 1, side, side) in [-1, 1]."""
        fake = fake.detach()
        for _ in range(self.steps):
            mix = torch.from_numpy(self._rng.random((len(real), 1, 1, 1), np.float32)).to(real.device)
            self.optimiser.zero_grad(set_to_none=True)
            self._row.loss(self.critic, real, fake, mix).backward()
            self.optimiser.step()

    def verdict(self, fake: Tensor) -> Tensor:
        """What the network has to make small; no gradient goes to the critic."""
        with frozen(self.critic):
            return self._row.verdict(self.critic, fake)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "critic": {k: v.detach().clone() for k, v in self.critic.state_dict().items()},
            "optimiser": self.optimiser.state_dict(),
            "random": json.dumps(self._rng.bit_generator.state),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        self.critic.load_state_dict(state["critic"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._rng.bit_generator.state = json.loads(state["random"])
