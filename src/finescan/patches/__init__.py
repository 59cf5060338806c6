"""From registered pairs to what a network learns from; the door is :func:`make_patches`."""

from finescan.patches.grey import AVERAGE_PX, local_average, saturation_levels
from finescan.patches.making import make_patches, work_lr
from finescan.patches.pieces import PatchSet, Piece, choose_factor
from finescan.patches.sampling import PatchSampler
from finescan.patches.split import ROLES, SplitConfig

__all__ = [
    "AVERAGE_PX",
    "ROLES",
    "PatchSampler",
    "PatchSet",
    "Piece",
    "SplitConfig",
    "choose_factor",
    "local_average",
    "make_patches",
    "saturation_levels",
    "work_lr",
]
