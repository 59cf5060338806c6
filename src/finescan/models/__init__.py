"""Networks and baselines: coarse grey levels in, fine grey levels out.

The doors are :func:`save_model` and :func:`load_model`; :data:`MODELS` is the table of architectures, and a
:class:`Model` is a network with its card. What needs no training (deconvolution and denoising of volumes) is loaded on
first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from finescan.models.model import Model, require_ratio
from finescan.models.ridge import RidgeFilter, fit_ridge
from finescan.models.store import load_model, save_model, weights_hash
from finescan.models.table import MODELS, Architecture, architecture, build, complete_arguments, memory_format

_LATER = {"deconvolve": "deconvolution", "richardson_lucy": "deconvolution", "non_local_means": "denoising"}

__all__ = [
    "MODELS",
    "Architecture",
    "Model",
    "RidgeFilter",
    "architecture",
    "build",
    "complete_arguments",
    "fit_ridge",
    "load_model",
    "memory_format",
    "require_ratio",
    "save_model",
    "weights_hash",
    *_LATER,
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"finescan.models has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(f"finescan.models.{_LATER[name]}"), name)
