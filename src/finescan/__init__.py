"""Two scans in, one trustworthy fine map out. Names are loaded on first use; see docs/architecture.md."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "read": "finescan.io",
    "read_volume": "finescan.io",
    "write": "finescan.io",
    "register": "finescan.registration",
    "simulate": "finescan.simulation",
    "make_patches": "finescan.patches",
    "TrainConfig": "finescan.training",
    "train": "finescan.training",
    "Model": "finescan.models",
    "load_model": "finescan.models",
    "save_model": "finescan.models",
    "enhance": "finescan.enhancement",
    "enhance_volume": "finescan.enhancement",
    "make_volume_patches": "finescan.patches",
    "train_volume": "finescan.training",
    "VolumeTrainConfig": "finescan.training",
    "quantify": "finescan.quantification",
    "match": "finescan.quantification",
    "plan_rescan": "finescan.rescan",
    "study_foam": "finescan.studies",
    "evaluate": "finescan.trust",
    "write_report": "finescan.reporting",
    "check": "finescan.workflow",
    "run": "finescan.workflow",
    "demo": "finescan.workflow",
    "doctor": "finescan.workflow",
    "list_models": "finescan.workflow",
    "report": "finescan.workflow",
    "Reading": "finescan.workflow",
    **dict.fromkeys(
        (
            "Acquisition",
            "Circle",
            "Grid",
            "Image",
            "ModelCard",
            "Pair",
            "Region",
            "TilePlan",
            "TrustMap",
            "Verdict",
            "Warp",
        ),
        "finescan.values",
    ),
    "FinescanError": "finescan.errors",
}
_OTHER_NAME = {"report": "report_folder"}  # `models` is the room itself: its verb is list_models
__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"finescan has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(_HOME[name]), _OTHER_NAME.get(name, name))


def __dir__() -> list[str]:
    return __all__
