"""Training on volumes: :func:`train_volume`, and the contestants a network for volumes has to beat."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import finescan
from finescan.errors import InputError, ModelError
from finescan.models import MODELS, Model, build, complete_arguments, memory_format
from finescan.patches import VolumePatchSet, VolumeSampler
from finescan.patches.volume_sampling import VolumeBatch
from finescan.training.config import FINE_TUNING
from finescan.training.job import Answer, Clock, State, device_of
from finescan.training.loop import AVERAGING, CLIP
from finescan.training.losses import LOSSES
from finescan.training.run import Progress, Training
from finescan.training.schedules import cosine
from finescan.training.volume_config import VolumeRecipe, VolumeTrainConfig
from finescan.training.volume_judging import VolumeStopSet
from finescan.values import ModelCard

EVALUATION_SHARE = 0.1  # of the time that goes to the stop set
MOST_STEPS = 100_000


def train_volume(
    patches: VolumePatchSet,
    config: VolumeTrainConfig | None = None,
    *,
    initial: Model | None = None,
    fine_tune: bool = False,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter,
) -> Model:
    """Train a network for volumes on the training role, and judge it on the stop role.

    The state with the smallest error on the stop role is returned. The test role is never looked at.

    Parameters
    ----------
    patches : from make_volume_patches.
    config : how to train; None = :class:`VolumeTrainConfig` as it stands.
    initial : a model of the same architecture and arguments whose weights training starts from (of a neighbouring
        blur, or of another sample); None = fresh weights.
    fine_tune : ``initial`` has seen these data or others like them: it is judged before the first step, so that what is
        returned is no worse on the stop role, and steps are a quarter as large as the recipe's.
    folder : where checkpoints go; a training found there is continued, exactly as if it had never stopped.
    progress : called as ``progress(done, total, message)`` after every step.
    clock : seconds, for the time budget.

    Raises
    ------
    InputError : patches do not fit the volume, or nothing counts in the stop boxes.
    ModelError : ``initial`` is of another architecture.
    OutputError : the folder holds the training of other data or settings, or cannot be written.
    TrainingStopped : the loss became NaN before there was anything worth keeping.
    """
    config = config or VolumeTrainConfig()
    started = clock()
    job = VolumeJob(patches, config, device_of(config.device), initial, fine_tune=fine_tune)
    return Training(job, None if folder is None else Path(folder), progress, clock, started).run()


def fit_volume_contestants(patches: VolumePatchSet) -> dict[str, Model]:
    """What a network has to beat, as Models with the right grey map: ``{"interpolated": Model}``."""
    stop = VolumeStopSet(patches, "interpolated", torch.device("cpu"))
    network = build("interpolated", 1)
    facts = {"stop_psnr": stop.psnr([network])}
    return {"interpolated": Model(network, make_volume_card(patches, "interpolated", {}, facts))}


def make_volume_card(
    patches: VolumePatchSet, architecture: str, arguments: Mapping[str, Any], training: Mapping[str, Any]
) -> ModelCard:
    """The card of a model trained (or just set up) on a VolumePatchSet."""
    row = MODELS[architecture]
    grids = [(p.name, patches.out_grid.crop(p.start, np.add(p.start, p.shape).tolist())) for p in patches.pieces]
    facts = {
        "extent": [{"name": n, "start_nm": list(g.edge_nm), "size_nm": list(g.extent_nm)} for n, g in grids],
        "shares": patches.shares(),
        "circle": patches.circle.to_dict(),
        "fill": patches.fill,
        "notes": list(patches.notes),
    }
    return ModelCard(
        architecture=architecture,
        arguments=dict(arguments),
        factor=1,
        halo=row.halo(arguments),
        pixel_size_nm=patches.out_grid.pixel_size_nm,
        sr_factor=patches.sr_factor,
        lr_grey=patches.lr_grey,
        hr_grey=patches.hr_grey,
        gain=patches.gain,
        offset=patches.offset,
        lr_range=patches.lr_range,
        hr_dtype=patches.hr_dtype,
        axes="ZYX",
        halo_z=row.halo_z(arguments),
        training={**facts, **training},
        provenance={
            "finescan": finescan.__version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
            "data": patches.fingerprint(),
        },
    )


class VolumeJob:
    """See :class:`finescan.training.job.Job`."""

    baseline = "interpolated"
    tries_bfloat16 = True
    clip = CLIP
    averaging = AVERAGING
    fixed: tuple[str, ...] = ()

    def __init__(
        self,
        patches: VolumePatchSet,
        config: VolumeTrainConfig,
        device: torch.device,
        initial: Model | None = None,
        *,
        fine_tune: bool = False,
    ) -> None:
        self.config, self.device, self.notes = config, device, patches.notes
        self._patches, self._name = patches, config.architecture
        self._row = MODELS[self._name]
        self._arguments = complete_arguments(self._name, config.network_arguments())
        self._recipe: VolumeRecipe = config.resolved()
        self.batch, self.looks = self._recipe.batch, self._recipe.looks
        self._initial = None if initial is None else _weights(initial, self._name, self._arguments)
        self._fine_tune = fine_tune and initial is not None
        if self._fine_tune and config.learning_rate is None:
            self._recipe = replace(self._recipe, learning_rate=FINE_TUNING * self._recipe.learning_rate)
        self._stop = VolumeStopSet(patches, self._name, device, self._arguments)
        self.scores = {"interpolated": self._stop.interpolated_psnr()}
        if not math.isfinite(self.scores["interpolated"]):
            raise InputError("The stop boxes have no voxel that counts. Split with another seed.")

    def network(self, state: State | None = None) -> nn.Module:
        """Fresh (or initial) weights, or the given ones."""
        network = build(self._name, 1, self._arguments)
        if state or self._initial:
            network.load_state_dict(state or self._initial or {})
        return network.to(self.device).to(memory_format=memory_format(self._name))  # type: ignore[call-overload]

    def initial(self, index: int) -> State | None:
        """What is judged before the first step; every network of this job has the initial weights in any case."""
        return self._initial if self._fine_tune else None

    def further(self, network: nn.Module, *, seed: int, bfloat16: bool) -> None:
        """Volumes are trained with the content loss alone."""

    def sampler(self, seed: int) -> VolumeSampler:
        """Patches of the training role; voxels of unequal sides cannot be transposed."""
        size = self._patches.out_grid.pixel_size_nm
        square = abs(size[1] / size[2] - 1) < 0.02
        augment = self.config.augment if square or self.config.augment == "none" else "flips"
        r = self._recipe
        return VolumeSampler(
            self._patches,
            size=(self._row.stack or r.slices, r.side, r.side),
            crop=(0 if self._row.stack else r.crop, r.crop),
            multiple=self._row.multiple(self._arguments),
            augment=augment,
            seed=seed,
        )

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """Adam with decoupled weight decay; without decay, as published, it is Adam."""
        r = self._recipe
        return torch.optim.AdamW(network.parameters(), lr=r.learning_rate, weight_decay=r.weight_decay)

    def learning_rate(self, step: int, steps: int) -> float:
        """Constant as published, else a short rise and half a cosine."""
        return self._recipe.learning_rate * (cosine(step, steps) if self._recipe.annealed else 1.0)

    def answer(self, network: nn.Module, batch: VolumeBatch, bfloat16: bool) -> Answer:
        """In units of the fine volume's standard deviation."""
        grey, p = self._patches.hr_grey, self._patches
        lr, hr, weight, position = (torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for a in batch)
        x = lr * (p.gain / grey.std) + (p.offset - grey.mean) / grey.std
        target = (hr - grey.mean) / grey.std
        if not self._row.stack:
            x, target, weight = (a[:, None] for a in (x, target, weight))
        x = x.contiguous(memory_format=memory_format(self._name))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            sr = network(x, position[:, None]) if self._arguments.get("position") else network(x)
        return Answer(sr, target, weight)

    def content(self, answer: Answer) -> Tensor:
        """The configured loss."""
        return LOSSES[self._recipe.loss](answer.sr, answer.target, answer.weight)

    def psnr(self, networks: Sequence[nn.Module]) -> float:
        """On the stop boxes."""
        return self._stop.psnr(networks)

    def divide(self, seconds_per_step: float) -> tuple[int, int]:
        """Steps per member and members: the time is shared equally."""
        c = self.config
        if c.max_steps is not None or math.isnan(seconds_per_step):
            return c.max_steps or self._recipe.steps, c.members
        affordable = c.seconds * (1 - EVALUATION_SHARE) / seconds_per_step / c.members
        return int(min(max(1, affordable), MOST_STEPS)), c.members

    def card(self, facts: Mapping[str, Any]) -> ModelCard:
        """The model's."""
        return make_volume_card(self._patches, self._name, self._arguments, facts)

    def fingerprint(self) -> str:
        """Of settings, data and initial weights."""
        settings = json.dumps(self.config.model_dump(exclude={"checkpoint_seconds"}), sort_keys=True)
        chosen = repr((self._recipe, sorted(self._arguments.items())))  # "auto" is another recipe on another device
        h = hashlib.sha256((settings + chosen + self._patches.fingerprint()).encode())
        for key, value in sorted((self._initial or {}).items()):
            h.update(key.encode() + value.cpu().numpy().tobytes())
        return h.hexdigest()


def _weights(model: Model, name: str, arguments: Mapping[str, Any]) -> State:
    """Of the first member; ModelError when the model is of another architecture."""
    if model.card.architecture != name or complete_arguments(name, model.card.arguments) != dict(arguments):
        raise ModelError(
            f"Training of {name} with {dict(arguments)} can only start from such a model, but the initial one is "
            f"{model.card.architecture} with {dict(model.card.arguments)}. Choose the same architecture, or no initial "
            "model."
        )
    return {k: v.detach().cpu().clone() for k, v in model.members[0].state_dict().items()}
