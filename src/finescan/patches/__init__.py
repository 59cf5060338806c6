"""From registered pairs to what a network learns from.

The doors are :func:`make_patches` for pictures, :func:`recorded_patches` for pictures recorded pair by pair, and
:func:`make_volume_patches` for volumes.
"""

from finescan.patches.bank import ReferenceBank, bank_from_images, cut_references
from finescan.patches.grey import AVERAGE_PX, local_average, saturation_levels
from finescan.patches.making import make_patches, work_lr
from finescan.patches.pieces import PatchSet, Piece, choose_factor
from finescan.patches.realign import Offset, best_offset
from finescan.patches.recorded import RecordedConfig, recorded_patches, recorded_references
from finescan.patches.references import TripletSampler, choose_references
from finescan.patches.sampling import PatchSampler
from finescan.patches.split import ROLES, SplitConfig
from finescan.patches.volume_input import volume_input
from finescan.patches.volume_making import make_volume_patches
from finescan.patches.volume_pieces import VolumePatchSet, VolumePiece
from finescan.patches.volume_sampling import VolumeSampler
from finescan.patches.volume_split import VolumeSplitConfig

__all__ = [
    "AVERAGE_PX",
    "ROLES",
    "Offset",
    "PatchSampler",
    "PatchSet",
    "Piece",
    "RecordedConfig",
    "ReferenceBank",
    "SplitConfig",
    "TripletSampler",
    "VolumePatchSet",
    "VolumePiece",
    "VolumeSampler",
    "VolumeSplitConfig",
    "bank_from_images",
    "best_offset",
    "choose_factor",
    "choose_references",
    "cut_references",
    "local_average",
    "make_patches",
    "make_volume_patches",
    "recorded_patches",
    "recorded_references",
    "saturation_levels",
    "volume_input",
    "work_lr",
]
