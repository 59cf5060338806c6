"""train(): member after member, with checkpoints, early stop and a verdict on the stop set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from finescan.errors import InputError, TrainingStopped
from finescan.models import MODELS, Model
from finescan.patches import PatchSet, ReferenceBank
from finescan.training.checkpoint import load_checkpoint, save_checkpoint
from finescan.training.config import TrainConfig
from finescan.training.job import Clock, Job, device_of
from finescan.training.loop import Member
from finescan.training.pictures import PictureJob
from finescan.training.planning import Plan, make_plan
from finescan.training.references import ReferenceJob

Progress = Callable[[float, float, str], None]

BEHIND_DB = 0.3  # a member this far behind the best one is left out of the ensemble


def train(
    patches: PatchSet,
    config: TrainConfig | None = None,
    *,
    start: Model | None = None,
    references: ReferenceBank | None = None,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter,
) -> Model:
    """Train a network (or an ensemble) on the training role, and judge it on the stop role.

    The test role is never looked at. With the content loss alone, the state with the smallest error on the stop role is
    returned; where further terms are asked for (``config.terms``, or the recipe "published"), the last averaged one:
    such terms trade errors per pixel for what looks recorded. What the answer should be made of is in
    ``card.training["chosen"]``: the architecture's name, or that of the interpolator or ridge filter that did better on
    the stop role. The model returned is the network in any case.

    Parameters
    ----------
    patches : from make_patches.
    config : how to train; None = :class:`TrainConfig` as it stands.
    start : a model to go on from (fine-tuning): same architecture, factor and arguments. Its weights are judged on the
        stop role before the first step, so that what is returned is no worse there than the start, except with
        further terms. Grey statistics, and the bank of references, are those of ``patches``.
    references : a bank for networks that take texture from one, instead of one cut from the training area. The patches
        of pairs recorded one by one are too small for that: see :func:`finescan.patches.recorded_references`.
    folder : where checkpoints go; a training found there is continued, exactly as if it had never stopped.
    progress : called as ``progress(done, total, message)`` after every step.
    clock : seconds, for the time budget.

    Raises
    ------
    InputError : patches of a size or ratio that the network or its critic cannot use; no room for a reference.
    ModelError : ``start`` is of another network, or weights given in the configuration cannot be used.
    OutputError : the folder holds the training of other data or settings, or cannot be written.
    TrainingStopped : the loss became NaN before there was anything worth keeping.
    """
    config = config or TrainConfig()
    started = clock()
    job = _job(patches, config, start, references)
    job.require_judge()
    return Training(job, None if folder is None else Path(folder), progress, clock, started).run()


def _job(
    patches: PatchSet, config: TrainConfig, start: Model | None, references: ReferenceBank | None
) -> PictureJob | ReferenceJob:
    device = device_of(config.device)
    if MODELS[config.architecture].references:
        return ReferenceJob(patches, config, device, start=start, references=references)
    if references is not None:
        raise InputError(
            f"{config.architecture} takes no texture from references, but {references} came. Leave them out, or train "
            "ttsr-grey or ttsr."
        )
    return PictureJob(patches, config, device, start=start)


class Training:
    """The state of :func:`train` (or :func:`finescan.training.train_volume`) between two steps."""

    def __init__(self, job: Job, folder: Path | None, progress: Progress | None, clock: Clock, started: float) -> None:
        self._job, self._config, self._folder = job, job.config, folder
        self._progress, self._clock = progress, clock
        self._fingerprint = job.fingerprint()
        self._started = started
        self._spent = 0.0  # seconds before a checkpoint was continued
        self._members: list[dict[str, Any]] = []
        self._notes: list[str] = []

    def run(self) -> Model:
        """All members, then the verdict."""
        saved = load_checkpoint(self._folder, self._fingerprint) if self._folder else None
        with torch.random.fork_rng(devices=[]), _threads() as set_threads:
            plan = Plan(**saved["plan"]) if saved else make_plan(self._job, self._clock)
            set_threads(plan.threads)
            current = None
            if saved:
                self._members, self._spent, self._notes = saved["members"], saved["seconds"], saved["notes"]
                current = saved["current"]
            done = bool(saved and saved["done"])
            self._last_saved = self._clock()
            if not saved:
                self._save(plan, None)
            while not done:
                done = not self._next_member(plan, current) or len(self._members) >= plan.members
                current = None
            self._save(plan, None, done=True)
            return self._model(plan)

    def _next_member(self, plan: Plan, current: dict[str, Any] | None) -> bool:
        """Train one member to its end; False when training has to stop here."""
        index = len(self._members)
        member = Member(self._job, index=index, steps=plan.steps, bfloat16=plan.bfloat16)
        if current:
            member.load_state_dict(current)
        elif self._job.initial(index) is not None:
            self._look(member)
        healthy = True
        while healthy and not member.finished:
            healthy = member.step()
            if healthy:
                self._after_step(plan, member)
        if member.best is not None:
            kept = {k: v.cpu() for k, v in member.best.items()}
            facts = {"state": kept, "psnr": member.best_psnr, "steps": member.step_done, "history": member.history}
            facts["further"] = member.further is not None
            self._members.append(facts)
        if not healthy:
            self._not_finite(member)
            return False
        self._save(plan, None)
        return True

    def _after_step(self, plan: Plan, member: Member) -> None:
        every = max(10, -(-plan.steps // self._job.looks))
        if member.step_done % every == 0 or member.step_done == plan.steps:
            self._look(member)
        if self._folder and self._clock() - self._last_saved >= self._config.checkpoint_seconds:
            self._save(plan, member)
        if self._progress:
            done, total = member.index * plan.steps + member.step_done, plan.members * plan.steps
            self._progress(done, total, self._message(plan, member))

    def _look(self, member: Member) -> None:
        psnr = self._job.psnr([member.averaged_network()])
        member.judged(psnr, self._job.scores[self._job.baseline], self._seconds())

    def _message(self, plan: Plan, member: Member) -> str:
        text = f"network {member.index + 1} of {plan.members}"
        if not member.history:
            return text
        baseline = self._job.baseline
        gain = member.history[-1]["stop_psnr"] - self._job.scores[baseline]
        against = "interpolation" if baseline == "interpolated" else baseline
        return f"{text}: {gain:+.2f} dB against {against}"

    def _not_finite(self, member: Member) -> None:
        """Go on with what there is after a NaN, or stop."""
        if not self._members:
            raise TrainingStopped(
                f"The loss became NaN or infinite at step {member.step_done + 1}, before anything worth keeping was "
                "learned. Use a smaller learning_rate, and check the scans for extreme grey levels."
            )
        self._notes.append(
            f"The loss of network {member.index + 1} became NaN or infinite at step {member.step_done + 1}; "
            "training stopped there and the best weights until then are used."
        )

    def _save(self, plan: Plan, member: Member | None, *, done: bool = False) -> None:
        if self._folder is None:
            return
        state = {
            "fingerprint": self._fingerprint,
            "plan": plan.to_dict(),
            "members": self._members,
            "notes": self._notes,
            "seconds": self._seconds(),
            "current": member.state_dict() if member else None,
            "done": done,
        }
        save_checkpoint(self._folder, state)
        self._last_saved = self._clock()

    def _seconds(self) -> float:
        return self._spent + self._clock() - self._started

    def _model(self, plan: Plan) -> Model:
        best = max(m["psnr"] for m in self._members)
        kept = [m for m in self._members if m["psnr"] >= best - BEHIND_DB]
        networks = [self._job.network(m["state"]).eval() for m in kept]
        name, baseline = self._config.architecture, self._job.baseline
        scores = {**self._job.scores, name: self._job.psnr(networks)}
        rivals = {k: scores[k] for k in (baseline, "ridge", name) if k in scores}
        chosen = max(rivals, key=lambda k: rivals[k])
        if chosen != name:
            self._notes.append(
                f"On the held-out area that decides, {chosen} ({scores[chosen]:.2f} dB) did better than the network "
                f"({scores[name]:.2f} dB), so {chosen} should be used."
            )
            if any(m["further"] for m in kept):
                self._notes.append(
                    "The network was trained for likeness as well as for small errors, which costs PSNR by design: "
                    "look at the pictures before believing or discarding them."
                )
        facts = {
            "config": self._config.model_dump(),
            "plan": plan.to_dict(),
            "device": str(self._job.device),
            "members": len(kept),
            "members_trained": len(self._members),
            "steps": [m["steps"] for m in self._members],
            "seconds": self._seconds(),
            "stop_psnr": scores,
            "gain_db": scores[name] - scores[baseline],
            "chosen": chosen,
            "history": [entry for m in self._members for entry in m["history"]],
            "notes": [*self._job.notes, *self._notes],
        }
        return Model(networks, self._job.card(facts)).to("cpu")


@contextmanager
def _threads() -> Iterator[Callable[[int], None]]:
    """Set torch's thread count, and put it back at the end."""
    before = torch.get_num_threads()
    try:
        yield lambda n: torch.set_num_threads(n) if n else None
    finally:
        torch.set_num_threads(before)
