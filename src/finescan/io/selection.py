"""One plane out of what a file holds. Choosing is never silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.io.facts import Contents, Facts, Picture
from finescan.io.pixels import bands

_VOLUME = " If they are the slices of one volume, read it with read_volume (--volume on the command line)."
_VOLUME_FROM = 5
_COLOURS = ("red", "green", "blue", "alpha")


@dataclass(frozen=True)
class Chosen:
    """A plane (rows, columns) and the facts of its picture."""

    data: Any
    facts: Facts


def choose(contents: Contents, name: str, *, channel: int | str | None, frame: int | None) -> Chosen:
    """The plane the arguments name; without arguments, the only one there is.

    Raises InputError with a list of what there is when several planes differ and no argument chooses.
    """
    pictures = contents.pictures
    asked: int | str | None = channel if contents.by == "channel" else frame
    if len(pictures) > 1:
        picture = pictures[chosen_index(asked, [p.label for p in pictures], contents.by, name)]
        channel, frame = (None, frame) if contents.by == "channel" else (channel, None)
    else:
        picture = pictures[0]
        if contents.by == "channel" and channel is not None:
            chosen_index(channel, [picture.label], "channel", name)
            channel = None
    data = picture.load()
    data, axes = _without_singles(data, picture.axes)
    if 0 in data.shape:
        raise InputError(f"{name} holds no pixels (its size is {tuple(data.shape)}). Choose another file.")
    if "S" in axes:
        if not axes.endswith("S"):  # planes stored one after the other
            data, axes = np.moveaxis(np.asarray(data), axes.index("S"), -1), axes.replace("S", "") + "S"
        data, axes = _one_grey(data, axes, name, channel)
        channel = None
    plane = _select(data, axes, picture, name, channel, frame)
    if isinstance(plane, np.ndarray) and not isinstance(plane, np.memmap) and not plane.dtype.isnative:
        plane = plane.astype(plane.dtype.newbyteorder("="))
    return Chosen(plane, picture.facts)


def _without_singles(data: Any, axes: str) -> tuple[Any, str]:
    """Axes of length one that are not Y or X are dropped."""
    keep = [a in "YX" or n > 1 for a, n in zip(axes, data.shape, strict=True)]
    if all(keep):
        return data, axes
    index = tuple(slice(None) if k else 0 for k in keep)
    return data[index], "".join(a for a, k in zip(axes, keep, strict=True) if k)


def chosen_index(asked: int | str | None, labels: list[str], argument: str, name: str, hint: str = "") -> int:
    """Which of several an argument means, as a number; an error that lists what there is when it means none."""
    listed = "; ".join(f"{i}: {label or 'no name'}" for i, label in enumerate(labels))
    if asked is None:
        raise InputError(
            f"{name} holds {len(labels)} pictures and none was chosen. Pass {argument}=… with one of: {listed}." + hint
        )
    if isinstance(asked, str) and asked in labels:
        return labels.index(asked)
    number = int(asked) if isinstance(asked, int) or str(asked).lstrip("-").isdigit() else None
    if number is None or not 0 <= number < len(labels):
        raise InputError(f"{name} has no {argument} {asked!r}. There is {listed}.")
    return number


def _one_grey(data: Any, axes: str, name: str, channel: int | str | None) -> tuple[Any, str]:
    """Colour samples to one grey channel, if they are equal or one is asked for. Alpha is left out."""
    samples = data.shape[-1] - (data.shape[-1] in (2, 4))
    if channel is not None:
        index = chosen_index(channel, list(_COLOURS[: data.shape[-1]]), "channel", name)
        return data[..., index], axes[:-1]
    apart = max(_channels_apart(band[..., :samples]) for _, band in bands(data))
    if apart > 0:
        raise InputError(
            f"{name} is a colour picture: its {samples} channels differ by up to {apart:g} grey levels. "
            "Grey levels of one detector are needed; export the original, or pass channel=0, 1 or 2 to take one."
        )
    return data[..., 0], axes[:-1]


def _channels_apart(band: NDArray[Any]) -> float:
    """Largest difference between the samples of one pixel."""
    return float(np.max(np.max(band, axis=-1).astype(np.float64) - np.min(band, axis=-1), initial=0.0))


def _select(data: Any, axes: str, picture: Picture, name: str, channel: int | str | None, frame: int | None) -> Any:
    """Index away every axis but YX."""
    for axis in [a for a in axes if a not in "YX"]:
        at = axes.index(axis)
        count = data.shape[at]
        argument = "channel" if axis == "C" else "frame"
        asked: int | str | None = channel if axis == "C" else frame
        if asked is None and count <= 16 and _all_equal(data, at):
            asked = 0
        labels = list(picture.channels) if axis == "C" and len(picture.channels) == count else []
        if not labels:
            labels = [{"C": "channel", "Z": "slice"}.get(axis, "frame")] * count
        hint = _VOLUME if axis != "C" and count >= _VOLUME_FROM else ""
        if asked is None and count > 8:
            raise InputError(
                f"{name} holds {count} {labels[0]}s and none was chosen. Pass {argument}=… (0 to {count - 1})." + hint
            )
        data = data[(slice(None),) * at + (chosen_index(asked, labels, argument, name, hint),)]
        axes = axes.replace(axis, "", 1)
        if axis == "C":
            channel = None
        else:
            frame = None
    unused = [k for k, v in (("channel", channel), ("frame", frame)) if v not in (None, 0)]
    if unused:
        raise InputError(
            f"{name} holds a single picture, so {unused[0]}={(channel or frame)!r} cannot be taken from it."
        )
    return data if axes == "YX" else np.asarray(data).T


def _all_equal(data: Any, axis: int) -> bool:
    first = np.asarray(np.take(data, 0, axis))
    return all(np.array_equal(np.asarray(np.take(data, k, axis)), first) for k in range(1, data.shape[axis]))
