"""The whole way, and the single verbs on files. Names are loaded on first use: ``check`` needs no torch."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_HOME = {
    "Outcome": "reading",
    "PhysicalOptions": "physical",
    "Reading": "reading",
    "check": "reading",
    "demo": "demo",
    "doctor": "doctor",
    "enhance_file": "verbs",
    "evaluate_files": "evaluating",
    "evaluate_physical": "physical",
    "import_weights": "importing",
    "lattice_file": "lattices",
    "list_models": "verbs",
    "load_landmarks": "verbs",
    "merge": "merging",
    "patch_files": "patching",
    "quantify_file": "volume_verbs",
    "register_files": "verbs",
    "report_folder": "again",
    "rescan_folder": "rescanning",
    "run": "run",
    "run_lr_only": "lr_only",
    "simulate_files": "verbs",
    "train_alone": "learning",
    "train_files": "learning",
}
__all__ = sorted(_HOME)


class _Doors(ModuleType):
    """This package: a function must win over the module of the same name (run, demo, doctor), whoever imports it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Doors


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"finescan.workflow has no {name!r}; it has {', '.join(__all__)}.")
    value = getattr(import_module(f"finescan.workflow.{_HOME[name]}"), name)
    globals()[name] = value
    return value
