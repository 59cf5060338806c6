"""Model: a network with the facts it needs to be used rightly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finescan.errors import InputError, ModelError
from finescan.models.table import LARGEST_FACTOR, architecture, complete_arguments
from finescan.values import Image, ModelCard

RATIO_TOLERANCE = 0.05


class Model:
    """A network (or an ensemble of equal networks) and its ModelCard.

    Grey levels in are those of the coarse scan, grey levels out those of the fine scan. The only normalisation is
    the card's: ``x = (gain * lr + offset - mean) / std`` and ``hr = y * std + mean`` with the fine scan's
    statistics, the same for every block of every image.

    Parameters
    ----------
    network : one network, or the members of an ensemble (their mean is the answer).
    card : its facts. A card whose halo does not belong to its architecture is a ModelError.
    """

    def __init__(self, network: nn.Module | Sequence[nn.Module], card: ModelCard) -> None:
        self.members: list[nn.Module] = [network] if isinstance(network, nn.Module) else list(network)
        self.card = card
        _check(card, len(self.members))
        for member in self.members:
            # one memory layout everywhere, so that a stored and loaded model gives the very same numbers
            member.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def factor(self) -> int:
        """Whole output pixels per coarse pixel and axis."""
        return self.card.factor

    @property
    def halo(self) -> int:
        """Radius of the receptive field, coarse pixels."""
        return self.card.halo

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        tensors = [*self.members[0].parameters(), *self.members[0].buffers()]
        return tensors[0].device

    @property
    def weights(self) -> int:
        """Number of learned weights of one member."""
        return sum(p.numel() for p in self.members[0].parameters())

    def to(self, device: str | torch.device) -> Model:
        """Move the weights (in place)."""
        for member in self.members:
            member.to(device)
        return self

    def predict(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fine grey levels of a block of coarse ones.

        Parameters
        ----------
        block : (…, h, w) float32 grey levels of the coarse scan, halo included. Nothing is cropped: the outer
            ``halo * factor`` pixels of the answer depend on what lies beyond the block.

        Returns
        -------
        (…, h * factor, w * factor) float32 grey levels of the fine scan.
        """
        return self._run(block, 1)[0]

    def predict_spread(self, block: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As :meth:`predict`, and the standard deviation between the members (zeros for a single one)."""
        mean, spread = self._run(block, 2)
        return mean, spread

    def predict_tensor(self, x: Tensor, *, bfloat16: bool = False) -> Tensor:
        """Mean answer for a (n, 1, h, w) tensor of coarse grey levels, on the model's device; float32.

        ``bfloat16`` computes the correction in that format; the interpolation and the sum stay float32.
        """
        with torch.inference_mode():
            return self._grey(self._mean([self._member(m, x, bfloat16) for m in self.members]))

    def normalise(self, lr: Tensor) -> Tensor:
        """Coarse grey levels to network input."""
        c = self.card
        return lr.float() * (c.gain / c.hr_grey.std) + (c.offset - c.hr_grey.mean) / c.hr_grey.std

    def _member(self, member: nn.Module, x: Tensor, bfloat16: bool) -> Tensor:
        x = self.normalise(x).contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
            return member(x)

    @staticmethod
    def _mean(answers: list[Tensor]) -> Tensor:
        return answers[0] if len(answers) == 1 else torch.stack(answers).mean(dim=0)

    def _grey(self, y: Tensor) -> Tensor:
        return y * self.card.hr_grey.std + self.card.hr_grey.mean

    def _run(self, block: NDArray[np.float32], wanted: int) -> list[NDArray[np.float32]]:
        block = np.ascontiguousarray(block, dtype=np.float32)
        if block.ndim < 2 or min(block.shape) < 1:
            raise InputError(f"A model needs a block of at least (rows, columns), but shape {block.shape} came.")
        *lead, h, w = block.shape
        x = torch.from_numpy(block.reshape(-1, 1, h, w)).to(self.device)
        with torch.inference_mode():
            answers = [self._member(m, x, False) for m in self.members]
            results = [self._grey(self._mean(answers))]
            if wanted > 1:
                results.append(torch.stack(answers).std(dim=0, correction=0) * self.card.hr_grey.std)
        return [r.cpu().numpy().reshape(*lead, h * self.factor, w * self.factor) for r in results]

    def __str__(self) -> str:
        count = f", {len(self.members)} members" if len(self.members) > 1 else ""
        return f"{self.card}{count}"


def require_ratio(model: Model, lr: Image) -> None:
    """Refuse (ModelError) to use a model on a coarse map of another pixel size than it was trained for.

    Tolerance 5 % per axis: beyond that, edges are as wide as the network never saw them.
    """
    card = model.card
    wanted = tuple(p * f for p, f in zip(card.pixel_size_nm, card.sr_factor, strict=True))
    came = lr.grid.pixel_size_nm
    same_axes = len(wanted) == len(came)
    if same_axes and all(abs(a / b - 1) <= RATIO_TOLERANCE for a, b in zip(came, wanted, strict=True)):
        return
    raise ModelError(
        f"The model takes coarse maps of {_size(wanted)} nm pixels to {_size(card.pixel_size_nm)} nm "
        f"(ratio {_size(card.sr_factor)}), but {lr.name} has {_size(came)} nm. "
        "Use a map recorded at that pixel size, or train a model for this one."
    )


def _size(values: Sequence[float]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)


def _check(card: ModelCard, members: int) -> None:
    row = architecture(card.architecture)
    halo = row.halo(complete_arguments(card.architecture, card.arguments))
    if isinstance(card.factor, bool) or not isinstance(card.factor, int) or not 1 <= card.factor <= LARGEST_FACTOR:
        raise ModelError(f"A model's factor is a whole number from 1 to {LARGEST_FACTOR}, but {card.factor!r} came.")
    if card.halo != halo:
        raise ModelError(
            f"The card says halo {card.halo}, but {card.architecture} with its arguments needs {halo} coarse pixels. "
            "The card does not belong to this model."
        )
    if members < 1:
        raise ModelError("A model needs at least one network, but none came.")
    if not card.hr_grey.std > 0:
        raise ModelError(
            f"The card's standard deviation of the fine grey levels must be positive, but is {card.hr_grey.std}. "
            "A constant fine scan cannot be learned from."
        )
