"""Which pixel size counts: the one passed, else the one in the file; none or an absurd one is an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finescan.errors import MissingPixelSize
from finescan.values.grid import ABSURD_ABOVE_NM, ABSURD_BELOW_NM

#: Number of axes -> what it is called, and how to pass it.
_WORDS = {
    2: ("pixel size", "Pass pixel_size_nm=(…), or --pixel-size on the command line."),
    3: ("voxel size", "Pass voxel_size_nm=(z, y, x), or --pixel-size on the command line."),
}


def settled(
    stated: Sequence[float] | None,
    given: float | Sequence[float] | None,
    name: str,
    *,
    origin: Sequence[float] | None,
    doubt: str,
    source: str,
    ndim: int = 2,
) -> tuple[tuple[float, ...], str, tuple[float, ...]]:
    """Pixel size, where it comes from, and the origin (which keeps its place in pixels when the user overrides).

    Parameters
    ----------
    stated : by the file, nm per axis. given : by the user, one number or one per axis.
    name : of the file. doubt : why the file states none. source : what the file says about its own.

    Raises
    ------
    MissingPixelSize : there is none, or it is negative, zero or absurd.
    """
    word, advice = _WORDS[ndim]
    if given is not None:
        values: Any = (given,) * ndim if isinstance(given, (int, float)) else tuple(given)
        source = "user"
    elif stated is not None:
        values, source = stated, source or "header"
    else:
        raise MissingPixelSize(" ".join(x for x in (f"{name} has no {word}.", doubt, advice) if x))
    if len(values) != ndim or not all(ABSURD_BELOW_NM <= float(v) <= ABSURD_ABOVE_NM for v in values):
        shown = " x ".join(f"{float(v):g}" for v in values)
        whose = f"The {word} in" if given is None else f"The {word} passed for"
        raise MissingPixelSize(
            f"{whose} {name} is {shown} nm, but {ABSURD_BELOW_NM:g} to {ABSURD_ABOVE_NM:g} nm is possible. {advice}"
        )
    size = tuple(float(v) for v in values)
    start = tuple(float(v) for v in origin or (0.0,) * ndim)
    if given is not None and origin and stated:
        start = tuple(o * new / old for o, new, old in zip(start, size, stated, strict=True))
    return size, source, start
