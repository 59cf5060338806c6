"""The published experiments, run again from end to end on simulated data."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "FoamResults": "foam",
    "FoamStudy": "foam",
    "run_foam": "foam",
    "study_foam": "foam",
    "text_table": "foam_page",
    "SteelResults": "steel",
    "SteelStudy": "steel",
    "run_steel": "steel",
    "study_steel": "steel",
    "RescanResults": "rescan",
    "RescanStudy": "rescan",
    "run_rescan": "rescan",
    "study_rescan": "rescan",
    "LatticeResults": "lattice",
    "LatticeStudy": "lattice",
    "run_lattice": "lattice",
    "study_lattice": "lattice",
    "SandstoneResults": "sandstone",
    "SandstoneStudy": "sandstone",
    "run_sandstone": "sandstone",
    "study_sandstone": "sandstone",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"finescan.studies has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
