"""The physical evaluation of the lattice study: pieces of a coarse picture, enhanced and found in a fine one.

Figures 6 and 8 of Möller et al. 2023. All methods are scored at the places of their mean; that this favours none of
them is checked at the finest level, where every method is matched by itself too, by our rule and by the published one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.studies import lattice_data as data
from finescan.trust.physical import RULES
from finescan.trust.physical_curve import PhysicalCurve, physical_curve

Array = NDArray[np.float32]
Method = Callable[[Array], Array]
Result = Callable[[str, Callable[[], Mapping[str, Any]]], dict[str, Any]]  # stored under a name, or made and stored

#: scale and turn that our rule searches: pixel sizes are known to 0.5 % and drift is 3 % at most
SEARCHED = {"scales": np.linspace(0.95, 1.05, 13).tolist(), "turns_deg": np.linspace(-1.75, 1.75, 15).tolist()}
CHECKED = ("bicubic", data.MAIN, data.OURS)  # methods that are matched by themselves too


@dataclass(frozen=True)
class PhysicalResults:
    """What the physical evaluation of one kind found.

    Parameters
    ----------
    curve : all methods at shared places; None where it could not be made.
    own : rule of the matching -> some methods at the finest level, each at its own places.
    true_fit : scale and turn (degrees) that matches should find.
    why_not : one sentence where something could not be made.
    """

    curve: PhysicalCurve | None
    own: Mapping[str, PhysicalCurve]
    true_fit: tuple[float, float]
    why_not: str = ""


def judge_physically(
    recorded: data.Recorded,
    pieces: data.Pieces,
    factor: int,
    methods: Mapping[str, Method],
    span: float,
    result: Result,
) -> PhysicalResults:
    """Match and score, or take what is stored.

    Parameters
    ----------
    recorded : its coarse and fine test pictures are used.
    pieces : which levels and pieces.
    factor : of the enhancement.
    methods : name -> enhancement of a coarse picture.
    span : grey levels that PSNR and MS-SSIM refer to.
    result : called as ``result(name, make)``; see :meth:`StudyFolder.result`.
    """
    coarse, fine = (i.array().astype(np.float32) for i in (recorded.test_coarse, recorded.test_fine))
    ratios = [p / (100 * factor) for p in pieces.percent]
    few = {n: m for n, m in methods.items() if n in CHECKED}

    def made(levels: list[float], some: Mapping[str, Method], rule: str, places: str) -> Mapping[str, Any]:
        try:
            return physical_curve(
                coarse, fine, levels, factor, some, data_range=span, rule=rule, places=places,
                piece_px=pieces.piece_px, per_side=pieces.per_side, **({} if rule == "published" else SEARCHED),
            ).to_dict()  # fmt: skip
        except InputError as e:
            return {"why_not": str(e)}

    found = {"shared": result("physical", lambda: made(ratios, methods, "robust", "shared"))}
    for rule in RULES:
        found[rule] = result(f"physical-own-{rule}", lambda r=rule: made([max(ratios)], few, r, "own"))  # type: ignore[misc]
    why_not = "; ".join(dict.fromkeys(str(f["why_not"]) for f in found.values() if "why_not" in f))
    curves = {n: PhysicalCurve.from_dict(f) for n, f in found.items() if "why_not" not in f}
    return PhysicalResults(curves.pop("shared", None), curves, recorded.test_fit, why_not)
