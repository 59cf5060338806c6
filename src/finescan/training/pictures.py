"""PictureJob: training on a PatchSet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from finescan.errors import InputError
from finescan.models import MODELS, build, complete_arguments
from finescan.patches import PatchSampler, PatchSet
from finescan.patches.sampling import Batch
from finescan.training.config import TrainConfig
from finescan.training.contestants import fit_contestants, make_card
from finescan.training.job import State
from finescan.training.judging import StopSet
from finescan.training.loop import rate
from finescan.training.losses import LOSSES
from finescan.values import ModelCard

CROP_PX = 2  # border of a patch that only gives context, coarse pixels

#: how often a member may see every training pixel. Beyond about this, networks learn the training area by heart
#: (benchmarks/quality.py): time left over goes to further members instead.
MOST_EPOCHS = 130.0
LEAST_STEPS, MOST_STEPS = 300, 30_000
_SHORTEST = 0.7  # of those steps are enough for a member where that makes room for one more
EVALUATION_SHARE = 0.08  # of the time that goes to the stop set


class PictureJob:
    """See :class:`finescan.training.job.Job`."""

    baseline = "bicubic"
    looks = 12
    tries_bfloat16 = False

    def __init__(
        self, patches: PatchSet, config: TrainConfig, device: torch.device, arguments: dict[str, Any] | None = None
    ) -> None:
        self.config, self.device = config, device
        self.batch, self.notes = config.batch, patches.notes
        self._patches = patches
        self._arguments = arguments or complete_arguments(config.architecture)
        self.scores = {name: float(m.card.training["stop_psnr"]) for name, m in fit_contestants(patches).items()}
        self._stop = StopSet(patches, MODELS[config.architecture].halo(self._arguments), device)

    def require_judge(self) -> None:
        """InputError when the stop role has no pixel that counts."""
        if self.scores["bicubic"] != self.scores["bicubic"]:
            raise InputError(
                "The stop area has no pixel that counts (all saturated or missing). Split with another seed."
            )

    def network(self, state: State | None = None) -> nn.Module:
        """Fresh weights, or the given ones."""
        network = build(self.config.architecture, self._patches.factor, self._arguments)
        if state:
            network.load_state_dict(state)
        return network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def sampler(self, seed: int) -> PatchSampler:
        """Patches of the training role."""
        return make_sampler(self._patches, self.config, seed)

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """AdamW."""
        c = self.config
        return torch.optim.AdamW(network.parameters(), lr=c.learning_rate, weight_decay=c.weight_decay)

    def learning_rate(self, step: int, steps: int) -> float:
        """Short rise, then half a cosine."""
        return self.config.learning_rate * rate(step, steps)

    def loss(self, network: nn.Module, batch: Batch, bfloat16: bool) -> Tensor:
        """The configured loss in units of the fine scan's standard deviation."""
        grey, p = self._patches.hr_grey, self._patches
        lr, hr, weight = (torch.from_numpy(a)[:, None].to(self.device) for a in batch)
        x = (lr * (p.gain / grey.std) + (p.offset - grey.mean) / grey.std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            answer = network(x)
        return LOSSES[self.config.loss](answer, (hr - grey.mean) / grey.std, weight)

    def psnr(self, networks: Sequence[nn.Module]) -> float:
        """On the stop set."""
        return self._stop.psnr(networks)

    def divide(self, seconds_per_step: float) -> tuple[int, int]:
        """Steps per member and members."""
        return divide_budget(self._patches, self.config, seconds_per_step)

    def card(self, facts: Mapping[str, Any]) -> ModelCard:
        """The model's."""
        return make_card(self._patches, self.config.architecture, self._arguments, facts)

    def fingerprint(self) -> str:
        """Of settings and data."""
        settings = self.config.model_dump(exclude={"checkpoint_seconds"})
        text = json.dumps(settings, sort_keys=True) + self._patches.fingerprint()
        return hashlib.sha256(text.encode()).hexdigest()


def make_sampler(patches: PatchSet, config: TrainConfig, seed: int) -> PatchSampler:
    """The patches of a config; pixels of unequal sides cannot be transposed."""
    square = abs(patches.work_grid.pixel_size_nm[0] / patches.work_grid.pixel_size_nm[1] - 1) < 0.02
    augment = config.augment if square or config.augment == "none" else "flips"
    return PatchSampler(patches, size=config.patch, crop=CROP_PX, augment=augment, seed=seed)


def divide_budget(patches: PatchSet, config: TrainConfig, seconds: float) -> tuple[int, int]:
    """Steps per member and number of members for a time per step."""
    if config.max_steps is not None:
        return config.max_steps, config.members
    affordable = config.seconds * (1 - EVALUATION_SHARE) / seconds
    sampler = make_sampler(patches, config, config.seed)
    kept = sampler.size - 2 * sampler.crop
    pixels = sum(int((p.role == 1).sum()) for p in patches.pieces)
    enough = min(max(MOST_EPOCHS * pixels / (config.batch * kept**2), LEAST_STEPS), MOST_STEPS)
    members = min(config.members, max(1, int(affordable / (_SHORTEST * enough))))
    return max(1, int(min(enough, affordable / members))), members
