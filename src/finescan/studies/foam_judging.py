"""What the foam study measures on a volume: likeness to the truth, pores matched with the true ones, effective blur."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.quantification import Measurements, QuantifyConfig, match, match_spheres, quantify
from finescan.simulation.foam_scans import Foam
from finescan.trust import blur_fit, ms_ssim_maps
from finescan.values import Circle, Image

DATA_RANGE = 1.0  # pore 0, solid 1
MIDDLE = 0.5  # between them
BIN_VOXELS = 5.0  # of the size distribution, as published


def bulk_of(foam: Foam) -> Circle:
    """The cylinder that porosity refers to."""
    return Circle(foam.circle.centre_nm, foam.spheres.cylinder_radius_nm)


def count_pores(image: Image, foam: Foam) -> Measurements:
    """The pores of a volume, by one procedure for truth and results alike; cut ones at both ends are not counted."""
    config = QuantifyConfig(faces="ends", bin_nm=BIN_VOXELS * foam.grid.pixel_size_nm[0])
    try:
        return quantify(image, config=config, circle=foam.circle, bulk=bulk_of(foam))
    except InputError:  # one grey level everywhere: a method that failed is a row of the table, not the end of a study
        return quantify(image, config=replace(config, threshold=MIDDLE), circle=foam.circle, bulk=bulk_of(foam))


def pore_facts(pores: Measurements) -> dict[str, Any]:
    """Count, porosity, mean sphericity, and every diameter (voxels) and sphericity."""
    shape = pores.sphericity[np.isfinite(pores.sphericity)]
    return {
        "count": pores.count,
        "porosity": pores.porosity,
        "sphericity": float(shape.mean()) if shape.size else None,
        "diameters": (pores.diameter_nm / pores.grid.pixel_size_nm[0]).round(3).tolist(),
        "sphericities": shape.round(4).tolist(),
        "notes": list(pores.notes),
    }


def judged(
    result: Image, for_pores: Image, truth: Image, foam: Foam, true_pores: Measurements
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """All figures of a volume, and the middle slice of its MS-SSIM map.

    Parameters
    ----------
    result : the volume.
    for_pores : the same, denoised first where the method needs it.
    truth, foam, true_pores : what is known.
    """
    maps = ms_ssim_maps(result, truth, data_range=DATA_RANGE, mask=foam.circle)
    fit = blur_fit(result, truth, voxel_size_nm=foam.grid.pixel_size_nm, mask=foam.circle)
    pores = count_pores(for_pores, foam)
    matched = match(pores, true_pores)
    spheres = match_spheres(pores, foam.spheres.position_nm, foam.spheres.radius_nm)
    facts = {
        "scores": maps.scores.to_dict(),
        "blur": {
            "sigma": fit.sigma,
            "raw_sigma": fit.raw_sigma,
            "curve_sigma": list(fit.curve_sigma),
            "curve_mse": list(fit.curve_raw_mse),
        },
        "pores": pore_facts(pores),
        "matching": matched.summary(),
        "matching_spheres": spheres.summary(),
        "recovery_by_size": _by_size(matched, foam),
    }
    return facts, np.asarray(maps.fused[foam.grid.shape[0] // 2], np.float32)


def _by_size(matched: Any, foam: Foam) -> Mapping[str, Any]:
    edges = np.array([0.0, 10, 15, 20, 30, 50, 120]) * foam.grid.pixel_size_nm[0]
    found = matched.recovery_by_size(edges)
    return {
        "edges_voxels": (edges / foam.grid.pixel_size_nm[0]).tolist(),
        "references": found["references"].tolist(),
        "found": found["found"].tolist(),
    }
