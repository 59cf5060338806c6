"""Before a model is used on a map: is the map like what the model learned from, and can its grey levels be matched?"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.enhancement import Enhanced
from finescan.enhancement.source import survey
from finescan.errors import InputError, MapRefused, ModelError
from finescan.patches import work_lr
from finescan.trust import compare_parts, compare_with_card, match_intensities
from finescan.trust.intensities import mapped, matching_sentences
from finescan.trust.likeness import GREY, Likeness, unknown
from finescan.trust.part_likeness import parts_sentence
from finescan.values import Grid, Image, Look, ModelCard, look_of
from finescan.workflow.volume_likeness import look_of_volume

NATURAL = 1.0  # units of natural variation within which matching would only copy the accidents of the training area
LEFT = "Brightness and contrast are within the variation of the training area: grey levels were left as they are."


@dataclass(frozen=True)
class Compared:
    """A map, ready for the model.

    Parameters
    ----------
    lr : the map; in float32 with matched grey levels where that was asked for.
    likeness : of the map as it was recorded.
    sentences : everything to tell.
    facts : the same for JSON.
    saturation : (low, high) where the matched map is cut off; None = as usual.
    matched : likeness with matched grey levels; None = they were left.
    """

    lr: Image
    likeness: Likeness
    sentences: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    saturation: tuple[float | None, float | None] | None = None
    matched: Likeness | None = None

    @property
    def counted(self) -> Likeness:
        """The likeness of what the model will read."""
        return self.matched or self.likeness

    def require_like(self, name: str) -> None:
        """MapRefused for a map that is unlike the training area."""
        if self.counted.verdict == "unlike":
            raise MapRefused(
                f"{name}: {' '.join(self.sentences)} Nothing was written. Pass --force to enhance it all the same."
            )

    def recorded(self, enhanced: Enhanced) -> Enhanced:
        """The result with what was found and done, in its notes and in the facts that travel with the image."""
        known = {"likeness": self.facts["likeness"]["verdict"], "distance": self.facts["likeness"]["distance"]}
        extra = {**enhanced.image.acquisition.extra, "compared_with_training": known}
        if "matched_intensities" in self.facts:
            extra["matched_intensities"] = {k: self.facts["matched_intensities"][k] for k in ("gain", "offset")}
        image = replace(enhanced.image, acquisition=replace(enhanced.image.acquisition, extra=extra))
        return replace(enhanced, image=image, notes=(*self.sentences, *enhanced.notes))


def compare_map(lr: Image, card: ModelCard) -> tuple[Likeness, Look | None]:
    """How like a map is to the training area of a model, and its look on the grid the network reads."""
    look = None
    try:
        look = look_of_volume(lr) if lr.grid.ndim == 3 else look_of(_as_read(lr, card))
        return compare_with_card(look, card), look
    except (InputError, ModelError) as e:  # nothing to compare is no reason not to enhance
        return unknown(f"It cannot be said whether the map is like the training area. {e}"), look


def compare_places(lr: Image, card: ModelCard) -> dict[str, Any] | None:
    """Which parts of a map are unlike the training area; None for volumes, small maps and cards without a look."""
    kept = card.training.get("look")
    if kept is None or lr.grid.ndim == 3:
        return None
    try:
        places = [Look.from_dict(d) for d in card.training.get("look_places", ())]
        return compare_parts(_as_read(lr, card), Look.from_dict(kept), places).to_dict()
    except (InputError, ModelError):
        return None


def typical(lr: Image, card: ModelCard) -> tuple[dict[str, Any], list[str]]:
    """Whether the area a model learned from is typical of the map it lies in: facts, and notes if it is not."""
    likeness, _ = compare_map(lr, card)
    places = compare_places(lr, card)
    facts, notes = {**likeness.to_dict(), "places": places}, []
    if likeness.verdict == "unlike":
        head = "The area under the fine scan is not typical of the map: the result is less certain where it differs."
        notes = [" ".join([head, *likeness.sentences[1:-1]])]
    return facts, [*notes, *filter(None, [parts_sentence(places)] if places else [])]


def prepare(lr: Image, card: ModelCard, *, match: bool = False, force: bool = False) -> Compared:
    """Compare a map with the training area of a model and, if asked for, match its grey levels.

    Parameters
    ----------
    lr : the coarse map.
    card : of the model.
    match : map the grey levels linearly to those of the training area, if they differ by more than places of one
        sample do.
    force : the user goes on whatever the comparison says; noted in the facts.

    Raises
    ------
    InputError : the grey levels of a constant map were to be matched.
    """
    likeness, look = compare_map(lr, card)
    facts: dict[str, Any] = {"likeness": {**likeness.to_dict(), "forced": force}}
    if not match:
        places = compare_places(lr, card)
        facts["likeness"]["places"] = places
        told = parts_sentence(places) if places and likeness.verdict == "like" else ""
        return Compared(lr, likeness, (*likeness.sentences, *([told] if told else [])), facts)
    if likeness.distances and max(abs(likeness.distances[n]) for n in GREY) <= NATURAL:
        facts["matched_intensities"] = {"gain": 1.0, "offset": 0.0}
        return Compared(lr, likeness, (*likeness.sentences, LEFT), facts)
    look = look or look_of(lr.data)
    result, gain, offset = match_intensities(lr, card, look=look)
    after = compare_with_card(look.mapped(gain, offset), card)
    facts["matched_intensities"] = {"gain": gain, "offset": offset, "likeness_after": after.to_dict()}
    before = likeness.sentences[: -1 if likeness.verdict == "unlike" else None]  # the advice is for what remains
    said = [*before, *matching_sentences(look, card, gain, offset)]
    if after.verdict != "unknown":
        said += [f"With matched grey levels: {after.sentences[0]}", *after.sentences[1:]]
    return Compared(result, likeness, tuple(said), facts, _cut_off(lr, gain, offset), after)


def _cut_off(lr: Image, gain: float, offset: float) -> tuple[float | None, float | None]:
    """Where a map was cut off, in matched grey levels: their number format no longer says so."""
    low, high = survey(lr, None).saturation
    ends = [None if v is None else float(mapped(v, gain, offset)) for v in (low, high)]
    return ends[0], ends[1]


def _as_read(lr: Image, card: ModelCard) -> Any:
    """The map on the grid the network reads; resampled where it is looked at, if the two grids differ."""
    work = lr.grid.refine(card.sr_factor).coarsen(card.factor)
    return lr.data if work.same_as(lr.grid) else _OnWorkGrid(lr, work)


class _OnWorkGrid:
    """Slices of a map on another grid, NaN where the nearest recorded pixel is missing."""

    def __init__(self, lr: Image, grid: Grid) -> None:
        self.lr, self.grid, self.shape = lr, grid, grid.shape

    def __getitem__(self, where: tuple[slice, slice]) -> NDArray[np.float64]:
        start, stop = zip(*(w.indices(n)[:2] for w, n in zip(where, self.shape, strict=True)), strict=True)
        rows, columns = (self.grid.pixels_under(self.lr.grid, k)[where[k]] for k in range(2))
        part = np.asarray(self.lr.data[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        known = np.isfinite(part.astype(np.float64))[np.ix_(rows - rows[0], columns - columns[0])]
        if not known.any():
            return np.full(known.shape, np.nan)
        return np.where(known, work_lr(self.lr, self.grid, start, stop).array(), np.nan)
