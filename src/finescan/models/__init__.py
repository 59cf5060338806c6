"""Networks and baselines: coarse grey levels in, fine grey levels out.

The doors are :func:`save_model` and :func:`load_model`; :data:`MODELS` is the table of architectures, and a
:class:`Model` is a network with its card.
"""

from finescan.models.model import Model, require_ratio
from finescan.models.ridge import RidgeFilter, fit_ridge
from finescan.models.store import load_model, save_model
from finescan.models.table import MODELS, Architecture, architecture, build, complete_arguments, memory_format

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
]
