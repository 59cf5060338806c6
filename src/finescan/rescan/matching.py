"""Which planned field a recorded file belongs to: by name, by number, or by the stage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from finescan.rescan.plan import Field, RescanPlan
from finescan.values import StagePose

NAMED = re.compile(r"(?<![A-Za-z0-9])F(\d{3,})(?!\d)", re.IGNORECASE)
NUMBER = re.compile(r"(\d+)(?!.*\d)")  # the last one


def fields_of(
    plan: RescanPlan, names: Sequence[str], poses: Sequence[StagePose | None]
) -> list[tuple[Field, str] | None]:
    """The planned field of every file, and how it is known; None where nothing tells.

    A name that holds ``F007`` means that field. Else a stage pose inside a field does, where the plan has a stage. Else
    the last number in the names is taken for the number of the field, if all remaining files have different ones of
    the plan. This is where a search begins, not what it has to find.

    Parameters
    ----------
    names : of the files.
    poses : what their headers say, in the same order.
    """
    by_order = {f.order: f for f in plan.fields}
    found: list[tuple[Field, str] | None] = []
    for name, pose in zip(names, poses, strict=True):
        match = NAMED.search(Path(name).stem)
        field = by_order.get(int(match[1])) if match else None
        at = None if field else _at(plan, pose)
        found.append((field, "name") if field else (at, "stage") if at else None)
    rest = [k for k, f in enumerate(found) if f is None]
    numbers = [NUMBER.search(Path(names[k]).stem) for k in rest]
    orders = [int(m[1]) if m else 0 for m in numbers]
    taken = {f[0].order for f in found if f is not None}
    if len(set(orders)) == len(orders) and all(n in by_order and n not in taken for n in orders):
        for k, order in zip(rest, orders, strict=True):
            found[k] = (by_order[order], "number")
    return found


def _at(plan: RescanPlan, pose: StagePose | None) -> Field | None:
    """The field whose middle is nearest to a stage position, if that lies in it within the stage's uncertainty."""
    if plan.stage is None or pose is None or pose.x_nm is None or pose.y_nm is None or not plan.fields:
        return None
    here = np.array([pose.x_nm, pose.y_nm]) * 1e-3
    middles = np.array([plan.stage(plan.nm(f.centre_px)) for f in plan.fields])
    away = np.linalg.norm(middles - here, axis=1)
    nearest = plan.fields[int(np.argmin(away))]
    half = max(s * p for s, p in zip(nearest.size_px, plan.map.grid.pixel_size_nm, strict=True)) / 2e3
    slack = 3e-3 * (plan.stage.sigma_nm or 0.0)
    return nearest if float(away.min()) <= half + slack else None
