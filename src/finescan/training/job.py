"""Job: what differs between training on pictures and on volumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from finescan.values import ModelCard

State = dict[str, Tensor]
Clock = Callable[[], float]


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
        """With fresh or the given weights, on the device, in the layout that is fastest."""

    def sampler(self, seed: int) -> Sampler:
        """Of the training role."""

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """Of the weights of a network."""

    def learning_rate(self, step: int, steps: int) -> float:
        """At a step."""

    def loss(self, network: nn.Module, batch: Any, bfloat16: bool) -> Tensor:
        """Of a network on a batch of the sampler."""

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
