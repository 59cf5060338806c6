"""A foam is what was asked for: counts, sizes, no overlap; and its grey levels are volumes of geometry."""

import json
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial import cKDTree

from finescan.errors import InputError
from finescan.simulation import Sizes, Spheres, gap_filling, grow_foam, sequential, voxelise
from finescan.values import Grid


def cube(n: int, voxel_nm: float = 1000.0) -> Grid:
    return Grid.of((n, n, n), voxel_nm)


def worst_gap(spheres: Spheres) -> float:
    """Smallest distance between two surfaces, nm, by all pairs near enough to matter."""
    pairs = cKDTree(spheres.position_nm).query_pairs(2 * spheres.radius_nm.max(), output_type="ndarray")
    apart = np.linalg.norm(spheres.position_nm[pairs[:, 0]] - spheres.position_nm[pairs[:, 1]], axis=1)
    return float((apart - spheres.radius_nm[pairs].sum(axis=1)).min())


@pytest.mark.parametrize("mode", ["sequential", "gap filling"])
def test_no_two_pores_overlap_and_none_leaves_the_wall(mode: str) -> None:
    foam = grow_foam(cube(128), mode=mode, seed=3, overhang_nm=8000.0)
    assert worst_gap(foam) > -1e-3
    off = np.hypot(*(foam.position_nm[:, 1:] - foam.centre_nm[1:]).T) + foam.radius_nm
    assert off.max() <= foam.cylinder_radius_nm * (1 + 1e-9)


def test_gap_filling_pores_touch_where_sequential_ones_do_not() -> None:
    touching = [
        np.sum(cKDTree(f.position_nm).query(f.position_nm, k=2)[0][:, 1] < 1.6 * f.radius_nm) / len(f)
        for f in (grow_foam(cube(128), mode=m, seed=1) for m in ("gap filling", "sequential"))
    ]
    assert worst_gap(grow_foam(cube(128), mode="gap filling", seed=1)) < 1.0  # nm, of pores thousands of nm wide
    assert touching[0] > touching[1]


def test_the_foam_of_the_paper_has_about_1400_whole_pores_of_5_to_110_voxels() -> None:
    grid = cube(512)
    foam = grow_foam(grid, seed=0, overhang_nm=64_000.0)
    d = 2 * foam.radius_nm / 1000
    assert 1350 < foam.whole_inside(grid).sum() < 1480
    assert 5.0 <= d.min() < 5.5 and 100 < d.max() <= 110
    assert foam.porosity == pytest.approx(0.30, abs=0.02)


def test_sizes_follow_the_prescribed_lognormal() -> None:
    sizes = Sizes(20.0, 0.5, 1e-3, 1e6)
    d = np.log(sizes.draw(4000, np.random.default_rng(1)))
    assert d.mean() == pytest.approx(np.log(20.0), abs=0.01) and d.std() == pytest.approx(0.5, rel=0.02)
    assert sizes.mean_volume_nm3() == pytest.approx(np.pi / 6 * 20.0**3 * np.exp(4.5 * 0.5**2), rel=1e-3)


def test_both_realisations_have_the_same_pore_space_in_different_places() -> None:
    one, other = (grow_foam(cube(128), seed=s) for s in (0, 1))
    assert len(one) == len(other) and one.porosity == pytest.approx(other.porosity, rel=0.05)
    assert np.abs(np.sort(one.radius_nm) / np.sort(other.radius_nm) - 1).max() < 0.1
    assert np.linalg.norm(one.position_nm - other.position_nm, axis=1).mean() > 20_000


@pytest.mark.parametrize("mode", ["sequential", "gap filling"])
def test_the_same_seed_gives_the_same_bits(mode: str) -> None:
    a, b = (grow_foam(cube(96), mode=mode, seed=7) for _ in range(2))
    assert np.array_equal(a.position_nm, b.position_nm) and np.array_equal(a.radius_nm, b.radius_nm)


def test_a_hundred_thousand_pores_are_placed() -> None:
    radius = np.random.default_rng(0).lognormal(np.log(2.0), 0.5, 100_000).clip(0.5, 10.0)
    foam = sequential(radius, 200.0, 1200.0, seed=1)  # refuses overlap itself
    assert len(foam) == 100_000 and foam.porosity > 0.05


def test_too_dense_a_foam_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match=r"Only \d+ of 400 pores found room .* about 45 %"):
        sequential(np.full(400, 10.0), 50.0, 200.0, tries=500)
    with pytest.raises(InputError, match="does not fit into a cylinder"):
        sequential(np.array([60.0]), 50.0, 200.0)
    with pytest.raises(InputError, match="one of sequential, gap filling, but 'bubbles' came"):
        grow_foam(cube(32), mode="bubbles")
    with pytest.raises(InputError, match="at least one pore"):
        gap_filling(0, 50.0, 200.0, 20.0)


def test_overlapping_spheres_are_refused_by_number() -> None:
    with pytest.raises(InputError, match="number 0 and number 2 do"):
        Spheres.of([[0, 0, 0], [50, 0, 0], [0, 0, 9]], [5, 5, 5], (0, 0, 0), 100, 200)
    Spheres.of([[0, 0, 0], [0, 0, 10]], [5, 5], (0, 0, 0), 100, 200)  # touching is allowed
    with pytest.raises(InputError, match="reaches through"):
        Spheres.of([[0, 97, 0]], [5], (0, 0, 0), 100, 200)


def test_the_table_survives_json_and_csv(tmp_path) -> None:
    foam = grow_foam(cube(64), seed=2)
    again = Spheres.from_dict(json.loads(json.dumps(foam.to_dict())))
    rows = np.loadtxt(foam.write_csv(tmp_path / "pores.csv"), delimiter=",", skiprows=1)
    assert np.array_equal(again.position_nm, foam.position_nm) and again.cylinder_radius_nm == foam.cylinder_radius_nm
    assert np.array_equal(rows, np.column_stack([foam.position_nm, foam.radius_nm]))


def test_a_sphere_has_its_volume_at_any_place_and_voxel_size() -> None:
    for at, step in (((0.3, -0.2, 0.7), (1.0, 1.0, 1.0)), ((1.1, 0.4, 0.0), (2.0, 1.0, 0.8))):
        one = Spheres.of([at], [7.0], (0, 0, 0), 30.0, 100.0)
        grid = Grid.of((17, 33, 41), step, [-s * (n - 1) / 2 for s, n in zip(step, (17, 33, 41), strict=True)])
        volume = (1 - voxelise(one, grid, supersampling=6).data.astype(float)).sum() * np.prod(step)
        assert volume == pytest.approx(4 / 3 * np.pi * 7.0**3, rel=2e-3)


def test_the_share_of_solid_is_that_of_the_table() -> None:
    grid = cube(64)
    foam = grow_foam(grid, seed=5)
    inside = np.pi * foam.cylinder_radius_nm**2 * grid.extent_nm[0] / np.prod(grid.extent_nm)
    assert voxelise(foam, grid).data.mean(dtype=float) == pytest.approx(inside * (1 - foam.porosity), rel=1e-3)


def test_a_slab_has_the_bits_of_the_whole() -> None:
    grid = cube(64)
    foam = grow_foam(grid, seed=5, overhang_nm=6000.0)
    whole = voxelise(foam, grid).data
    slab = voxelise(foam, grid.crop((20, 8, 0), (37, 64, 50))).data
    assert np.array_equal(slab, whole[20:37, 8:64, :50])


def test_whole_and_cut_pores_are_told_apart() -> None:
    foam = Spheres.of([[0, 0, 0], [50, 0, 0], [99, 0, 30]], [5, 5, 5], (0, 0, 0), 100, 400)
    grid = Grid.of((103, 200, 200), 1.0, (-0.5, -100, -100))
    assert foam.whole_inside(grid).tolist() == [False, True, False]
    assert foam.touching(grid).tolist() == [True, True, True]
    assert len(foam.part(foam.whole_inside(grid))) == 1


def test_pictures_are_simulated_without_loading_the_compiler() -> None:
    loaded = "print('numba' in sys.modules)"
    code = f"import sys, finescan.simulation as s; s.simulate; {loaded}; s.voxelise; {loaded}"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert seen == ["False", "True"]
