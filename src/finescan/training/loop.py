"""Member: one network while it is trained, with everything needed to continue it to the bit.

A training has one part or two. With the content loss alone, the state that does best on the stop set is kept, and a
member that falls far behind its own best stops. Where further terms are asked for (a critic, features, texture), the
first part has the content loss alone and the second everything. Then the *last* averaged state is kept and nothing
stops early: these terms trade errors per pixel for a likeness that the PSNR does not see, so it falls by design.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from finescan.training.job import Job, State

CLIP = 1.0  # largest norm of the gradient
AVERAGING = 0.995  # of the exponential moving average of the weights, which *is* the model, unless a recipe says other
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
        seeds = np.random.SeedSequence([job.config.seed, index]).generate_state(3)
        torch.manual_seed(int(seeds[0]))
        self.network = job.network(job.initial(index))
        self.sampler = job.sampler(int(seeds[1]))
        self.optimiser = job.optimiser(self.network)
        self.further = job.further(self.network, seed=int(seeds[2]), bfloat16=bfloat16)
        self.turn = steps if self.further is None else round(self.further.terms.content_share * steps)
        self.step_done = 0
        self.average = self._learned()
        self.best: State | None = None
        self.best_psnr = -math.inf
        self.last_loss = math.nan
        self.history: list[dict[str, float]] = []

    @property
    def finished(self) -> bool:
        """All steps done, or fallen so far behind its best that more steps only do harm."""
        if self.step_done >= self.steps:
            return True
        if self.further is not None or not self.history:
            return False
        return self.history[-1]["stop_psnr"] < self.best_psnr - PATIENCE_DB

    def step(self) -> bool:
        """One step; False (and nothing changed but the sampler and the critic) when the loss is not finite."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._job.learning_rate(self.step_done, self.steps) * group.get("share", 1.0)
        self.optimiser.zero_grad(set_to_none=True)
        answer = self._job.answer(self.network, self.sampler.batch(self._job.batch), self._bfloat16)
        loss = self._job.content(answer)
        if self.further is not None and self.step_done >= self.turn:
            self.further.learn(answer)
            loss = loss + self.further.loss(answer)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._job.clip)
        self.last_loss = float(loss.detach())
        if not (math.isfinite(self.last_loss) and math.isfinite(float(norm))):
            return False
        self.optimiser.step()
        self.step_done += 1
        self._average()
        return True

    def judged(self, psnr: float, baseline_psnr: float, seconds: float) -> None:
        """Note the averaged weights' PSNR on the stop set, and keep them if they are the best so far.

        In a training with further terms the last ones are kept.
        """
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
        if self.best is None or self.further is not None or psnr > self.best_psnr:
            self.best, self.best_psnr = _copied(self.average), psnr

    def averaged_network(self) -> nn.Module:
        """A network with the averaged weights."""
        return self._job.network(self.average).eval()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "index": self.index,
            "step_done": self.step_done,
            "network": self._learned(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "sampler": self.sampler.state_dict(),
            "further": None if self.further is None else self.further.state_dict(),
            "torch_random": torch.get_rng_state(),
            "best": self.best,
            "best_psnr": self.best_psnr,
            "last_loss": self.last_loss,
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        self.network.load_state_dict(state["network"], strict=not self._job.fixed)
        self.optimiser.load_state_dict(state["optimiser"])
        self.sampler.load_state_dict(state["sampler"])
        if self.further is not None:
            self.further.load_state_dict(state["further"])
        torch.set_rng_state(state["torch_random"].cpu())
        self.average = {k: v.to(self._job.device) for k, v in state["average"].items()}
        self.step_done, self.best, self.best_psnr = state["step_done"], state["best"], state["best_psnr"]
        self.last_loss, self.history = state["last_loss"], list(state["history"])

    def loss_of(self, batch: Any) -> Tensor:
        """Content loss of the network as it is, on a batch of grey levels."""
        return self._job.content(self._job.answer(self.network, batch, self._bfloat16))

    def _learned(self) -> State:
        """Copies of everything in the network that training changes."""
        return _copied({k: v for k, v in self.network.state_dict().items() if not k.startswith(self._job.fixed)})

    def _average(self) -> None:
        keep = min(self._job.averaging, self.step_done / (self.step_done + 9.0))
        with torch.no_grad():
            state = self.network.state_dict()
            for key, average in self.average.items():
                value = state[key]
                if value.is_floating_point():
                    average.lerp_(value, 1 - keep)
                else:  # a counter of batch normalisation
                    average.copy_(value)


def _copied(state: State) -> State:
    return {k: v.detach().clone() for k, v in state.items()}
