"""The SCHEDULES table: the learning rate at a step, as a share of the highest; and the OPTIMISERS table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

WARM_UP = 0.05  # share of the steps over which the learning rate rises
LAST_RATE = 0.01  # learning rate at the end, as a share of the highest
LOWEST_RATE = 0.25  # of a cycle, as a share of the highest
CYCLE_STEPS = 10_000  # about; a training is an even number of whole cycles

HALVED_AT = (5, 8, 11, 15, 17)  # thirtieths of the steps

Schedule = Callable[[int, int], float]


def cosine(step: int, steps: int) -> float:
    """Short linear rise, then half a cosine."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def constant(step: int, steps: int) -> float:
    """The highest all the time."""
    return 1.0


def cyclic(step: int, steps: int) -> float:
    """Up and down in straight lines, several times (L. Smith, WACV 2017, doi:10.1109/WACV.2017.58).

    Reclik et al. 2025 train "cyclic" without saying between which rates and how fast. Chosen here after Smith's rules
    of thumb: from a quarter of the highest rate up and back, a cycle in about 10 000 steps (four epochs of that
    paper), and an even number of whole cycles, so that each half of a training starts and ends at the low rate.
    """
    cycles = 2 * max(1, round(steps / (2 * CYCLE_STEPS)))
    place = step * cycles / max(1, steps) % 1.0
    return LOWEST_RATE + (1 - LOWEST_RATE) * (1 - abs(2 * place - 1))


def halving(step: int, steps: int) -> float:
    """Halved at 25, 40, 55, 75 and 85 thousand of 150 000 steps, as the configuration of Möller et al. 2023 has it."""
    return 0.5 ** sum(step >= share * steps / 30 for share in HALVED_AT)


#: name -> schedule(step, steps)
SCHEDULES: dict[str, Schedule] = {"cosine": cosine, "constant": constant, "cyclic": cyclic, "halving": halving}

Groups = list[dict[str, Any]]

#: name -> optimiser(groups of parameters, learning rate, betas, weight decay)
OPTIMISERS: dict[str, Callable[[Groups, float, tuple[float, float], float], torch.optim.Optimizer]] = {
    "adamw": lambda groups, rate, betas, decay: torch.optim.AdamW(groups, lr=rate, betas=betas, weight_decay=decay),
    "adam": lambda groups, rate, betas, decay: torch.optim.Adam(groups, lr=rate, betas=betas, weight_decay=decay),
}
