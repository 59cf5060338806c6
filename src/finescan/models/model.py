"""Model: a network with the facts it needs to be used rightly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finescan.errors import InputError, ModelError
from finescan.models.table import LARGEST_FACTOR, architecture, complete_arguments, memory_format
from finescan.models.windows import AT_ONCE, Windows, fading_windows, in_windows
from finescan.values import Image, ModelCard

RATIO_TOLERANCE = 0.05
_STACKS_AT_ONCE = 8


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
            member.requires_grad_(False).eval().to(memory_format=self.memory_format)  # type: ignore[call-overload]

    @property
    def factor(self) -> int:
        """Whole output pixels per coarse pixel and axis."""
        return self.card.factor

    @property
    def halo(self) -> int:
        """Radius of the receptive field, coarse pixels."""
        return self.card.halo

    @property
    def halo_z(self) -> int:
        """Radius of the receptive field along z, slices; 0 for pictures."""
        return self.card.halo_z

    @property
    def multiple(self) -> tuple[int, int, int]:
        """(z, y, x): where blocks of a volume may start, and what their lengths must be whole multiples of."""
        return architecture(self.card.architecture).multiple(self._arguments)

    @property
    def stack(self) -> int:
        """Slices per stack of a network that takes and gives stacks, else 0."""
        return architecture(self.card.architecture).stack

    @property
    def states_spread(self) -> bool:
        """Whether :meth:`predict_spread` says more than zero: an ensemble for pictures."""
        return len(self.members) > 1 and self.card.axes == "YX"

    @property
    def wants_position(self) -> bool:
        """Whether the distance from the rotation axis is an input."""
        return bool(self._arguments.get("position", 0))

    @property
    def windows(self) -> Windows | None:
        """How a network that looks at small pictures one at a time is run on a block; None for all others."""
        size = architecture(self.card.architecture).window
        return fading_windows(size) if size else None

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout in which the network's tensors are fastest."""
        return memory_format(self.card.architecture)

    @property
    def _arguments(self) -> dict[str, Any]:
        return complete_arguments(self.card.architecture, self.card.arguments)

    @property
    def device(self) -> torch.device:
        """Where the weights are; the processor for a network without any."""
        tensors = [*self.members[0].parameters(), *self.members[0].buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    @property
    def weights(self) -> int:
        """Number of learned weights of one member."""
        return sum(p.numel() for p in self.members[0].parameters())

    def to(self, device: str | torch.device) -> Model:
        """Move the weights (in place)."""
        for member in self.members:
            member.to(device)
        return self

    def predict(
        self,
        block: NDArray[np.float32],
        *,
        position: NDArray[np.float32] | None = None,
        bfloat16: bool = False,
        windows: Windows | None = None,
        context: int = 0,
        at_once: int = AT_ONCE,
    ) -> NDArray[np.float32]:
        """Fine grey levels of a block of coarse ones.

        Parameters
        ----------
        block : of a picture, (…, h, w) float32 grey levels of the coarse scan, halo included; of a volume, (d, h, w)
            float32 grey levels of the coarse volume on the grid of the result, starting at a whole multiple of
            :attr:`multiple` there and as long as whole multiples of it. Nothing is cropped: the outer
            ``halo * factor`` pixels (``halo_z`` slices) of the answer depend on what lies beyond the block.
        position : (h, w) float32, distance from the rotation axis over the radius of the field of view; only for
            networks that want it (:attr:`wants_position`).
        bfloat16 : compute corrections in that format.
        windows : pictures: run the network on these windows of the block and join the answers, instead of on the
            block as a whole; None = :attr:`windows`.
        context : with windows, outer coarse pixels of the block that only give context; the answer is 0 there.
        at_once : windows given to the network together.

        Returns
        -------
        (…, h * factor, w * factor) float32 grey levels of the fine scan. Networks that take stacks are run on all
        stacks at stride 1, and what they say of a slice is averaged.
        """
        if self.card.axes == "YX":
            return self._run(block, 1, bfloat16, windows or self.windows, context, at_once)[0]
        return self._block(block, position, bfloat16)

    def predict_spread(
        self,
        block: NDArray[np.float32],
        *,
        windows: Windows | None = None,
        context: int = 0,
        at_once: int = AT_ONCE,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As :meth:`predict` of a picture, and the standard deviation between the members (zeros for a single one)."""
        mean, spread = self._run(block, 2, False, windows or self.windows, context, at_once)
        return mean, spread

    def predict_stacks(
        self, stacks: NDArray[np.float32], *, position: NDArray[np.float32] | None = None, bfloat16: bool = False
    ) -> NDArray[np.float32]:
        """Fine grey levels (n, stack, h, w) of stacks of coarse slices of the same shape; see :meth:`predict`."""
        if not self.stack:
            raise InputError(f"{self.card.architecture} takes whole blocks, not stacks. Use predict.")
        stacks = np.ascontiguousarray(stacks, np.float32)
        if stacks.ndim != 4 or stacks.shape[1] != self.stack:
            raise InputError(f"Stacks have the shape (n, {self.stack}, h, w), but {stacks.shape} came.")
        self._require_multiple((1, *stacks.shape[2:]))
        place = self._position(position, stacks.shape[2:])
        tensor = torch.from_numpy(stacks).to(self.device)
        return self.predict_tensor(tensor, position=place, bfloat16=bfloat16).cpu().numpy()

    def predict_tensor(self, x: Tensor, *, position: Tensor | None = None, bfloat16: bool = False) -> Tensor:
        """Mean answer for coarse grey levels on the model's device; float32.

        ``x`` is (n, 1, h, w) for pictures, (n, 1, d, h, w) for volumes and (n, stack, h, w) for networks that take
        stacks; ``position`` is (n or 1, 1, h, w). ``bfloat16`` computes the correction in that format; the
        interpolation and the sum stay float32.
        """
        with torch.inference_mode():
            return self._grey(self._mean([self._member(m, x, bfloat16, position) for m in self.members]))

    def normalise(self, lr: Tensor) -> Tensor:
        """Coarse grey levels to network input."""
        c = self.card
        return lr.float() * (c.gain / c.hr_grey.std) + (c.offset - c.hr_grey.mean) / c.hr_grey.std

    def _member(self, member: nn.Module, x: Tensor, bfloat16: bool, position: Tensor | None = None) -> Tensor:
        x = self.normalise(x).contiguous(memory_format=self.memory_format)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
            return member(x) if position is None else member(x, position)

    @staticmethod
    def _mean(answers: list[Tensor]) -> Tensor:
        return answers[0] if len(answers) == 1 else torch.stack(answers).mean(dim=0)

    def _grey(self, y: Tensor) -> Tensor:
        return y * self.card.hr_grey.std + self.card.hr_grey.mean

    def _run(
        self,
        block: NDArray[np.float32],
        wanted: int,
        bfloat16: bool = False,
        windows: Windows | None = None,
        context: int = 0,
        at_once: int = AT_ONCE,
    ) -> list[NDArray[np.float32]]:
        """The mean answer and, if two are ``wanted``, the spread of the members."""
        block = np.ascontiguousarray(block, dtype=np.float32)
        if block.ndim < 2 or min(block.shape) < 1:
            raise InputError(f"A model needs a block of at least (rows, columns), but shape {block.shape} came.")
        *lead, h, w = block.shape
        flat = block.reshape(-1, h, w)
        if windows is None:
            kinds = self._answers(flat, wanted, bfloat16).swapaxes(0, 1)
        else:
            joined = [
                in_windows(
                    lambda some: self._answers(some, wanted, bfloat16), picture, windows, self.factor,
                    anchor=windows.reach, context=context, at_once=at_once,
                )
                for picture in flat
            ]  # fmt: skip
            kinds = np.stack(joined, axis=1)
        return [kind.reshape(*lead, h * self.factor, w * self.factor) for kind in kinds]

    def _answers(self, pictures: NDArray[np.float32], wanted: int, bfloat16: bool) -> NDArray[np.float32]:
        """(n, h, w) coarse pixels -> (n, wanted, h * factor, w * factor)."""
        x = torch.from_numpy(pictures)[:, None].to(self.device)
        with torch.inference_mode():
            answers = [self._member(m, x, bfloat16) for m in self.members]
            results = [self._grey(self._mean(answers))]
            if wanted > 1:
                results.append(torch.stack(answers).std(dim=0, correction=0) * self.card.hr_grey.std)
            return torch.cat(results, dim=1).cpu().numpy()

    # ------------------------------------------------------------------ volumes
    def _block(
        self, block: NDArray[np.float32], position: NDArray[np.float32] | None, bfloat16: bool
    ) -> NDArray[np.float32]:
        block = np.ascontiguousarray(block, np.float32)
        if block.ndim != 3 or min(block.shape) < 1:
            raise InputError(
                f"A model for volumes needs a block of (slices, rows, columns), but shape {block.shape} came."
            )
        self._require_multiple(block.shape)
        place = self._position(position, block.shape[1:])
        x = torch.from_numpy(block).to(self.device)
        if self.stack:
            return self._all_stacks(x, place, bfloat16).cpu().numpy()
        return self.predict_tensor(x[None, None], position=place, bfloat16=bfloat16)[0, 0].cpu().numpy()

    def _all_stacks(self, x: Tensor, position: Tensor | None, bfloat16: bool) -> Tensor:
        """Mean over the stacks at stride 1 that hold a slice; a block thinner than a stack has its ends repeated."""
        missing = max(0, self.stack - x.shape[0])
        x = torch.cat([x, x[-1:].expand(missing, -1, -1)]) if missing else x
        total, count = torch.zeros_like(x), torch.zeros(x.shape[0], 1, 1, device=x.device)
        starts = range(x.shape[0] - self.stack + 1)
        for first in range(0, len(starts), _STACKS_AT_ONCE):
            some = starts[first : first + _STACKS_AT_ONCE]
            answers = self.predict_tensor(
                torch.stack([x[s : s + self.stack] for s in some]), position=position, bfloat16=bfloat16
            )
            for start, answer in zip(some, answers, strict=True):
                total[start : start + self.stack] += answer
                count[start : start + self.stack] += 1
        return (total / count)[: x.shape[0] - missing]

    def _position(self, position: NDArray[np.float32] | None, plane: Sequence[int]) -> Tensor | None:
        if not self.wants_position:
            return None
        if position is None or tuple(position.shape) != tuple(plane):
            came = "none" if position is None else f"shape {tuple(position.shape)}"
            raise InputError(
                f"{self.card.architecture} was trained with the distance from the rotation axis as an input and needs "
                f"position of shape {tuple(plane)}, but {came} came. Pass position=Circle.inscribed(…).distance(…)."
            )
        return torch.from_numpy(np.ascontiguousarray(position, np.float32))[None, None].to(self.device)

    def _require_multiple(self, shape: Sequence[int]) -> None:
        if any(n % m for n, m in zip(shape, self.multiple, strict=True)):
            raise InputError(
                f"{self.card.architecture} needs blocks of whole multiples of {self.multiple} voxels, but the shape "
                f"{tuple(shape)} came. Enlarge the block."
            )

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
    thing, unit = ("volume", "voxels") if card.axes == "ZYX" else ("map", "pixels")
    raise ModelError(
        f"The model takes coarse {thing}s of {_size(wanted)} nm {unit} to {_size(card.pixel_size_nm)} nm "
        f"(ratio {_size(card.sr_factor)}), but {lr.name} has {_size(came)} nm. "
        f"Use a {thing} recorded at that {unit[:-1]} size, or train a model for this one."
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
    halo_z = row.halo_z(complete_arguments(card.architecture, card.arguments))
    if card.axes != row.axes or card.halo_z != halo_z:
        raise ModelError(
            f"The card says axes {card.axes} and halo_z {card.halo_z}, but {card.architecture} with its arguments has "
            f"{row.axes} and {halo_z}. The card does not belong to this model."
        )
    if row.axes == "ZYX" and card.factor != 1:
        raise ModelError(f"A model for volumes has the factor 1, but the card says {card.factor}.")
    if members < 1:
        raise ModelError("A model needs at least one network, but none came.")
    if not card.hr_grey.std > 0:
        raise ModelError(
            f"The card's standard deviation of the fine grey levels must be positive, but is {card.hr_grey.std}. "
            "A constant fine scan cannot be learned from."
        )
