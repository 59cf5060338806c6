"""From a time budget to a number of steps, by timing a few of them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

import torch

from finescan.training.job import Clock, Job, Settings
from finescan.training.loop import Member

_WARM, _TIMED = 2, 4
_LONG_S = 4.0  # timing of one setting ends after about so long: slow networks need fewer looks
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


def make_plan(job: Job, clock: Clock) -> Plan:
    """Time a few steps with every sensible number of threads and divide the budget.

    With ``max_steps`` nothing is timed: the same seed then gives the same weights on the same machine.
    """
    config: Settings = job.config
    formats = _formats(config, job.device, job.tries_bfloat16)
    candidates = [(threads, short) for threads in _thread_counts(config, job.device) for short in formats]
    (threads, bfloat16), seconds = candidates[0], float("nan")
    if config.timed:
        (threads, bfloat16), seconds = _fastest(candidates, job, clock)
    steps, members = job.divide(seconds)
    return Plan(steps, members, threads, bfloat16, seconds)


def _formats(config: Settings, device: torch.device, tries: bool) -> list[bool]:
    """Whether to compute in bfloat16: always on graphics cards that have it, on processors where timing says so.

    Few processors are faster in it, and those are twice as fast. Where the number of steps is given, nothing is timed.
    """
    if config.precision != "auto":
        return [config.precision == "bfloat16"]
    if device.type == "cuda":
        return [torch.cuda.is_bf16_supported()]
    return [False, True] if tries and config.timed else [False]


def _thread_counts(config: Settings, device: torch.device) -> list[int]:
    """To try; the first one is preferred unless another is clearly faster. 0 = as they are."""
    if config.threads or device.type != "cpu":
        return [config.threads]
    return sorted({min(os.cpu_count() or 1, 8), 1}, reverse=True)


def _fastest(candidates: list[tuple[int, bool]], job: Job, clock: Clock) -> tuple[tuple[int, bool], float]:
    """The fastest (threads, bfloat16) and its time per step; the first one unless another is clearly faster."""
    timed: list[tuple[tuple[int, bool], float]] = []
    before = torch.get_num_threads()
    for threads, bfloat16 in candidates:
        if threads:
            torch.set_num_threads(threads)
        timed.append(((threads, bfloat16), _seconds_per_step(job, bfloat16, clock)))
    torch.set_num_threads(before)
    quickest = min(timed, key=lambda entry: entry[1])
    return quickest if quickest[1] * _GAIN < timed[0][1] else timed[0]


def _seconds_per_step(job: Job, bfloat16: bool, clock: Clock) -> float:
    """Time of a step of a network that is thrown away; with further terms, the mean over both parts of a training."""
    member = Member(job, index=0, steps=_WARM + _TIMED, bfloat16=bfloat16)
    seconds = _median_step(member, clock)
    if member.further is None:
        return seconds
    member.turn, share = 0, member.further.terms.content_share
    return share * seconds + (1 - share) * _median_step(member, clock)


def _median_step(member: Member, clock: Clock) -> float:
    times: list[float] = []
    while len(times) < _WARM + _TIMED and (len(times) < 2 or sum(times) < _LONG_S):
        start = clock()
        member.step()
        times.append(clock() - start)
    timed = sorted(times[min(_WARM, len(times) - 1) :])
    return timed[len(timed) // 2]
