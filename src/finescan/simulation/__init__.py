"""Samples with a known answer, and the instrument that looks at them."""

from finescan.simulation.lattice import lattice
from finescan.simulation.micrograph import Specimen, first_detector, grow, polycrystal, second_detector
from finescan.simulation.recipes import RECIPES, Recipe, Simulated, simulate
from finescan.simulation.scanner import Scanner, random_warp, scan

__all__ = [
    "RECIPES",
    "Recipe",
    "Scanner",
    "Simulated",
    "Specimen",
    "first_detector",
    "grow",
    "lattice",
    "polycrystal",
    "random_warp",
    "scan",
    "second_detector",
    "simulate",
]
