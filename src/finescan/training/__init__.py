"""From a PatchSet to a Model; the doors are :func:`train` and, for volumes, :func:`train_volume`."""

from finescan.training.config import TrainConfig
from finescan.training.contestants import CONTESTANTS, fit_contestants
from finescan.training.losses import LOSSES
from finescan.training.run import train
from finescan.training.volume_config import VolumeTrainConfig
from finescan.training.volumes import fit_volume_contestants, train_volume

__all__ = [
    "CONTESTANTS",
    "LOSSES",
    "TrainConfig",
    "VolumeTrainConfig",
    "fit_contestants",
    "fit_volume_contestants",
    "train",
    "train_volume",
]
