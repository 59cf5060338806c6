"""From an enhanced image to the numbers the user came for, without torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "QuantifyConfig": "config",
    "Threshold": "threshold",
    "otsu": "threshold",
    "Segmentation": "segmentation",
    "segment": "segmentation",
    "Measurements": "measurements",
    "write_csv": "measurements",
    "quantify": "pores",
    "Matching": "matching",
    "match": "matching",
    "match_spheres": "matching",
    "LabelledSpheres": "spheres",
    "label_spheres": "spheres",
    "BoxStatistics": "distributions",
    "Distribution": "distributions",
    "box_statistics": "distributions",
    "distribution": "distributions",
    "Objects": "alike",
    "calmed": "alike",
    "choose_objects": "alike",
    "compare": "alike",
    "measure_alike": "alike",
    "SizeComparison": "sizes",
    "SizeSample": "sizes",
    "area_share": "sizes",
    "ks_distance": "sizes",
    "pooled": "sizes",
    "size_classes": "sizes",
    "Columns": "columns",
    "find_columns": "columns",
    "Lattice": "lattice",
    "lattice_of": "lattice",
    "measure_lattice": "lattice",
    "LatticeChanges": "lattice_comparison",
    "LatticeComparison": "lattice_comparison",
    "compare_lattices": "lattice_comparison",
    "lattice_changes": "lattice_comparison",
    "Invention": "invention",
    "find_inventions": "invention",
    "LinearDrift": "scan_errors",
    "ScanErrors": "scan_errors",
    "measure_scan": "scan_errors",
    "Peaks": "spectrum",
    "reciprocal_basis": "spectrum",
    "spectrum_peaks": "spectrum",
    "ErrorBar": "error_bars",
    "measure_with_error": "error_bars",
    "rehearse": "error_bars",
    "Ground": "ground",
    "ground_of": "ground",
    "ResidualLibrary": "residuals",
    "plausible": "residuals",
    "MEASURES": "tallies",
    "Tally": "tallies",
    "clearest_group": "groups",
    "outer_group": "groups",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"finescan.quantification has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
