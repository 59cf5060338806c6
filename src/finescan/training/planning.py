"""From a time budget to a number of steps, by timing a few of them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

import torch

from finescan.training.job import Clock, Job, Settings
from finescan.training.loop import Member

_WARM, _TIMED = 2, 4
_GAIN = 1.15  # a setting must be this much faster to be preferred


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


def device_of(name: str) -> torch.device:
    """The device to train on; "auto" is a CUDA device where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_plan(job: Job, clock: Clock) -> Plan:
    """Time a few steps with every sensible number of threads and divide the budget.

    With ``max_steps`` nothing is timed: the same seed then gives the same weights on the same machine.
    """
    config: Settings = job.config
    bfloat16 = _bfloat16(config, job.device)
    candidates = _thread_counts(config, job.device)
    threads, seconds = candidates[0], float("nan")
    if config.timed:
        threads, seconds = _fastest(candidates, job, bfloat16, clock)
    steps, members = job.divide(seconds)
    return Plan(steps, members, threads, bfloat16, seconds)


def _bfloat16(config: Settings, device: torch.device) -> bool:
    """On graphics cards that have it; processors train in float32, where few are faster in bfloat16."""
    if config.precision != "auto":
        return config.precision == "bfloat16"
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def _thread_counts(config: Settings, device: torch.device) -> list[int]:
    """To try; the first one is preferred unless another is clearly faster. 0 = as they are."""
    if config.threads or device.type != "cpu":
        return [config.threads]
    return sorted({min(os.cpu_count() or 1, 8), 1}, reverse=True)


def _fastest(candidates: list[int], job: Job, bfloat16: bool, clock: Clock) -> tuple[int, float]:
    timed: list[tuple[int, float]] = []
    before = torch.get_num_threads()
    for threads in candidates:
        if threads:
            torch.set_num_threads(threads)
        timed.append((threads, _seconds_per_step(job, bfloat16, clock)))
    torch.set_num_threads(before)
    quickest = min(timed, key=lambda entry: entry[1])
    return quickest if quickest[1] * _GAIN < timed[0][1] else timed[0]


def _seconds_per_step(job: Job, bfloat16: bool, clock: Clock) -> float:
    """Median time of a step of a network that is thrown away."""
    member = Member(job, index=0, steps=_WARM + _TIMED, bfloat16=bfloat16)
    times = []
    for _ in range(_WARM + _TIMED):
        start = clock()
        member.step()
        times.append(clock() - start)
    return sorted(times[_WARM:])[_TIMED // 2]
