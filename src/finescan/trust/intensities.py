"""Matching of grey levels: the linear map that gives a coarse scan the brightness and contrast a model learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.values import Image, Look, ModelCard, look_of

BENT = 0.4  # of the spread; two areas of one sample differ by up to a third


@dataclass(frozen=True)
class Mapped:
    """An array seen through ``gain * grey + offset``, float32, computed where it is read; nothing is rounded before.

    Parameters
    ----------
    data : numpy, memory map or zarr.
    gain, offset : of the map.
    """

    data: Any
    gain: float
    offset: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return tuple(self.data.shape)

    @property
    def ndim(self) -> int:
        """Of the array."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Of what is read."""
        return np.dtype(np.float32)

    def __getitem__(self, where: Any) -> NDArray[np.float32]:
        return mapped(self.data[where], self.gain, self.offset)


def mapped(grey: Any, gain: float, offset: float) -> NDArray[np.float32]:
    """``gain * grey + offset`` as float32, computed in double precision; NaN stays NaN."""
    return (np.asarray(grey, np.float64) * gain + offset).astype(np.float32)


def match_intensities(lr: Image, card: ModelCard | Look, *, look: Look | None = None) -> tuple[Image, float, float]:
    """A coarse scan with the grey levels a model learned from.

    The map is linear with a positive gain, so nothing is inverted, cut off or bent; location and spread of the grey
    levels between their 5 and 95 % quantiles become those of the training area. What a linear map cannot repair stays:
    texture, noise against contrast, another contrast curve. Where the map holds other shares of bright and dark phases
    than the training area, this difference is mapped away too. The grey levels of what a model makes of the result are
    those of its own fine scan, not those of the scan that was mapped.

    Parameters
    ----------
    lr : coarse scan of any real number format.
    card : of the model (of an older version: the mean and standard deviation are matched), or a look.
    look : of the scan, where it is known already.

    Returns
    -------
    The scan in float32 (mapped where it is read), gain and offset: ``new = gain * old + offset``.

    Raises
    ------
    InputError : the scan is constant, or all but constant.
    """
    look = look or look_of(lr.data)
    gain, offset = linear_map(look, _target(card))
    return lr.with_data(Mapped(lr.data, gain, offset)), gain, offset


def linear_map(look: Look, target: Look | tuple[float, float]) -> tuple[float, float]:
    """Gain and offset that give grey levels the location and spread of others (or a mean and standard deviation)."""
    if isinstance(target, Look):
        (middle, width), (wanted, wanted_width) = (_trimmed(x) for x in (look, target))
    else:
        (middle, width), (wanted, wanted_width) = (look.mean, look.std), target
    if not min(width, wanted_width) > 0:
        which = "the map" if width <= wanted_width else "the training area"
        raise InputError(
            f"Grey levels are matched by their spread, but nine of ten pixels of {which} have the same one. Go on "
            "without match_intensities (--match-intensities)."
        )
    gain = wanted_width / width
    return gain, wanted - gain * middle


def left_over(look: Look, target: Look) -> float:
    """What a linear map cannot repair: rms distance of the mapped quantiles from the target's, in their spread."""
    gain, offset = linear_map(look, target)
    rest = gain * np.array(look.quantiles) + offset - np.array(target.quantiles)
    return float(np.sqrt(np.mean(rest**2)) / _trimmed(target)[1])


def matching_sentences(look: Look, card: ModelCard | Look, gain: float, offset: float) -> list[str]:
    """What was done to the grey levels and what it could not do."""
    target = _target(card)
    said = [
        f"Grey levels of the map were matched to the training area: {gain:.6g} * grey {offset:+.6g}. Those of the "
        "result are those of the model's fine scan."
    ]
    rest = left_over(look, target) if isinstance(target, Look) else 0.0
    if rest > BENT:
        said.append(
            f"Their distribution still differs by {100 * rest:.0f} % of its spread (another contrast curve, or other "
            "shares of bright and dark phases), which no linear map repairs."
        )
    return said


def _target(card: ModelCard | Look) -> Look | tuple[float, float]:
    if isinstance(card, Look):
        return card
    kept = card.training.get("look")
    return (card.lr_grey.mean, card.lr_grey.std) if kept is None else Look.from_dict(kept)


def _trimmed(look: Look) -> tuple[float, float]:
    """Mean and standard deviation of the quantiles between 5 and 95 %."""
    values = np.array(look.quantiles)
    return float(values.mean()), float(values.std())
