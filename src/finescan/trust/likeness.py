"""Is an image like what a model learned from? The look of one against that of the other.

A difference is counted in *units of natural variation*: what the means over two areas of one sample may differ by. That
is their sampling error, from the spread between tiles of the training area, together with a share of this spread
(samples are never quite even) and a tolerance that stands for what no user would call another material (focus, dwell
time, the brightness knob). The constants were chosen on simulated and recorded images so that other areas of one
sample pass and other materials do not; ``tests/trust/test_likeness.py`` holds them to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finescan.errors import InputError
from finescan.trust.likeness_words import UNLIKE_ADVICE, describe
from finescan.values import Look, ModelCard
from finescan.values.look import BANDS, white_shares

FEATURE_LIMIT = 2.5  # units by which one feature may differ
TEXTURE_LIMIT = 0.9  # root mean square over all texture features: many small differences
_UNEVEN = 0.25  # share of the spread between tiles that remains between large areas
_DEPENDENT = 2.0  # neighbouring tiles repeat each other: so many of them count as one
_FEW = 4.0  # tiles: an area of so few is all of one kind more often than its sampling error says
_BORROWED = 6.0  # tiles whose worth of spread is taken from the image
_PATCHY = 0.05  # standard deviations: variation of tile means below this is none

#: tolerance of each feature, and how much of a difference in (log) noise passes into it
TOLERANCES: dict[str, tuple[float, float]] = {
    "level": (0.2, 0.0),
    "contrast": (0.15, 0.0),
    "noise": (0.2, 0.0),
    "patchiness": (0.3, 0.0),
    **dict.fromkeys(BANDS, (0.45, 0.0)),
    "edges": (0.3, 1.5),
    "orientation": (0.12, 0.25),
    "skew": (0.3, 0.3),
    "flat": (0.08, 0.5),
    "quiet": (0.15, 0.65),
    "typical": (0.15, 0.5),
    "busy": (0.15, 0.25),
}
GREY = ("level", "contrast")  # what a linear map of the grey levels can repair
TEXTURE = (*BANDS, "edges", "orientation", "skew", "flat", "quiet", "typical", "busy")


@dataclass(frozen=True)
class Likeness:
    """The verdict on an image.

    Parameters
    ----------
    verdict : "like", "unlike", or "unknown" where nothing can be compared.
    distance : 1 is the limit between like and unlike; nan when unknown.
    distances : signed difference of each feature, image minus training, in units of natural variation.
    sentences : the verdict and what differs, in words.
    fixable : unlike, but by brightness and contrast only: matching the grey levels repairs it.
    """

    verdict: str
    distance: float
    distances: Mapping[str, float]
    sentences: tuple[str, ...]
    fixable: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "verdict": self.verdict,
            "distance": None if math.isnan(self.distance) else self.distance,
            "distances": dict(self.distances),
            "sentences": list(self.sentences),
            "fixable": self.fixable,
        }

    def __str__(self) -> str:
        return " ".join(self.sentences)


def compare_looks(image: Look, card: Look) -> Likeness:
    """Whether an image is like the training area of a model.

    Parameters
    ----------
    image : look of the image, at the pixel size the network reads.
    card : look of the training area.

    Returns
    -------
    Likeness; "unlike" when one feature differs by more than 2.5 units of natural variation, or all texture features
    together by a root mean square of more than 0.9.

    Raises
    ------
    InputError : the two were taken on tiles of different sizes.
    """
    if image.tile != card.tile:
        raise InputError(
            f"Looks are compared on tiles of one size, but the image's are {image.tile} px and the training area's "
            f"{card.tile} px. Pass tile={card.tile} to look_of."
        )
    distances = feature_distances(image, card)
    distance = _distance(distances, distances)
    fixable = distance > 1 and _distance(distances, [n for n in distances if n not in GREY]) <= 1
    verdict = "unlike" if distance > 1 else "like"
    sentences = [_headline(verdict, distance), *describe(image, card, distances, unlike=verdict == "unlike")]
    if verdict == "unlike":
        sentences.append(UNLIKE_ADVICE[fixable])
    return Likeness(verdict, distance, distances, tuple(sentences), fixable)


def compare_with_card(image: Look, card: ModelCard) -> Likeness:
    """As :func:`compare_looks`, with the statistics in a model card; "unknown" when it has none.

    Raises
    ------
    ModelError : the statistics in the card are damaged.
    """
    kept = card.training.get("look")
    if kept is None:
        return unknown(
            "The model card holds no statistics of its training area (weights from elsewhere, or of an older version), "
            "so it cannot be said whether this map is like it."
        )
    return compare_looks(image, Look.from_dict(kept))


def unknown(reason: str) -> Likeness:
    """The verdict when nothing can be compared."""
    return Likeness("unknown", math.nan, {}, (reason,))


def feature_distances(image: Look, card: Look) -> dict[str, float]:
    """Difference of each feature in units of natural variation; positive where the image has more."""
    noisier = image.typical["noise"] - card.typical["noise"]
    differences = {
        "level": (image.mean - card.mean) / card.std,
        "contrast": math.log(image.std / card.std),
        **{n: image.typical[n] - card.typical[n] for n in ("noise", *TEXTURE[len(BANDS) :])},
    }
    out = {n: d / _unit(n, image, card, noisier) for n, d in differences.items()}
    out["patchiness"] = _patchiness(image, card)
    for band, name in enumerate(BANDS):
        power, trained, own = powers_at_one_noise(image, card, band)
        out[name] = math.log(power / trained) / _unit(name, image, card, noisier, own)
    return out


def _unit(name: str, image: Look, card: Look, noisier: float, own: float = 1.0) -> float:
    """One unit of natural variation of a feature; ``own`` scales the spread between tiles."""
    tolerance, through_noise = TOLERANCES[name]
    # a few tiles do not tell their spread: the image's stands in for two of them
    spread = (card.tiles * card.spread[name] ** 2 + _BORROWED * image.spread[name] ** 2) / (card.tiles + _BORROWED)
    sampling = sum(_DEPENDENT / n + (_FEW / n) ** 2 for n in (image.tiles, card.tiles))
    return math.sqrt(tolerance**2 + (through_noise * noisier) ** 2 + own**2 * spread * (_UNEVEN**2 + sampling))


def powers_at_one_noise(image: Look, card: Look, band: int) -> tuple[float, float, float]:
    """Power of image and card in a band, in their own variance, and the card's share of its own sum.

    Noise is added to the quieter of the two: what the noisier one drowns cannot tell them apart.
    """
    white = float(white_shares(card.tile)[band])
    powers = [math.exp(x.typical[BANDS[band]]) for x in (image, card)]
    noises = [white * (x.noise / x.std) ** 2 for x in (image, card)]
    of_image, of_card = (p + max(noises) - n for p, n in zip(powers, noises, strict=True))
    return of_image, of_card, powers[1] / of_card


def _patchiness(image: Look, card: Look) -> float:
    """Difference of the variation of brightness from tile to tile."""
    tolerance, _ = TOLERANCES["patchiness"]
    apart = math.log((image.spread["level"] + _PATCHY) / (card.spread["level"] + _PATCHY))
    return apart / math.sqrt(tolerance**2 + _DEPENDENT / 2 * (1 / image.tiles + 1 / card.tiles))


def _distance(distances: Mapping[str, float], counted: Any) -> float:
    """Of the features that are counted; 1 is the limit."""
    one = max(abs(distances[n]) for n in counted)
    texture = math.sqrt(sum(distances[n] ** 2 for n in TEXTURE) / len(TEXTURE))
    return max(one / FEATURE_LIMIT, texture / TEXTURE_LIMIT)


def _headline(verdict: str, distance: float) -> str:
    figure = f"{distance:.2f}" if distance < 10 else f"{distance:.0f}"
    return f"The map is {verdict} what the model learned from (distance {figure}, limit 1)."
