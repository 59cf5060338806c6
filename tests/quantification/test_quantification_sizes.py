"""Size distributions compared, on discs whose sizes are known; distances against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from finescan.errors import InputError
from finescan.quantification import (
    SizeComparison,
    SizeSample,
    area_share,
    calmed,
    choose_objects,
    compare,
    ks_distance,
    measure_alike,
    pooled,
    size_classes,
)
from finescan.quantification.sizes import ks_limit
from finescan.values import Grid, Region

GRID = Grid.of((240, 240), 10.0)
RADII = (3.0, 5.0, 8.0, 11.0)  # one row of six discs each, columns 40 apart


def discs(radii=RADII, level=40.0, ground=160.0):
    """Rows of dark discs with soft edges, radius per row, in pixels."""
    y, x = np.mgrid[:240, :240]
    out = np.full((240, 240), ground)
    for row, radius in enumerate(radii):
        for column in range(6):
            far = np.hypot(y - (30 + 58 * row), x - (20 + 40 * column))
            out = np.minimum(out, level + (ground - level) * np.clip(far - radius + 0.5, 0, 1))
    return out


def noisy(picture, sigma=6.0, seed=0):
    return picture + np.random.default_rng(seed).normal(0, sigma, picture.shape)


@pytest.fixture(scope="module")
def measured():
    """Fine, enhanced (its smallest discs are gone) and coarse (blurred), measured alike."""
    everywhere = np.ones(GRID.shape, bool)
    pictures = {
        "coarse": ndimage.gaussian_filter(discs(), 4.0),
        "enhanced": discs((-1.0, *RADII[1:])),
        "fine": noisy(discs()),
    }
    pictures = {n: calmed(p, everywhere) for n, p in pictures.items()}
    objects = choose_objects(pictures["fine"])
    return objects, measure_alike(pictures, GRID, objects=objects)


# ------------------------------------------------------------------ distances and classes
@pytest.mark.parametrize("sizes", [(5, 9), (40, 40), (1, 300)])
def test_the_distance_is_that_of_scipy(sizes):
    rng = np.random.default_rng(sizes)
    a, b = np.round(rng.lognormal(0, 1, sizes[0]), 1), np.round(rng.lognormal(0.4, 1, sizes[1]), 1)
    assert ks_distance(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)
    assert ks_distance(b, a) == ks_distance(a, b) and ks_distance(a, a) == 0


def test_an_empty_sample_has_no_distance_and_nan_is_left_out():
    assert np.isnan(ks_distance([], [1.0])) and np.isnan(ks_limit(0, 3))
    assert ks_distance([1.0, np.nan], [1.0]) == 0


def test_the_limit_is_exceeded_about_once_in_twenty_times():
    rng = np.random.default_rng(3)
    far = [ks_distance(rng.random(80), rng.random(120)) > ks_limit(80, 120) for _ in range(2000)]
    assert 0.025 < np.mean(far) < 0.065


def test_classes_double_from_one_coarse_pixel_and_hold_every_object_once():
    edges = size_classes(50.0)
    assert edges.tolist() == [0, 50, 100, 200, 400, np.inf]
    sample = SizeSample("fine", np.array([10.0, 50.0, 99.9, 100.0, 5000.0]), 0.1)
    assert sample.per_class(edges).tolist() == [1, 2, 1, 0, 1]
    with pytest.raises(InputError, match="must be positive, but 0 nm came"):
        size_classes(0.0)


# ------------------------------------------------------------------ shares of area
def test_the_share_of_area_counts_pixels_that_count_only():
    objects, counted = np.zeros((128, 128), bool), np.ones((128, 128), bool)
    objects[:, :32] = True
    assert area_share(objects, counted)[0] == 0.25
    counted[:, :32] = False
    assert area_share(objects, counted)[0] == 0
    assert np.isnan(area_share(objects, np.zeros_like(counted))[0])


def test_the_error_of_the_share_grows_when_objects_lie_in_one_place():
    rng = np.random.default_rng(0)
    even = rng.random((512, 512)) < 0.1
    clumped = np.zeros_like(even)
    clumped[:162, :162] = True
    counted = np.ones_like(even)
    (share, error, n), (other, other_error, _) = (area_share(o, counted) for o in (even, clumped))
    assert n >= 24 and share == pytest.approx(other, abs=0.005)
    assert other_error > 10 * error
    # of white noise the error is the binomial one
    assert error == pytest.approx(np.sqrt(0.1 * 0.9 / 512**2), rel=0.5)


def test_blocks_come_from_the_given_regions():
    objects, counted = np.zeros((256, 256), bool), np.ones((256, 256), bool)
    objects[:128] = True
    grid = Grid.of((256, 256), 1.0)
    regions = [Region(grid, (0, 0), (128, 256)), Region(grid, (128, 0), (256, 256))]
    assert area_share(objects, counted, regions)[2] == 16
    assert area_share(objects, counted, regions)[1] > 0.1
    with pytest.raises(InputError, match="two arrays of one 2-D shape"):
        area_share(objects, counted[:3])


# ------------------------------------------------------------------ measuring alike
def test_one_threshold_from_the_fine_scan_serves_all(measured):
    objects, found = measured
    assert objects.kind == "dark" and 60 < objects.threshold.value < 140
    assert {m.threshold.value for m in found.values()} == {objects.threshold.value}
    assert "sets dark objects apart, below" in objects.reason


def test_sizes_are_right_and_blur_loses_the_smallest(measured):
    found = compare(measured[1], area="all", edges_nm=size_classes(80.0), counted=np.ones(GRID.shape, bool),
                    reference="fine")  # fmt: skip
    fine = found.sample("fine")
    assert fine.count == 24
    wanted = np.array([2 * 10 * r for r in RADII])
    np.testing.assert_allclose(np.sort(fine.diameters_nm)[2::6], wanted - [6, 4, 3, 2], atol=4)  # smoothing shrinks
    assert fine.per_class(found.edges_nm).tolist() == [6, 12, 6, 0, 0]
    coarse = found.sample("coarse")
    assert coarse.count < 24 and coarse.per_class(found.edges_nm)[0] == 0
    assert coarse.found + coarse.lost <= 24 and coarse.lost >= 6 and coarse.invented == 0
    assert found.distance("coarse") == pytest.approx(ks_distance(coarse.diameters_nm, fine.diameters_nm))
    enhanced = found.sample("enhanced")
    assert (enhanced.count, enhanced.found, enhanced.lost) == (18, 18, 6)
    assert 6 / 24 <= found.distance("enhanced") <= 0.5 and np.isnan(found.distance("fine"))
    assert (fine.found, fine.reference, coarse.reference) == (None, True, False)


def test_only_objects_whose_centre_lies_in_the_part_belong_to_it(measured):
    part = np.zeros(GRID.shape, bool)
    part[:59, :119] = True  # the smallest discs, first to third column
    found = compare(measured[1], area="part", edges_nm=size_classes(80.0), counted=part, reference="fine")
    assert found.sample("fine").count == 3
    assert (found.sample("coarse").found, found.sample("coarse").lost) == (0, 3)
    discs_nm2 = np.pi / 4 * np.sum(found.sample("fine").diameters_nm ** 2)
    assert found.sample("fine").area_share == pytest.approx(discs_nm2 / (100 * part.sum()), rel=1e-6)


def test_objects_cut_by_the_rim_of_the_field_are_not_counted():
    field = np.ones(GRID.shape, bool)
    field[:, :20] = False  # through the first column of discs
    picture = np.where(field, discs(), np.nan)
    objects = choose_objects(calmed(picture, field))
    found = measure_alike({"fine": calmed(picture, field)}, GRID, objects=objects, field=field)["fine"]
    assert found.count == 20 and found.tally["cut"] == 4
    assert found.tally["bulk_voxels"] == field.sum() and found.tally["missing_voxels"] == 0


def test_smoothing_leaves_the_field_alone():
    picture, field = discs(), np.ones(GRID.shape, bool)
    np.testing.assert_allclose(calmed(picture, field), ndimage.gaussian_filter(picture, 1.0, mode="nearest"), rtol=1e-4)
    field[100:, :] = False
    spoilt = np.where(field, 50.0, 1e9)
    soft = calmed(spoilt, field)
    np.testing.assert_allclose(soft[field], 50.0, rtol=1e-5)
    assert np.isnan(soft[~field]).all()


def test_what_is_measured_and_why():
    plain = noisy(np.full((100, 100), 120.0), 20.0)
    assert choose_objects(plain).kind == "none"
    assert choose_objects(plain).reason == "No valley of the fine scan's grey levels sets dark or bright objects apart."
    forced = choose_objects(plain, "bright")
    assert forced.kind == "bright" and "Otsu's threshold" in forced.reason and "do not fall into two" in forced.reason
    assert choose_objects(discs(), "none").kind == "none"
    bright = choose_objects(200.0 - discs())
    assert bright.kind == "bright" and "bright objects apart, above" in bright.reason
    with pytest.raises(InputError, match=r"one of auto, dark, bright, none, but 'pores' came\."):
        choose_objects(plain, "pores")
    with pytest.raises(InputError, match="nothing to measure"):
        measure_alike({"fine": plain}, Grid.of((100, 100), 1.0), objects=choose_objects(plain))


def test_a_field_of_view_that_is_no_mask_of_the_picture_is_refused():
    with pytest.raises(InputError, match=r"boolean array of \(240, 240\) px .* but bool of \(3, 3\) came"):
        measure_alike({"a": discs()}, GRID, objects=choose_objects(discs()), field=np.ones((3, 3), bool))


# ------------------------------------------------------------------ several fine scans
def test_several_scans_are_pooled_by_area():
    def one(diameters, share, pixels, found):
        sample = SizeSample("fine", np.array(diameters), share, 0.01, 8, pixels, reference=True)
        other = SizeSample("enhanced", np.array(diameters) * 2, share, 0.02, 8, pixels, found, 0, 1)
        return SizeComparison("part", (sample, other), size_classes(10.0), "fine")

    both = pooled([one([10.0, 20.0], 0.1, 3000, 2), one([30.0], 0.3, 1000, 1)])
    fine, enhanced = both.samples
    assert fine.diameters_nm.tolist() == [10.0, 20.0, 30.0]
    assert fine.area_share == pytest.approx(0.15) and fine.area_px == 4000 and fine.blocks == 16
    assert fine.area_error == pytest.approx(np.hypot(0.75, 0.25) * 0.01)
    assert (enhanced.found, enhanced.lost, enhanced.invented, fine.found) == (3, 0, 2, None)
    with pytest.raises(InputError, match="at least one comparison"):
        pooled([])


def test_the_json_says_everything_and_no_nan(measured):
    found = compare(measured[1], area="all", edges_nm=size_classes(80.0), counted=np.ones(GRID.shape, bool),
                    reference="fine")  # fmt: skip
    d = found.to_dict()
    assert d["classes_from_nm"] == [0, 80, 160, 320, 640] and d["against"] == "fine"
    assert d["rows"]["fine"]["objects"] == 24 and "ks_distance" not in d["rows"]["fine"]
    assert d["rows"]["coarse"]["ks_distance"] == found.distance("coarse")
    assert all(v is None or v == v for row in d["rows"].values() for v in row.values() if not isinstance(v, list))
