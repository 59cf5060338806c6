"""VolumeSampler: random training patches of volumes, reproducible and resumable to the bit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.patches.volume_pieces import VolumePatchSet

LEAST_WEIGHT = 0.25  # share of a patch's voxels that must count
_TRIES = 400
VOLUME_SYMMETRIES = {"none": (0,), "flips": tuple(range(8)), "all": tuple(range(16))}

#: coarse, fine and weight (count, d, h, w), position (count, h, w)
VolumeBatch = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


class VolumeSampler:
    """Draws batches from the training role of a VolumePatchSet; voxels of other roles have weight 0.

    Parameters
    ----------
    patches : what to draw from.
    size : (slices, rows, columns) of a patch.
    crop : (z, plane): border of a patch that only gives context.
    multiple : a patch that does not fit is made smaller, to whole multiples of this.
    augment : "all" (flips of all axes and turns in the plane), "flips", or "none".
    seed : the sequence of batches depends on nothing else.
    """

    def __init__(
        self,
        patches: VolumePatchSet,
        *,
        size: Sequence[int],
        crop: tuple[int, int] = (0, 0),
        multiple: Sequence[int] = (1, 1, 1),
        augment: str = "all",
        seed: int = 0,
    ) -> None:
        self._patches = patches
        shapes = [p.shape for p in patches.pieces]
        smallest = [min(s[k] for s in shapes) for k in range(3)]
        self.size = tuple(min(n, m) // q * q for n, m, q in zip(size, smallest, multiple, strict=True))
        self.crop = crop
        if min(self.size) < 1 or any(s <= 2 * c for s, c in zip(self.size, (crop[0], crop[1], crop[1]), strict=True)):
            raise InputError(
                f"Training patches of {tuple(size)} voxels do not fit the overlap of {tuple(smallest)} voxels. "
                "Record a larger fine volume, or choose a smaller network."
            )
        self._turns = VOLUME_SYMMETRIES[augment]
        if self.size[1] != self.size[2]:
            self._turns = tuple(t for t in self._turns if t < 8)
        self._shares = np.cumsum([np.prod(s, dtype=float) for s in shapes])
        self._rng = np.random.default_rng(seed)

    def batch(self, count: int) -> VolumeBatch:
        """``count`` random patches."""
        cuts = [self._cut() for _ in range(count)]
        lr, hr, weight, position = (np.stack(parts) for parts in zip(*cuts, strict=True))
        return lr, hr, weight, position

    def state_dict(self) -> dict[str, Any]:
        """State of the random numbers; the text form survives any file format."""
        return {"random": json.dumps(self._rng.bit_generator.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where :meth:`state_dict` was taken."""
        self._rng.bit_generator.state = json.loads(state["random"])

    def _cut(self) -> tuple[NDArray[np.float32], ...]:
        for _ in range(_TRIES):
            which = int(np.searchsorted(self._shares, self._rng.uniform(0, self._shares[-1]), side="right"))
            piece = self._patches.pieces[which]
            first = [int(self._rng.integers(0, n - s + 1)) for n, s in zip(piece.shape, self.size, strict=True)]
            box = tuple(slice(a, a + s) for a, s in zip(first, self.size, strict=True))
            weight = self._kept(self._patches.counted(piece, "train", box))
            if weight.mean() >= LEAST_WEIGHT:
                turn = int(self._rng.choice(self._turns))
                parts = (piece.lr[box], piece.hr[box], weight.astype(np.float32), piece.position[box[1:]])
                return tuple(turned_volume(p, turn) for p in parts)
        raise InputError(
            f"No patch of {self.size} voxels in the training part has a quarter of its voxels to learn from. Record a "
            "larger fine volume, or use a smaller patch or guard_voxels."
        )

    def _kept(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        z, plane = self.crop
        if z:
            mask[:z] = mask[-z:] = False
        if plane:
            mask[:, :plane] = mask[:, -plane:] = False
            mask[:, :, :plane] = mask[:, :, -plane:] = False
        return mask


def turned_volume(array: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    """A symmetry of the square prism: bit 0 flips rows, 1 columns, 2 slices, 3 transposes; planes have no slices."""
    if turn & 1:
        array = array[..., ::-1, :]
    if turn & 2:
        array = array[..., ::-1]
    if turn & 4 and array.ndim == 3:
        array = array[::-1]
    return np.swapaxes(array, -1, -2) if turn & 8 else array
