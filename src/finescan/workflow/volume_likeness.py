"""The look of volumes: slices of the coarse scan as it was recorded, held against those a model learned from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.models import Model
from finescan.patches import VolumePatchSet, VolumePiece
from finescan.values import Circle, Grid, Image, Look, look_of_parts
from finescan.workflow.field_of_view import corners_are_empty

SLICES = 24  # of a volume that are looked at, evenly spaced
TILE = 16  # voxels; fine volumes cover few coarse voxels, and in tiles that they only partly fill detail looks weaker

Mask = NDArray[np.bool_]


def look_of_volume(lr: Image, circle: Circle | None = None) -> Look:
    """The look of a coarse volume: of YX slices, inside the field of view.

    Parameters
    ----------
    lr : numpy, memory map or zarr; only the slices that are looked at are read.
    circle : the field of view; None = the round one where the corners are empty, else all.

    Raises
    ------
    InputError : nothing but missing voxels, or all of one grey level.
    """
    if circle is None:
        inscribed = Circle.inscribed(lr.grid)
        circle = inscribed if corners_are_empty(lr, inscribed) else None
    inside = None if circle is None else circle.mask(lr.grid)
    chosen = _spread(range(lr.grid.shape[0]))
    return look_of_parts([(_slice(lr, z), inside) for z in chosen], tile=TILE)


def with_training_look(model: Model, lr: Image, patches: VolumePatchSet) -> Model:
    """The model with the look of the coarse voxels it was trained on in its card; as it is where they are too few."""
    try:
        look = look_of_parts(_training_slices(lr, patches), tile=TILE)
    except InputError:
        return model
    card = replace(model.card, training={**model.card.training, "look": look.to_dict()})
    return Model(list(model.members), card)


def _training_slices(lr: Image, patches: VolumePatchSet) -> list[tuple[NDArray[Any], Mask]]:
    """Recorded slices, and which of their voxels lie in the training role."""
    found = []
    for piece in patches.pieces:
        trained = patches.counted(piece, "train")
        rows = dict(_under(lr.grid, patches.out_grid, piece, trained))
        found += [(_slice(lr, z), rows[z]) for z in _spread(list(rows))]
    return found


def _under(coarse: Grid, fine: Grid, piece: VolumePiece, trained: Mask) -> Iterator[tuple[int, Mask]]:
    """Per coarse slice that holds any of a mask on a piece, the coarse voxels whose centre lies in it."""
    corner = fine.crop(piece.start, [a + n for a, n in zip(piece.start, piece.shape, strict=True)])
    scale, offset = coarse.step_to(corner)
    at = [np.rint(np.arange(n) * s + o).astype(int) for n, s, o in zip(coarse.shape, scale, offset, strict=True)]
    inside = [(a >= 0) & (a < n) for a, n in zip(at, piece.shape, strict=True)]
    for z in np.flatnonzero(inside[0]):
        mask = np.zeros(coarse.shape[1:], bool)
        mask[np.ix_(inside[1], inside[2])] = trained[at[0][z]][np.ix_(at[1][inside[1]], at[2][inside[2]])]
        if mask.any():
            yield int(z), mask


def _slice(lr: Image, z: int) -> NDArray[Any]:
    return np.asarray(lr.data[z])


def _spread(numbers: Any) -> list[int]:
    """At most :data:`SLICES` of them, evenly spaced."""
    listed = list(numbers)
    if not listed:
        return []
    places = np.linspace(0, len(listed) - 1, min(SLICES, len(listed)))
    return [int(listed[k]) for k in np.unique(np.rint(places).astype(int))]
