"""From registered pairs to what a network learns from.

The doors are :func:`make_patches` for pictures, :func:`recorded_patches` for pictures recorded pair by pair,
:func:`multiscale_patches` for coarse pictures alone, and :func:`make_volume_patches` for volumes.
"""

from finescan.patches.bank import ReferenceBank, bank_from_images, cut_references
from finescan.patches.flat import to_eight_bit
from finescan.patches.grey import AVERAGE_PX, local_average, saturation_levels
from finescan.patches.making import make_patches, work_lr
from finescan.patches.multiscale import multiscale_patches
from finescan.patches.multiscale_config import PRESETS, MultiscaleConfig, multiscale_default, oracle, single_scale
from finescan.patches.multiscale_files import WrittenSet, write_multiscale
from finescan.patches.multiscale_split import WriteConfig
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
from finescan.patches.zoom import FILTERS, ZoomScale

__all__ = [
    "AVERAGE_PX",
    "FILTERS",
    "PRESETS",
    "ROLES",
    "MultiscaleConfig",
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
    "WriteConfig",
    "WrittenSet",
    "ZoomScale",
    "bank_from_images",
    "best_offset",
    "choose_factor",
    "choose_references",
    "cut_references",
    "local_average",
    "make_patches",
    "make_volume_patches",
    "multiscale_default",
    "multiscale_patches",
    "oracle",
    "recorded_patches",
    "recorded_references",
    "saturation_levels",
    "single_scale",
    "to_eight_bit",
    "volume_input",
    "work_lr",
    "write_multiscale",
]
