"""Frozen values that rooms share. They know numpy and the standard library only."""

from finescan.values.card import GreyStatistics, ModelCard
from finescan.values.circle import Circle
from finescan.values.grid import Grid
from finescan.values.image import Acquisition, Image, StagePose
from finescan.values.look import Look, look_of, look_of_parts, looks_of_places
from finescan.values.pair import Pair, Residual, Verdict
from finescan.values.region import Region
from finescan.values.scatter import scattered
from finescan.values.tiles import Tile, TilePlan, halved
from finescan.values.trust_map import ADVICE, FLAGS, TrustMap, flag_bits
from finescan.values.warp import Warp

__all__ = [
    "ADVICE",
    "FLAGS",
    "Acquisition",
    "Circle",
    "GreyStatistics",
    "Grid",
    "Image",
    "Look",
    "ModelCard",
    "Pair",
    "Region",
    "Residual",
    "StagePose",
    "Tile",
    "TilePlan",
    "TrustMap",
    "Verdict",
    "Warp",
    "flag_bits",
    "halved",
    "look_of",
    "look_of_parts",
    "looks_of_places",
    "scattered",
]
