"""Whole analyses of samples whose pores are known."""

import numpy as np
import pytest
from skimage.measure import label, regionprops

from finescan.errors import InputError, OutputError
from finescan.quantification import Measurements, QuantifyConfig, match_spheres, quantify, segment, write_csv
from finescan.values import Circle, Grid, Image

PIXEL = 650.0
PLAIN = QuantifyConfig(closing=0)


def test_touching_spheres_are_counted_one_by_one(foam):
    image, centres, radii = foam
    found = quantify(image)
    assert found.count == len(centres)
    got = np.stack([found.table[f"{a}_nm"] for a in "zyx"], 1)
    distance = np.linalg.norm(got[:, None] - centres, axis=-1)
    assert sorted(distance.argmin(1)) == list(range(12))
    assert distance.min(1).max() < 0.3 * PIXEL
    np.testing.assert_allclose(found.diameter_nm, 2 * radii[0], rtol=0.02)


def test_without_separation_touching_spheres_are_one(foam):
    assert quantify(foam[0], config=QuantifyConfig(depth=None)).count == 1


def test_porosity_is_that_of_the_spheres(pores):
    centres, radii = [(20, 20, 20), (20, 20, 44), (42, 30, 30)], [9.3, 7.1, 8.2]
    found = quantify(pores((64, 56, 64), centres, radii), config=PLAIN)
    known = 4 / 3 * np.pi * np.sum(np.power(radii, 3))
    assert found.porosity == pytest.approx(known / (64 * 56 * 64), rel=0.01)
    assert found.tally["pore_voxels"] == found.table["voxels"].sum()
    assert found.table["volume_nm3"].sum() == pytest.approx(known * PIXEL**3, rel=0.01)


def test_volume_and_centroid_are_scikit_images(pores):
    image = pores((40, 40, 60), [(20, 18, 15), (19, 20, 42)], [9, 7])
    found = quantify(image, config=PLAIN)
    for p in regionprops(label(image.data == 0)):
        k = int(np.argmin(np.abs(found.table["voxels"] - p.area)))
        assert found.table["voxels"][k] == p.area
        centre = [found.table[f"{a}_nm"][k] for a in "zyx"]
        np.testing.assert_allclose(centre, image.grid.to_nm(p.centroid), rtol=1e-9)
        assert found.diameter_nm[k] == pytest.approx(p.equivalent_diameter_area * PIXEL, rel=1e-9)


def test_bright_pores_are_the_negative_of_dark_ones(foam):
    dark = quantify(foam[0])
    bright = quantify(foam[0].with_data(-foam[0].data), config=QuantifyConfig(pores="bright"))
    assert bright.count == dark.count == 12
    assert bright.porosity == pytest.approx(dark.porosity, rel=1e-3)


@pytest.mark.parametrize(("faces", "count"), [("ends", 2), ("all", 1), ("none", 3), ("auto", 2)])
def test_objects_that_the_faces_cut_do_not_count(pores, faces, count):
    image = pores((40, 40, 60), [(20, 20, 15), (2, 20, 30), (20, 20, 58)], [7, 7, 7])
    found = quantify(image, config=QuantifyConfig(faces=faces, closing=0))
    assert found.count == count
    assert found.tally["cut"] == 3 - count
    assert found.tally["pore_voxels"] == int((image.data == 0).sum())  # porosity counts them
    assert found.labels is not None and found.labels.max() == 3


def test_a_whole_pore_that_touches_a_cut_one_stays(pores):
    image = pores((50, 40, 40), [(4, 20, 20), (20, 20, 20)], [8, 8.5])
    found = quantify(image)
    assert (found.count, found.tally["cut"]) == (1, 1)
    assert found.diameter_nm[0] == pytest.approx(17 * PIXEL, rel=0.03)


def test_objects_at_the_rim_of_the_field_of_view_are_cut_with_all(pores):
    image = pores((30, 61, 61), [(15, 30, 30), (15, 30, 55)], [7, 7])
    circle = Circle.inscribed(image.grid)
    assert quantify(image, circle=circle, config=QuantifyConfig(faces="all")).count == 1
    assert quantify(image, circle=circle).count == 2


@pytest.mark.parametrize("spacing", [(2.0, 1.0, 1.0), (1.0, 1.0, 2.5)])
def test_voxels_that_are_no_cubes_are_handled(pores, spacing):
    shape = tuple(int(n / s) for n, s in zip((44, 44, 76), spacing, strict=True))
    centres = np.array([(22, 22, 20), (22, 22, 41), (22, 22, 58)]) / spacing
    found = quantify(pores(shape, centres, [11, 10, 7], spacing))
    assert found.count == 3
    np.testing.assert_allclose(np.sort(found.diameter_nm), np.array([14, 20, 22]) * PIXEL, rtol=0.05)
    assert found.sphericity.min() > 0.96


def cylinder(pores, noise=0.05):
    """A cylinder of radius 30 in air, a pore in the middle, two at its surface, and noise."""
    image = pores((40, 71, 71), [(20, 35, 35), (20, 35, 57.5), (20, 13, 35)], [9, 7.5, 8.5])
    grey = image.data.copy()
    y, x = np.mgrid[:71, :71] - 35
    grey[:, np.hypot(y, x) > 30] = 0
    grey += np.random.default_rng(0).normal(0, noise, grey.shape).astype(np.float32)
    return image.with_data(grey), Circle((35 * PIXEL + 100, 35 * PIXEL + 100), 30 * PIXEL)


def test_the_air_around_the_sample_is_no_pore(pores):
    image, bulk = cylinder(pores)
    truth = 4 / 3 * np.pi * (9**3 + 7.5**3 + 8.5**3) / (np.pi * 30**2 * 40)
    by_circle, by_hull = quantify(image, bulk=bulk), quantify(image, bulk="hull")
    for found, tolerance in ((by_circle, 0.02), (by_hull, 0.06)):
        assert found.count == 3
        assert found.porosity == pytest.approx(truth, rel=tolerance)
        np.testing.assert_allclose(np.sort(found.diameter_nm), np.array([15, 17, 18]) * PIXEL, rtol=0.02)
    columns = bulk.mask(image.grid)
    assert quantify(image, bulk=np.broadcast_to(columns, image.grid.shape).copy()).porosity == by_circle.porosity


def test_the_closing_opens_no_thin_wall_between_a_pore_and_the_air(pores):
    image, _ = cylinder(pores, noise=0.0)
    image.data[12:28, 28:42, 7:20] = 0  # a box whose outer wall is one voxel thick
    image.data[12:28, 28:42, 6] = 1
    image.data[:, :, :6] = 0
    columns = np.hypot(*(np.mgrid[:71, :71] - 35)) <= 30
    columns[:, :6] = False
    found = quantify(image, bulk=columns)
    assert found.table["voxels"].max() >= 16 * 14 * 13


def test_a_simulated_foam_is_counted_to_the_last_pore():
    from finescan.simulation import foam, spheres

    grid = Grid.of((96, 96, 96), 1000.0)
    truth = foam.grow_foam(grid, mode="gap filling", count=60, seed=3)
    circle = Circle.inscribed(grid)
    bulk = Circle(circle.centre_nm, truth.cylinder_radius_nm)
    found = quantify(spheres.voxelise(truth, grid), circle=circle, bulk=bulk, config=PLAIN)
    matching = match_spheres(found, truth.position_nm, truth.radius_nm)
    assert (matching.recovery, matching.invented_share, matching.count_ratio) == (1, 0, 1)
    assert found.porosity == pytest.approx(truth.porosity, rel=0.01)
    assert np.nanmean(found.sphericity) == pytest.approx(1, abs=0.01)


def test_nan_outside_the_circle_changes_nothing_and_inside_is_counted(foam):
    image = foam[0]
    circle = Circle.inscribed(image.grid)
    data = image.data.copy()
    data[:, ~circle.mask(image.grid)] = np.nan
    plain, holed = quantify(image, circle=circle), quantify(image.with_data(data), circle=circle)
    assert holed.tally == plain.tally and holed.tally["missing_voxels"] == 0
    data[0, 24, 30:34] = np.nan
    missing = quantify(image.with_data(data), circle=circle)
    assert missing.tally["missing_voxels"] == 4
    assert missing.tally["bulk_voxels"] == plain.tally["bulk_voxels"] - 4
    assert any(n.startswith("4 voxels of the bulk hold no number") for n in missing.notes)


def test_closing_and_filling_mend_pores(pores):
    image = pores((40, 40, 40), [(20, 20, 20)], [12])
    image.data[20, 20, 20] = 1  # one bright voxel
    image.data[12:15, 18:21, 18:21] = 1  # a bright grain that a closing of one voxel does not reach
    full = int((image.data == 0).sum()) + 1 + 27
    assert quantify(image, config=PLAIN).table["voxels"].sum() == full - 28
    assert 0 <= quantify(image).table["voxels"].sum() - (full - 27) < 60
    filled = QuantifyConfig(closing=0, fill=True, depth=None)
    assert quantify(image, config=filled).table["voxels"].sum() == full


def test_specks_are_dropped_and_stated(pores):
    image = pores((30, 30, 30), [(15, 15, 15)], [8])
    image.data[3, 3, 3:6] = 0
    found = quantify(image, config=PLAIN)
    assert (found.count, found.tally["specks"]) == (1, 1)
    assert quantify(image, config=QuantifyConfig(closing=0, min_voxels=1)).count == 2


def test_small_objects_have_no_shape_and_round_ones_are_clipped_and_stated(pores, tmp_path):
    image = pores((40, 40, 60), [(20, 20, 15), (20, 20, 40)], [1.5, 4.0])
    found = quantify(image, config=PLAIN)
    small = int(np.argmin(found.table["voxels"]))
    assert np.isnan(found.sphericity[small]) and np.isnan(found.table["area_nm2"][small])
    assert found.sphericity[1 - small] == 1.0 and found.tally["clipped"] == 1 and found.tally["shapeless"] == 1
    assert found.notes == (
        "1 of 2 objects are too small for a shape and have a size only.",
        next(n for n in found.notes if n.startswith("1 of 2 objects measured rounder than a sphere (at most 1.0")),
    )
    rows = write_csv(tmp_path / "pores.csv", found).read_text().splitlines()
    assert rows[0].startswith("label,voxels,volume_nm3,z_nm,y_nm,x_nm,z_start") and rows[0].endswith(
        "area_nm2,sphericity"
    )
    assert rows[1 + small].endswith(",,") and rows[2 - small].endswith(",1")
    with pytest.raises(OutputError, match=r"pores.csv exists already. Choose another name, or pass overwrite=True"):
        write_csv(tmp_path / "pores.csv", found)
    with pytest.raises(OutputError, match="could not be written"):
        write_csv(tmp_path / "nowhere" / "pores.csv", found)


def test_discs_of_a_picture_are_measured_too(pores):
    found = quantify(pores((80, 120), [(40, 30), (40, 58), (2, 100)], [15, 12.5, 8]), config=PLAIN)
    assert (found.count, found.tally["cut"]) == (2, 1)
    np.testing.assert_allclose(np.sort(found.diameter_nm), np.array([25, 30]) * PIXEL, rtol=0.02)
    assert found.sphericity.min() > 0.95 and "circularity" in found.table and "z_nm" not in found.table
    assert found.labels is not None and found.labels.shape == (80, 120)


def test_no_pores_is_a_clear_result(pores):
    image = pores((20, 20, 20), [], [])
    found = quantify(image, config=QuantifyConfig(threshold=0.5))
    assert (found.count, found.porosity, len(found.sizes.counts)) == (0, 0.0, 1)
    assert found.notes[0].startswith("No pores: no object of at least 8 voxels is darker than 0.5")
    assert found.summary()["sphericity"]["mean"] is None
    assert str(found).startswith("0 pores, porosity 0.00 %")


def test_everything_one_pore_is_a_clear_result(pores):
    image = pores((20, 20, 20), [], [])
    found = quantify(image, config=QuantifyConfig(threshold=2.0))
    assert (found.count, found.porosity) == (0, 1.0)
    assert found.notes[0].startswith("100.0 % of the bulk is one pore: the threshold 2 lies beyond")


def test_only_cut_pores_is_a_clear_result(pores):
    found = quantify(pores((20, 30, 30), [(0, 15, 15)], [6]))
    assert found.notes[0].startswith("No whole pore: all 1 objects are cut by the faces.")


def test_noise_alone_is_said_to_have_no_two_groups():
    noise = np.random.default_rng(0).normal(0, 1, (30, 30, 30)).astype(np.float32)
    found = quantify(Image(noise, Grid.of(noise.shape, PIXEL)))
    assert found.notes[0].startswith("The grey levels do not fall into two groups (contrast 2.7; a flat")


def test_a_lazy_volume_is_read_slice_by_slice(foam):
    class Lazy:
        shape, dtype = foam[0].data.shape, foam[0].data.dtype

        def __getitem__(self, z):
            assert isinstance(z, int), "more than a slice was read"
            return foam[0].data[z]

    assert quantify(foam[0].with_data(Lazy())).tally == quantify(foam[0]).tally


def test_inputs_are_left_as_they_are_and_results_repeat(foam):
    image = foam[0]
    image.data.setflags(write=False)
    first, again = quantify(image), quantify(image)
    np.testing.assert_array_equal(first.labels, again.labels)
    for name, column in first.table.items():
        np.testing.assert_array_equal(column, again.table[name])
    assert quantify(image, keep_labels=False).labels is None
    assert segment(image).count == first.count


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"pores": "black"}, "Pores are 'dark' or 'bright', but 'black' came"),
        ({"faces": "top"}, "faces is one of auto, ends, all, none, but 'top' came"),
        ({"closing": -1}, "closing must be at least 0 steps"),
        ({"min_voxels": 0}, "min_voxels at least 1"),
        ({"depth": -0.1}, "depth must be at least 0 voxels, or None"),
        ({"bin_nm": 0.0}, "bin_nm must be a positive width in nm, but 0.0 came"),
    ],
)
def test_bad_choices_are_named(choice, message):
    with pytest.raises(InputError, match=message):
        QuantifyConfig(**choice)


def test_bad_masks_are_named(foam):
    image = foam[0]
    with pytest.raises(
        InputError, match=r"a bulk mask must be boolean of shape \(52, 48, 64\) or \(48, 64\), but bool of"
    ):
        quantify(image, bulk=np.ones((3, 3), bool))
    with pytest.raises(InputError, match="bulk is a Circle, a mask array or 'hull', but 'solid' came"):
        quantify(image, bulk="solid")
    with pytest.raises(InputError, match=r"the bulk mask holds no voxel of the field of view. Check circle= and bulk="):
        quantify(image, bulk=np.zeros((48, 64), bool))


def test_measurements_print_as_one_line(foam):
    found = quantify(foam[0])
    assert isinstance(found, Measurements)
    assert str(found).startswith("12 pores, porosity ") and "\n" not in str(found)
