"""Two images of one place to a Pair: where the fine scan lies in the coarse map, and how far to trust that."""

from finescan.registration.align import OBJECTIVES, Alignment, AlignOptions, align
from finescan.registration.answer import require_found
from finescan.registration.locate import Candidate, Location, locate, locate_from_landmarks
from finescan.registration.pairing import register, register_all
from finescan.registration.prior import Prior, prior_from_headers
from finescan.registration.store import load_pair, save_pair

__all__ = [
    "OBJECTIVES",
    "AlignOptions",
    "Alignment",
    "Candidate",
    "Location",
    "Prior",
    "align",
    "load_pair",
    "locate",
    "locate_from_landmarks",
    "prior_from_headers",
    "register",
    "register_all",
    "require_found",
    "save_pair",
]
