"""What the values of a plan may be: a slip is said before anything slow starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from finescan.enhancement.config import BLENDINGS
from finescan.errors import InputError
from finescan.io import RULES
from finescan.models import MODELS
from finescan.patches import PRESETS
from finescan.patches.split import KINDS
from finescan.registration import OBJECTIVES

Check = Callable[[Any], bool]


def _number(low: float, high: float) -> Check:
    return lambda v: isinstance(v, Real) and not isinstance(v, bool) and low <= float(v) <= high


def _count(low: int) -> Check:
    return lambda v: isinstance(v, Integral) and not isinstance(v, bool) and int(v) >= low


def _per_axis(check: Check) -> Check:
    return lambda v: _is_list(v) and len(v) in (2, 3) and all(check(n) for n in v)


def _box(check: Check) -> Check:
    return lambda v: _is_list(v) and len(v) == 2 and all(_per_axis(check)(corner) for corner in v)


def _each(check: Check) -> Check:
    return lambda v: _is_list(v) and len(v) > 0 and all(check(n) for n in v)


def _or_none(check: Check) -> Check:
    return lambda v: v is None or check(v)


def _one_of(names: Sequence[str]) -> tuple[Check, str]:
    return lambda v: isinstance(v, str) and v in names, f"one of {', '.join(names)}"


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_format(value: Any) -> bool:
    try:
        return isinstance(value, str) and np.dtype(value).kind in "uif"
    except TypeError:
        return False


_NM = _number(1e-4, 1e8)
_TRAINABLE = [name for name, row in MODELS.items() if row.trainable]

#: choice -> (whether a value is possible, what is expected). Choices that are missing here are checked where used.
SENSIBLE: dict[str, tuple[Check, str]] = {
    "coarse.pixel_size_nm": (_per_axis(_NM), "a length in nm per axis: [y, x] or [z, y, x]"),
    "coarse.flatten": _one_of(["none", *RULES]),
    "fine.pixel_size_nm": (
        _each(_per_axis(_NM)),
        "a length in nm per axis and fine scan: [[y, x], …] or [[z, y, x], …]",
    ),
    "register.ratio_error": (_per_axis(_number(0, 0.5)), "a number from 0 to 0.5 per axis: [y, x] or [z, y, x]"),
    "register.rotation_deg": (_number(0, 45), "a number from 0 to 45"),
    "register.objective": _one_of(list(OBJECTIVES)),
    "target.pixel_size_nm": (_per_axis(_NM), "a length in nm per axis: [y, x] or [z, y, x]"),
    "target.factor": (_count(1), "a whole number, at least 1"),
    "split.kind": _one_of(KINDS),
    "split.boxes": (
        _or_none(lambda v: isinstance(v, Mapping) and all(_is_list(b) for b in v.values())),
        "rectangles of coarse pixels per role, or null",
    ),
    "split.guard_voxels": (_or_none(_count(0)), "a whole number, at least 0, or null"),
    "split.guard_lr_px": (_count(0), "a whole number, at least 0"),
    "train.architecture": _one_of(_TRAINABLE),
    "train.minutes": (_number(1e-6, 1e5), "a number above 0"),
    "train.steps": (_or_none(_count(1)), "a whole number, at least 1, or null"),
    "train.members": (lambda v: _count(1)(v) and v <= 16, "a whole number from 1 to 16"),
    "train.levels": _one_of(["auto", "decoupled", "finer", "coarser", *PRESETS]),
    "train.seed": (_count(0), "a whole number, at least 0"),
    "train.start": (_or_none(lambda v: isinstance(v, str) and bool(v)), "the path of a model folder, or null"),
    "train.position": (_flag, "true or false"),
    "volume.circle": (_flag, "true or false"),
    "result.region": (
        _or_none(_box(_count(0))),
        "two corners in voxels of the result: [[z, y, x], [z, y, x]], or null",
    ),
    "result.blending": _one_of([*BLENDINGS, "published"]),
    "result.fallback": _one_of(["none", "flagged", "uncertainty"]),
    "merge.pasted": (_or_none(_each(_count(1))), "numbers of fine scans from 1, or null"),
    "merge.grey": (
        _or_none(_each(_or_none(lambda v: _is_list(v) and len(v) == 2))),
        "[gain, offset] per scan, or null",
    ),
    "measure.objects": _one_of(["auto", "dark", "bright", "none"]),
    "result.method": _one_of(["auto", *MODELS]),
    "result.dtype": (_is_format, "a number format such as uint8, uint16 or float32"),
    "result.tiff": (_flag, "true or false"),
    "result.zarr": (_flag, "true or false"),
}


def require_sensible(values: Mapping[str, Any]) -> None:
    """InputError for the first value that cannot be meant."""
    for name, value in values.items():
        possible, expected = SENSIBLE.get(name, (lambda v: True, ""))
        if not possible(value):
            raise InputError(f"The choice {name} cannot be {value!r}. Expected: {expected}.")


def require_method(values: Mapping[str, Any]) -> None:
    """InputError when the result is to be made by a network that will not be trained."""
    method, trained = values.get("result.method", "auto"), values["train.architecture"]
    if method in _TRAINABLE and method != trained:
        raise InputError(
            f"The choice result.method cannot be {method!r} while train.architecture is {trained!r}. Set both to one "
            "network, or result.method to auto."
        )


def require_blending(values: Mapping[str, Any], known: Sequence[str], kind: str) -> None:
    """InputError when tiles are to be put together in a way that pictures (or volumes) do not have."""
    asked = values.get("result.blending", known[0])
    if asked not in known:
        raise InputError(f"The choice result.blending cannot be {asked!r} for {kind}. Expected: {' or '.join(known)}.")


def sizes_per_scan(values: Mapping[str, Any], scans: int) -> list[Any]:
    """The plan's pixel size of every fine scan, None where it says nothing."""
    sizes = values.get("fine.pixel_size_nm") or [None] * scans
    if len(sizes) != scans:
        raise InputError(f"The choice fine.pixel_size_nm holds {len(sizes)} sizes, but there are {scans} fine scans.")
    return list(sizes)
