"""plan.yaml: every automatic choice of a run, with one sentence why. Edit a value and run again.

A value found in the file is used as it stands; a value that is missing is chosen and written down. What was asked
for on the command line replaces both.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from finescan.errors import InputError
from finescan.workflow.folder import write_whole

#: name -> what it is. A name outside this table is a spelling mistake.
CHOICES: dict[str, str] = {
    "coarse.pixel_size_nm": "pixel size of the coarse scan, nm per axis (y, x or z, y, x)",
    "coarse.flatten": "coarse images alone: how lines are levelled first: none, robust or published",
    "fine.pixel_size_nm": "pixel size of every fine scan, nm per axis (y, x or z, y, x)",
    "register.ratio_error": "how far the two pixel-size ratios may be off, relative (y, x)",
    "register.rotation_deg": "how far the fine scan may be turned, degrees",
    "register.objective": "what the registration compares: auto, grey (levels) or joint-histogram (other detectors)",
    "register.landmarks": "hand-picked points per fine scan: [[[y, x] fine px, [y, x] coarse px], …], or null",
    "target.pixel_size_nm": "pixel size of the enhanced map, nm per axis (y, x or z, y, x)",
    "target.factor": "whole number of output pixels per pixel that the network reads",
    "split.kind": "how held-out data are chosen: blocks, leave-one-out or halves",
    "split.boxes": "areas that an earlier run held out: {test: [[top, left, bottom, right], …], stop: …}, or null; of "
    "volumes [z, y, x, z, y, x], voxels of the result",
    "split.guard_voxels": "volumes: gap between training and held-out data, voxels of the result; null = by size",
    "split.guard_lr_px": "gap between training and held-out data, coarse pixels",
    "train.architecture": "network, a name from `finescan models`",
    "train.minutes": "time budget for training, minutes",
    "train.steps": "steps per network instead of the time budget: the same bits in every run; null = by time",
    "train.members": "most networks to train and average",
    "train.levels": "coarse images alone: zoom levels: auto, decoupled, finer, coarser, or a published list (stem …)",
    "train.seed": "seed of everything random in training",
    "train.start": "model folder whose weights training goes on from, or null; start-model = the one in the run folder",
    "train.position": "volumes: whether the distance from the rotation axis is an input of the network",
    "volume.circle": "volumes: whether the field of view is the circle inside each slice",
    "result.method": "what makes the enhanced map: auto, or a contestant's name",
    "result.dtype": "number format of the enhanced map",
    "result.region": "volumes: box of the result to enhance, [[z, y, x], [z, y, x]] voxels, or null",
    "result.blending": "how tiles are put together: exact; pictures also smooth or centre; volumes also published",
    "result.fallback": "where interpolation takes the place of the result: none, flagged or uncertainty",
    "result.tiff": "write enhanced.tif",
    "result.zarr": "keep enhanced.ome.zarr",
    "merge.pasted": "numbers (from 1) of the fine scans whose recorded pixels are pasted into the result, or null",
    "merge.grey": "[gain, offset] per fine scan that its grey levels are divided by and lowered by first, or null",
    "measure.objects": "which objects are measured: dark, bright, none, or auto",
}


@dataclass
class Plan:
    """The choices of one run; ``values`` and ``why`` share their keys (names from :data:`CHOICES`)."""

    values: dict[str, Any] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)

    def choose(self, name: str, value: Any, why: str) -> Any:
        """The value in the plan, or else the automatic one, which is written down with its reason."""
        if name not in self.values:
            self.force(name, value, why)
        return self.values[name]

    def force(self, name: str, value: Any, why: str) -> None:
        """Set a value whatever the plan said."""
        require_known([name])
        self.values[name], self.why[name] = _plain(value), why

    def part(self, names: Iterable[str]) -> dict[str, Any]:
        """The named choices that have been made, for fingerprints."""
        return {n: self.values[n] for n in names if n in self.values}

    def rows(self) -> list[tuple[str, str, str]]:
        """(choice, value, why) in the order of the table, for the report."""
        return [(n, _short(self.values[n]), self.why.get(n, "")) for n in CHOICES if n in self.values]

    def save(self, path: Path) -> None:
        """Write the plan, atomically."""
        body = {
            "about": "Every choice finescan made for this run. Edit a value and run again; delete an entry to have it "
            "chosen anew.",
            "inputs": self.inputs,
            "choices": {n: {"value": self.values[n], "why": self.why.get(n, "")} for n in CHOICES if n in self.values},
        }
        write_whole(path, yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=110))

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan; an InputError says what is wrong with an edited one."""
        try:
            body = yaml.safe_load(path.read_text(encoding="utf-8"))
            choices = body["choices"] or {}
            values = {n: c["value"] if isinstance(c, Mapping) else c for n, c in choices.items()}
        except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as e:
            raise InputError(
                f"{path} is not a readable plan ({type(e).__name__}: {e}). Correct it, or delete it to have every "
                "choice made anew."
            ) from e
        require_known(values)
        why = {n: c.get("why", "") if isinstance(c, Mapping) else "set by hand" for n, c in choices.items()}
        return cls(values, why, body.get("inputs") or {})


def require_known(names: Iterable[str]) -> None:
    """InputError for a name that is not in :data:`CHOICES`, with the nearest one."""
    for name in names:
        if name not in CHOICES:
            near = difflib.get_close_matches(str(name), CHOICES, 1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known are: {', '.join(CHOICES)}."
            raise InputError(f"A plan has no choice called {name!r}.{hint}")


def _plain(value: Any) -> Any:
    """Tuples to lists and numpy numbers to Python's, so that YAML stays readable."""
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        nested = any(isinstance(v, list) for v in value)
        return (
            (", " if nested else " × ").join(_short(v) for v in value) if len(value) <= 3 else f"{len(value)} entries"
        )
    return str(value)
