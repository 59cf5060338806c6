"""From a time budget to a number of steps, by timing a few of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from finescan.models import complete_arguments
from finescan.patches import PatchSet
from finescan.training.config import TrainConfig
from finescan.training.loop import Member, make_sampler

#: how often a member may see every training pixel. Beyond about this, networks learn the training area by heart
#: (benchmarks/quality.py): time left over goes to further members instead.
MOST_EPOCHS = 130.0
LEAST_STEPS, MOST_STEPS = 300, 30_000
_SHORTEST = 0.7  # of those steps are enough for a member where that makes room for one more
_WARM, _TIMED = 2, 4
_GAIN = 1.15  # a setting must be this much faster to be preferred
_EVALUATION_SHARE = 0.08  # of the time that goes to the stop set

Clock = Callable[[], float]


@dataclass(frozen=True)
class Plan:
    """What is fixed before the first step and kept for a continued run.

    Parameters
    ----------
    steps : per member.
    members : most members.
    threads : CPU threads, 0 = as they are.
    bfloat16 : whether corrections are computed in bfloat16 while training.
    seconds_per_step : as timed, nan when nothing was timed.
    """

    steps: int
    members: int
    threads: int
    bfloat16: bool
    seconds_per_step: float

    def to_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return asdict(self)


def device_of(config: TrainConfig) -> torch.device:
    """The device to train on."""
    if config.device != "auto":
        return torch.device(config.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_plan(patches: PatchSet, config: TrainConfig, clock: Clock) -> Plan:
    """Time a few steps with every sensible number of threads and divide the budget.

    With ``max_steps`` nothing is timed: the same seed then gives the same weights on the same machine.
    """
    device = device_of(config)
    bfloat16 = _bfloat16(config, device)
    candidates = _thread_counts(config, device)
    threads, seconds = candidates[0], float("nan")
    if config.max_steps is None:
        threads, seconds = _fastest(candidates, patches, config, device, bfloat16, clock)
    steps, members = divide_budget(patches, config, seconds)
    return Plan(steps, members, threads, bfloat16, seconds)


def divide_budget(patches: PatchSet, config: TrainConfig, seconds: float) -> tuple[int, int]:
    """Steps per member and number of members for a time per step."""
    if config.max_steps is not None:
        return config.max_steps, config.members
    affordable = config.seconds * (1 - _EVALUATION_SHARE) / seconds
    sampler = make_sampler(patches, config, config.seed)
    kept = sampler.size - 2 * sampler.crop
    pixels = sum(int((p.role == 1).sum()) for p in patches.pieces)
    enough = min(max(MOST_EPOCHS * pixels / (config.batch * kept**2), LEAST_STEPS), MOST_STEPS)
    members = min(config.members, max(1, int(affordable / (_SHORTEST * enough))))
    return max(1, int(min(enough, affordable / members))), members


def _bfloat16(config: TrainConfig, device: torch.device) -> bool:
    """On graphics cards that have it; processors train in float32, where few are faster in bfloat16."""
    if config.precision != "auto":
        return config.precision == "bfloat16"
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def _thread_counts(config: TrainConfig, device: torch.device) -> list[int]:
    """To try; the first one is preferred unless another is clearly faster. 0 = as they are."""
    if config.threads or device.type != "cpu":
        return [config.threads]
    return sorted({min(os.cpu_count() or 1, 8), 1}, reverse=True)


def _fastest(
    candidates: list[int],
    patches: PatchSet,
    config: TrainConfig,
    device: torch.device,
    bfloat16: bool,
    clock: Clock,
) -> tuple[int, float]:
    timed: list[tuple[int, float]] = []
    before = torch.get_num_threads()
    for threads in candidates:
        if threads:
            torch.set_num_threads(threads)
        timed.append((threads, _seconds_per_step(patches, config, device, bfloat16, clock)))
    torch.set_num_threads(before)
    quickest = min(timed, key=lambda entry: entry[1])
    return quickest if quickest[1] * _GAIN < timed[0][1] else timed[0]


def _seconds_per_step(
    patches: PatchSet, config: TrainConfig, device: torch.device, bfloat16: bool, clock: Clock
) -> float:
    """Median time of a step of a network that is thrown away."""
    arguments = complete_arguments(config.architecture)
    member = Member(patches, config, arguments, index=0, steps=_WARM + _TIMED, bfloat16=bfloat16, device=device)
    times = []
    for _ in range(_WARM + _TIMED):
        start = clock()
        member.step()
        times.append(clock() - start)
    return sorted(times[_WARM:])[_TIMED // 2]
