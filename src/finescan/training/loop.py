"""Member: one network while it is trained, with everything needed to continue it to the bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from finescan.training.job import Job, State

CLIP = 1.0  # largest norm of the gradient
AVERAGING = 0.995  # of the exponential moving average of the weights, which *is* the model
WARM_UP = 0.05  # share of the steps over which the learning rate rises
LAST_RATE = 0.01  # learning rate at the end, as a share of the highest
PATIENCE_DB = 0.3  # a member that fell this far behind its own best is over-fitting and stops


class Member:
    """One network, its optimiser, its averaged weights, its patches and its best state so far.

    Parameters
    ----------
    job : what is trained on what.
    index : of the member; with the job's seed it fixes everything random.
    steps : length of the learning-rate schedule. Nothing depends on the clock.
    bfloat16 : compute the correction in that format.
    """

    def __init__(self, job: Job, *, index: int, steps: int, bfloat16: bool) -> None:
        self.index, self.steps, self._bfloat16, self._job = index, steps, bfloat16, job
        seeds = np.random.SeedSequence([job.config.seed, index]).generate_state(2)
        torch.manual_seed(int(seeds[0]))
        self.network = job.network()
        self.sampler = job.sampler(int(seeds[1]))
        self.optimiser = job.optimiser(self.network)
        self.step_done = 0
        self.average = _copied(self.network.state_dict())
        self.best: State | None = None
        self.best_psnr = -math.inf
        self.last_loss = math.nan
        self.history: list[dict[str, float]] = []

    @property
    def finished(self) -> bool:
        """All steps done, or fallen so far behind its best that more steps only do harm."""
        if self.step_done >= self.steps:
            return True
        return bool(self.history) and self.history[-1]["stop_psnr"] < self.best_psnr - PATIENCE_DB

    def step(self) -> bool:
        """One step; False (and nothing changed but the sampler) when the loss is not finite."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._job.learning_rate(self.step_done, self.steps)
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss_of(self.sampler.batch(self._job.batch))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.last_loss = float(loss.detach())
        if not (math.isfinite(self.last_loss) and math.isfinite(float(norm))):
            return False
        self.optimiser.step()
        self.step_done += 1
        self._average()
        return True

    def judged(self, psnr: float, baseline_psnr: float, seconds: float) -> None:
        """Note the averaged weights' PSNR on the stop set, and keep them if they are the best so far."""
        self.history.append(
            {
                "member": self.index,
                "step": self.step_done,
                "seconds": seconds,
                "loss": self.last_loss,
                "stop_psnr": psnr,
                f"{self._job.baseline}_psnr": baseline_psnr,
            }
        )
        if self.best is None or psnr > self.best_psnr:
            self.best, self.best_psnr = _copied(self.average), psnr

    def averaged_network(self) -> nn.Module:
        """A network with the averaged weights."""
        return self._job.network(self.average).eval()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "index": self.index,
            "step_done": self.step_done,
            "network": _copied(self.network.state_dict()),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "sampler": self.sampler.state_dict(),
            "torch_random": torch.get_rng_state(),
            "best": self.best,
            "best_psnr": self.best_psnr,
            "last_loss": self.last_loss,
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.sampler.load_state_dict(state["sampler"])
        torch.set_rng_state(state["torch_random"].cpu())
        self.average = {k: v.to(self._job.device) for k, v in state["average"].items()}
        self.step_done, self.best, self.best_psnr = state["step_done"], state["best"], state["best_psnr"]
        self.last_loss, self.history = state["last_loss"], list(state["history"])

    def loss_of(self, batch: Any) -> Tensor:
        """Loss of the network as it is, on a batch of grey levels."""
        return self._job.loss(self.network, batch, self._bfloat16)

    def _average(self) -> None:
        keep = min(AVERAGING, self.step_done / (self.step_done + 9.0))
        with torch.no_grad():
            for key, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.average[key].lerp_(value, 1 - keep)
                else:  # a counter of batch normalisation
                    self.average[key].copy_(value)


def rate(step: int, steps: int) -> float:
    """Learning rate at a step as a share of the highest: short linear rise, then half a cosine."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _copied(state: State) -> State:
    return {k: v.detach().clone() for k, v in state.items()}
