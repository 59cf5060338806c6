"""Job: what differs between training on pictures and on volumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from finescan.values import ModelCard

if TYPE_CHECKING:
    from finescan.training.terms import Further

State = dict[str, Tensor]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Answer:
    """What a network makes of a batch, and what it should have made; normalised.

    Parameters
    ----------
    sr, target, weight : of the same shape; pixels of weight 0 do not count, and the target is meaningless there.
    textures : transferred texture of networks with a reference, fine to coarse; else nothing.
    """

    sr: Tensor
    target: Tensor
    weight: Tensor
    textures: tuple[Tensor, ...] = ()

    @property
    def real(self) -> Tensor:
        """The target, with what the network says where nothing was recorded: no critic shall learn from gaps."""
        return torch.where(self.weight > 0, self.target, self.sr.detach())


class Sampler(Protocol):
    """Draws batches, and can be stopped and continued to the bit."""

    def batch(self, count: int) -> Any:
        """So many random patches, in the form the job's loss takes."""

    def state_dict(self) -> dict[str, Any]:
        """State of the random numbers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the state was taken."""


class Settings(Protocol):
    """The entries of a configuration that every training has."""

    architecture: str
    seed: int
    threads: int
    precision: str
    device: str
    checkpoint_seconds: float
    timed: bool

    def model_dump(self, *, exclude: set[str] | None = None) -> dict[str, Any]:
        """For JSON."""


class Job(Protocol):
    """What is trained on what, and who judges; everything else is the same for pictures and volumes."""

    baseline: str  # the contestant that gains are measured from
    batch: int  # patches per step
    looks: int  # at the stop role, per member
    tries_bfloat16: bool  # on processors too, where timing says that it is faster
    clip: float  # largest norm of the gradient
    averaging: float  # of the moving average of the weights
    fixed: tuple[str, ...]  # how the names begin of what a network holds and training never changes

    @property
    def config(self) -> Any:
        """A model of :class:`Settings`."""

    @property
    def device(self) -> torch.device:
        """To train on."""

    @property
    def scores(self) -> Mapping[str, float]:
        """Of the contestants on the stop role, dB."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences about the data."""

    def network(self, state: State | None = None) -> nn.Module:
        """With fresh or the given weights (what is :attr:`fixed` may be left out), on the device, in the layout that
        is fastest."""

    def initial(self, index: int) -> State | None:
        """Weights that a member starts from and is judged with before its first step; None = fresh ones."""

    def further(self, network: nn.Module, *, seed: int, bfloat16: bool) -> Further | None:
        """Terms of the loss for the second part of a training, None without."""

    def sampler(self, seed: int) -> Sampler:
        """Of the training role."""

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """Of the weights of a network."""

    def learning_rate(self, step: int, steps: int) -> float:
        """At a step; groups of weights that learn more slowly say so with the entry "share"."""

    def answer(self, network: nn.Module, batch: Any, bfloat16: bool) -> Answer:
        """Of a network to a batch of the sampler."""

    def content(self, answer: Answer) -> Tensor:
        """The content loss of an answer: how far pixels are from their targets."""

    def psnr(self, networks: Sequence[nn.Module]) -> float:
        """Of the mean of networks on the stop role, dB."""

    def divide(self, seconds_per_step: float) -> tuple[int, int]:
        """Steps per member, and members, for a time per step (nan where the number of steps is given)."""

    def card(self, facts: Mapping[str, Any]) -> ModelCard:
        """Of the model."""

    def fingerprint(self) -> str:
        """Of data and settings: what a checkpoint must agree with."""


def device_of(name: str) -> torch.device:
    """The device to train on; "auto" is a CUDA device where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
