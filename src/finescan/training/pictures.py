"""PictureJob: training on a PatchSet."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finescan.errors import InputError
from finescan.models import MODELS, Model, build, complete_arguments
from finescan.patches import PatchSampler, PatchSet
from finescan.patches.sampling import Batch
from finescan.training.adversarial import Rival
from finescan.training.config import TrainConfig
from finescan.training.contestants import fit_contestants, make_card
from finescan.training.job import Answer, State
from finescan.training.judging import StopSet
from finescan.training.losses import LOSSES
from finescan.training.perceptual import Extract, read_vgg
from finescan.training.recipes import Recipe
from finescan.training.schedules import OPTIMISERS, SCHEDULES
from finescan.training.starting import Start, start_arguments
from finescan.training.terms import Further, Scale
from finescan.values import ModelCard

#: how often a member may see every training pixel. Beyond about this, networks learn the training area by heart
#: (benchmarks/quality.py): time left over goes to further members instead.
MOST_EPOCHS = 130.0
LEAST_STEPS, MOST_STEPS = 300, 30_000
JUDGED_CONTEXT_PX = 16  # around stop boxes, for networks without an exact halo
_SHORTEST = 0.7  # of those steps are enough for a member where that makes room for one more
EVALUATION_SHARE = 0.08  # of the time that goes to the stop set


class PictureTraining:
    """What :class:`PictureJob` and :class:`finescan.training.references.ReferenceJob` share.

    Parameters
    ----------
    patches : what to learn from.
    config : how.
    device : to train on.
    arguments : of the network, instead of the configuration's.
    start : a model whose weights the members start from; None = fresh ones.
    """

    baseline = "bicubic"
    tries_bfloat16 = False
    fixed: tuple[str, ...] = ()
    _stop: StopSet

    def __init__(
        self,
        patches: PatchSet,
        config: TrainConfig,
        device: torch.device,
        arguments: Mapping[str, Any] | None = None,
        start: Model | None = None,
    ) -> None:
        self.config, self.device = config, device
        self._patches, self._name = patches, config.architecture
        self.recipe = config.resolved(patches.factor, starts=start is not None)
        self.batch, self.looks, self.clip = self.recipe.batch, self.recipe.looks, self.recipe.descent.clip
        self.averaging = self.recipe.descent.averaging
        self._arguments = complete_arguments(self._name, arguments or self._network_arguments(start))
        self._start = None if start is None else Start(start, self._name, patches.factor, self._arguments)
        grey = patches.hr_grey
        self._scale = Scale((grey.low - grey.mean) / grey.std, (grey.high - grey.mean) / grey.std)
        self.notes: list[str] = list(patches.notes)
        self._vgg = self._read_vgg()
        self.scores = self._judge_contestants()

    def _network_arguments(self, start: Model | None) -> Mapping[str, Any]:
        """Of the configuration, on top of those of the start or of the recipe."""
        if start is not None and start.card.architecture == self._name:
            return {**start_arguments(start, self.recipe.arguments), **self.config.arguments}
        return self.recipe.arguments

    def _judge_contestants(self) -> dict[str, float]:
        """Make the stop set, and judge interpolators and the ridge filter on the same pixels."""
        raise NotImplementedError

    def require_judge(self) -> None:
        """InputError when the stop role has no pixel that counts."""
        if math.isnan(self.scores["bicubic"]):
            raise InputError(
                "The stop area has no pixel that counts (all saturated or missing). Split with another seed."
            )

    def initial(self, index: int) -> State | None:
        """Of the model to start from, member by member."""
        return None if self._start is None else self._start.member(index)

    def learning_rate(self, step: int, steps: int) -> float:
        """By the recipe's schedule."""
        descent = self.recipe.descent
        return descent.learning_rate * SCHEDULES[descent.schedule](step, steps)

    def further(self, network: nn.Module, *, seed: int, bfloat16: bool) -> Further | None:
        """The terms of the recipe; None where the content loss is alone."""
        terms, half = self.recipe.terms, self._scale.half
        if not terms.any:
            return None
        return Further(
            terms,
            self._scale,
            content_scale=half**2 if self.recipe.loss == "l2" else half,
            textures=self._extract(network),
            vgg=self._vgg,
            rival=self._rival(seed),
            bfloat16=bfloat16,
        )

    def _rival(self, seed: int) -> Rival | None:
        terms = self.recipe.terms
        if terms.critic == "none":
            return None
        side = make_sampler(self._patches, self.config, self.recipe, 0).size * self._patches.factor
        return Rival(terms.critic, side, steps=terms.critic_steps, seed=seed, device=self.device)

    def _extract(self, network: nn.Module) -> Extract | None:
        return None

    def _read_vgg(self) -> nn.Module | None:
        asked, terms = self.config.terms, self.recipe.terms
        if asked.vgg:
            return read_vgg(asked.vgg, asked.vgg_sha256, self.device)
        if not terms.perceptual:
            return None
        if not MODELS[self._name].references:
            raise InputError(
                f"{self._name} has no texture extractor, so the perceptual loss needs the weights of VGG19. Pass them "
                "with --vgg (terms.vgg), or leave the perceptual loss out."
            )
        self.notes.append(
            "No weights of VGG19 were given: the perceptual loss compares pictures by the third level of the network's "
            "own texture extractor instead."
        )
        return None

    def _normalised(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Coarse and fine patches in units of the fine scan's standard deviation, and weights, on the device."""
        grey, (lr, hr, weight) = self._patches.hr_grey, batch
        target, counts = (torch.from_numpy(a)[:, None].to(self.device) for a in (hr, weight))
        return self._coarse(lr), (target - grey.mean) / grey.std, counts

    def _coarse(self, lr: NDArray[np.float32]) -> Tensor:
        """Coarse patches (n, h, w) as networks see them, on the device."""
        grey, p = self._patches.hr_grey, self._patches
        x = torch.from_numpy(np.ascontiguousarray(lr))[:, None].to(self.device)
        x = x * (p.gain / grey.std) + (p.offset - grey.mean) / grey.std
        return x.contiguous(memory_format=torch.channels_last)

    def content(self, answer: Answer) -> Tensor:
        """The recipe's loss."""
        return LOSSES[self.recipe.loss](answer.sr, answer.target, answer.weight)

    def psnr(self, networks: Sequence[nn.Module]) -> float:
        """On the stop set."""
        return self._stop.psnr(networks)

    def divide(self, seconds_per_step: float) -> tuple[int, int]:
        """Steps per member and members."""
        return divide_budget(self._patches, self.config, seconds_per_step, self.recipe)

    def card(self, facts: Mapping[str, Any]) -> ModelCard:
        """The model's."""
        return make_card(self._patches, self._name, self._arguments, {**self._further_facts(), **facts})

    def _further_facts(self) -> dict[str, Any]:
        """What the card says of this training beside what every card says."""
        facts: dict[str, Any] = {"recipe": recipe_facts(self.recipe)}
        return facts if self._start is None else {**facts, "start": self._start.facts()}

    def fingerprint(self) -> str:
        """Of settings, data and start."""
        settings = self.config.model_dump(exclude={"checkpoint_seconds"})
        text = json.dumps(settings, sort_keys=True) + repr((self.recipe, sorted(self._arguments.items())))
        start = "" if self._start is None else self._start.digest
        return hashlib.sha256((text + self._patches.fingerprint() + start).encode()).hexdigest()


class PictureJob(PictureTraining):
    """See :class:`finescan.training.job.Job`: networks that look at a picture as a whole."""

    def _judge_contestants(self) -> dict[str, float]:
        row = MODELS[self._name]
        context = JUDGED_CONTEXT_PX if row.window else row.halo(self._arguments)
        self._stop = StopSet(self._patches, context, self.device)
        return {name: float(m.card.training["stop_psnr"]) for name, m in fit_contestants(self._patches).items()}

    def network(self, state: State | None = None) -> nn.Module:
        """Fresh weights, or the given ones."""
        network = build(self._name, self._patches.factor, self._arguments)
        if state:
            network.load_state_dict(state)
        return network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def sampler(self, seed: int) -> PatchSampler:
        """Patches of the training role."""
        return make_sampler(self._patches, self.config, self.recipe, seed)

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """Of the recipe, of all weights."""
        return make_optimiser([{"params": list(network.parameters())}], self.recipe)

    def answer(self, network: nn.Module, batch: Batch, bfloat16: bool) -> Answer:
        """In units of the fine scan's standard deviation."""
        x, target, weight = self._normalised(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            sr = network(x)
        return Answer(sr, target, weight)


def make_sampler(patches: PatchSet, config: TrainConfig, recipe: Recipe, seed: int) -> PatchSampler:
    """The patches of a recipe."""
    return PatchSampler(
        patches, size=recipe.patch, crop=recipe.crop, augment=symmetries(patches, config.augment), seed=seed
    )


def symmetries(patches: PatchSet, augment: str) -> str:
    """What of ``augment`` the pixels allow: those of unequal sides cannot be transposed."""
    square = abs(patches.work_grid.pixel_size_nm[0] / patches.work_grid.pixel_size_nm[1] - 1) < 0.02
    return augment if square or augment == "none" else "flips"


def make_optimiser(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser of groups of weights."""
    d = recipe.descent
    return OPTIMISERS[d.optimiser](groups, d.learning_rate, d.betas, d.weight_decay)


def recipe_facts(recipe: Recipe) -> dict[str, Any]:
    """A recipe for the card."""
    names = ("batch", "patch", "crop", "loss", "freeze_extractor")
    return {**{n: getattr(recipe, n) for n in names}, **vars(recipe.descent), **vars(recipe.terms)}


def divide_budget(
    patches: PatchSet, config: TrainConfig, seconds: float, recipe: Recipe | None = None
) -> tuple[int, int]:
    """Steps per member and number of members for a time per step."""
    recipe = recipe or config.resolved(patches.factor)
    if config.max_steps is not None:
        return config.max_steps, recipe.members
    if not config.timed and recipe.steps:
        return recipe.steps, recipe.members
    sampler = make_sampler(patches, config, recipe, config.seed)
    kept = sampler.size - 2 * sampler.crop
    epoch = sum(int((p.role == 1).sum()) for p in patches.pieces) / (recipe.batch * kept**2)  # in steps
    if not config.timed:
        return max(LEAST_STEPS, round(recipe.epochs * epoch)), recipe.members
    affordable = config.seconds * (1 - EVALUATION_SHARE) / seconds
    enough = min(max(MOST_EPOCHS * epoch, LEAST_STEPS), MOST_STEPS)
    members = min(recipe.members, max(1, int(affordable / (_SHORTEST * enough))))
    return max(1, int(min(enough, affordable / members))), members
