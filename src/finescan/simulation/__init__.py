"""Samples with a known answer, and the instrument that looks at them.

Pictures are ready at once; what concerns volumes is loaded on first use, because it compiles its inner loops.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from finescan.simulation.lattice import lattice
from finescan.simulation.lattice_scans import (
    NO_FAULTS,
    STEM_FAULTS,
    STM_FAULTS,
    Faults,
    LatticePair,
    LatticeScan,
    record_stem,
    record_stm,
    simulate_lattice,
    stem_pixel_size_nm,
)
from finescan.simulation.lattices import CRYSTALS, LatticeSample, lattice_sample
from finescan.simulation.micrograph import Specimen, first_detector, grow, polycrystal, second_detector
from finescan.simulation.pearlite import case_hardening
from finescan.simulation.recipes import RECIPES, Recipe, Simulated, simulate
from finescan.simulation.recorded import (
    RECORDINGS,
    LargePair,
    Recording,
    large_pair,
    noise_free,
    small_pairs,
    specimen_px,
)
from finescan.simulation.sandstone import sandstone
from finescan.simulation.scanner import Scanner, random_warp, scan
from finescan.simulation.section import DamageSite, Section
from finescan.simulation.steel import dual_phase

if TYPE_CHECKING:
    from finescan.simulation.foam import Sizes, gap_filling, grow_foam, sequential
    from finescan.simulation.foam_scans import (
        Foam,
        FoamPair,
        plan_foam,
        realisations,
        record_foam,
        record_growing_foam,
        simulate_foam,
        true_foam,
    )
    from finescan.simulation.spheres import Spheres, voxelise
    from finescan.simulation.tomography import ConeBeam, Exposure, expose, project, project_volume, reconstruct
    from finescan.simulation.volumes import (
        SAMPLES,
        Placement,
        VolumePair,
        blur_growing,
        degrade_volume,
        simulate_volume_pair,
    )

_VOLUMES = {
    **dict.fromkeys(("Sizes", "gap_filling", "grow_foam", "sequential"), "foam"),
    **dict.fromkeys(
        (
            "Foam",
            "FoamPair",
            "plan_foam",
            "realisations",
            "record_foam",
            "record_growing_foam",
            "simulate_foam",
            "true_foam",
        ),
        "foam_scans",
    ),
    **dict.fromkeys(("Spheres", "voxelise"), "spheres"),
    **dict.fromkeys(("ConeBeam", "Exposure", "expose", "project", "project_volume", "reconstruct"), "tomography"),
    **dict.fromkeys(
        ("SAMPLES", "Placement", "VolumePair", "blur_growing", "degrade_volume", "simulate_volume_pair"), "volumes"
    ),
}

__all__ = [
    "CRYSTALS",
    "NO_FAULTS",
    "RECIPES",
    "RECORDINGS",
    "SAMPLES",
    "STEM_FAULTS",
    "STM_FAULTS",
    "ConeBeam",
    "DamageSite",
    "Exposure",
    "Faults",
    "Foam",
    "FoamPair",
    "LargePair",
    "LatticePair",
    "LatticeSample",
    "LatticeScan",
    "Placement",
    "Recipe",
    "Recording",
    "Scanner",
    "Section",
    "Simulated",
    "Sizes",
    "Specimen",
    "Spheres",
    "VolumePair",
    "blur_growing",
    "case_hardening",
    "degrade_volume",
    "dual_phase",
    "expose",
    "first_detector",
    "gap_filling",
    "grow",
    "grow_foam",
    "large_pair",
    "lattice",
    "lattice_sample",
    "noise_free",
    "plan_foam",
    "polycrystal",
    "project",
    "project_volume",
    "random_warp",
    "realisations",
    "reconstruct",
    "record_foam",
    "record_growing_foam",
    "record_stem",
    "record_stm",
    "sandstone",
    "scan",
    "second_detector",
    "sequential",
    "simulate",
    "simulate_foam",
    "simulate_lattice",
    "simulate_volume_pair",
    "small_pairs",
    "specimen_px",
    "stem_pixel_size_nm",
    "true_foam",
    "voxelise",
]


def __getattr__(name: str) -> Any:
    if name not in _VOLUMES:
        raise AttributeError(f"finescan.simulation has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(f"{__name__}.{_VOLUMES[name]}"), name)
