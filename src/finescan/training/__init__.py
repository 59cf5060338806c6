"""From a PatchSet to a Model; the door is :func:`train`."""

from finescan.training.config import TrainConfig
from finescan.training.contestants import CONTESTANTS, fit_contestants
from finescan.training.losses import LOSSES
from finescan.training.run import train

__all__ = ["CONTESTANTS", "LOSSES", "TrainConfig", "fit_contestants", "train"]
