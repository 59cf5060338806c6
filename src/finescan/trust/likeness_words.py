"""What differs between an image and the training area of a model, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from finescan.values import Look
from finescan.values.look import BAND_EDGES, BANDS, FLOOR

TOLD = 2.0  # units of natural variation from which a difference is put into words
_MOST = 5  # sentences
_HARDLY = 10.0  # times the power of training: hardly there in training

#: by whether matching the grey levels repairs everything
UNLIKE_ADVICE = {
    True: "Apart from brightness and contrast the two are alike: match_intensities (--match-intensities on the command "
    "line) repairs what differs.",
    False: "The enhanced map may show detail that is not there, wrong grey levels and seams. Record a fine scan of a "
    "part of this map and train on it.",
}


def describe(image: Look, card: Look, distances: Mapping[str, float], *, unlike: bool) -> list[str]:
    """Sentences about the largest differences; none about those below two units, unless they make the map unlike.

    Parameters
    ----------
    image, card : the looks that were compared.
    distances : from :func:`finescan.trust.likeness.feature_distances`.
    unlike : many small differences have made the map unlike: the three largest are then told in any case.
    """
    order = sorted(distances, key=lambda n: -abs(distances[n]))
    told = [n for n in order if abs(distances[n]) > TOLD] or (order[:3] if unlike else [])
    strongest = next((n for n in told if n in BANDS), None)  # its neighbours follow it
    told = [n for n in told if n not in BANDS or n == strongest]
    return [_sentence(n, image, card, distances) for n in told[:_MOST]]


def _sentence(name: str, image: Look, card: Look, distances: Mapping[str, float]) -> str:
    return _band(name, image, card, distances) if name in BANDS else _WORDS[name](image, card)


def _level(image: Look, card: Look) -> str:
    apart = abs(image.mean - card.mean) / card.std
    return f"Mean grey {image.mean:.4g} where the model learned {card.mean:.4g} ({apart:.1f} standard deviations)."


def _contrast(image: Look, card: Look) -> str:
    times = _times(image.std / card.std)
    return f"Grey levels spread {times} as far as in training (standard deviation {image.std:.3g}, not {card.std:.3g})."


def _noise(image: Look, card: Look) -> str:
    a, b = (max(x.noise / x.std, 1e-3) for x in (image, card))
    return f"Against the contrast, the noise is {_times(a / b)} as strong as in training."


def _patchiness(image: Look, card: Look) -> str:
    more = "more" if image.spread["level"] > card.spread["level"] else "less"
    return f"Brightness varies {more} from place to place than in training."


def _band(name: str, image: Look, card: Look, distances: Mapping[str, float]) -> str:
    first = last = BANDS.index(name)
    same = [abs(d) > TOLD / 2 and d * distances[name] > 0 for d in (distances[n] for n in BANDS)]
    while first > 0 and same[first - 1]:
        first -= 1
    while last + 1 < len(BANDS) and same[last + 1]:
        last += 1
    of_image, of_card = (sum(math.exp(x.typical[n]) for n in BANDS[first : last + 1]) for x in (image, card))
    ratio = of_image / of_card
    scale = _periods(first, last)
    if ratio > _HARDLY:
        return f"There is detail with periods of {scale} that was hardly there in training ({_times(ratio)} the power)."
    if ratio < 1 / _HARDLY:
        return f"Detail with periods of {scale}, as in training, is all but missing ({_times(ratio)} the power)."
    return f"Detail with periods of {scale} has {_times(ratio)} the power it had in training."


def _periods(first: int, last: int) -> str:
    short = 1 / BAND_EDGES[first]
    if last + 1 == len(BAND_EDGES):
        return f"more than {short:.2g} coarse pixels"
    long = 1 / BAND_EDGES[last + 1]
    return f"up to {long:.2g} coarse pixels" if first == 0 else f"{short:.2g} to {long:.2g} coarse pixels"


def _edges(image: Look, card: Look) -> str:
    of_image, of_card = (math.exp(x.typical["edges"]) for x in (image, card))
    return f"Sharp edges are {_times(of_image / of_card)} as frequent as in training."


def _orientation(image: Look, card: Look) -> str:
    a, b = image.typical["orientation"], card.typical["orientation"]
    more = "more" if a > b else "less"
    return f"Lines are {more} parallel than in training (coherence {a:.2f}, not {b:.2f})."


def _skew(image: Look, card: Look) -> str:
    a, b = image.typical["skew"], card.typical["skew"]
    if a * b < 0 and min(abs(a), abs(b)) > 0.2:
        kinds = ("bright", "dark") if a > 0 else ("dark", "bright")
        return f"Features are {kinds[0]} on their surroundings where those of training are {kinds[1]}."
    return f"Dark and bright features are in another proportion than in training (skewness {a:.2f}, not {b:.2f})."


def _flat(image: Look, card: Look) -> str:
    a, b = (100 * x.typical["flat"] for x in (image, card))
    return f"Places without structure make up {a:.0f} % of the map, of the training area {b:.0f} %."


def _local(name: str, place: str) -> Callable[[Look, Look], str]:
    def words(image: Look, card: Look) -> str:
        a, b = (max(math.exp(x.typical[name]) - FLOOR, 1e-6) for x in (image, card))
        return f"Against the contrast, grey levels vary {_times(a / b)} as much {place} as in training."

    return words


_WORDS: dict[str, Callable[[Look, Look], str]] = {
    "level": _level,
    "contrast": _contrast,
    "noise": _noise,
    "patchiness": _patchiness,
    "edges": _edges,
    "orientation": _orientation,
    "skew": _skew,
    "flat": _flat,
    "quiet": _local("quiet", "in the evenest places"),
    "typical": _local("typical", "within a few pixels"),
    "busy": _local("busy", "in the busiest places"),
}


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio >= 10 else f"{ratio:.2g} times"
