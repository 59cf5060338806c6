"""Atom columns: unbiased, as precise as the counts allow, with errors that are true."""

from dataclasses import replace

import numpy as np
import pytest
from lattice_samples import PIXEL, drawn, places
from scipy import ndimage, optimize, spatial

from finescan.errors import InputError
from finescan.io import flatten_lines
from finescan.quantification import find_columns
from finescan.quantification.spot_fit import UsualShape, Windows, disc, fit_spots, sigmas, spot_grey
from finescan.simulation import STEM_FAULTS, lattice_sample, record_stem, simulate_lattice
from finescan.values import Grid, Image

VECTORS = np.array([[0.0, 16.37], [17.41, 3.3]])  # incommensurate with the pixels: every sub-pixel phase occurs
SHAPE = (400, 400)


def errors(image, at):
    """Found columns, their error against the nearest true place, pixels."""
    columns = find_columns(image)
    far, who = spatial.cKDTree(at).query(columns.spots[:, 1:3])
    assert far.max() < 3
    return columns, columns.spots[:, 1:3] - at[who], at[who]


def cramer_rao(at, radius, *, sigma, height, ground, counts):
    """Smallest possible standard deviation (y, x) for a place, pixels: inverse Fisher information of Poisson counts."""
    offset = disc(radius)
    d = offset - (at - np.rint(at))
    bell = np.exp(-0.5 * (d**2).sum(1) / sigma**2)
    u, v = d[:, 0] / sigma, d[:, 1] / sigma
    slopes = np.stack(
        [bell, height * bell * u / sigma, height * bell * v / sigma, height * bell * u * u, height * bell * v * v,
         height * bell * u * v, np.ones(len(d))], 1
    )  # fmt: skip
    mean = ground + height * bell
    return np.sqrt(np.diag(np.linalg.inv((slopes / mean[:, None]).T @ slopes * counts)))[1:3]


@pytest.mark.parametrize("counts", [0.5, 20.0])
def test_columns_are_found_as_precisely_as_counting_allows(counts) -> None:
    at = places(SHAPE, VECTORS)
    columns, miss, true = errors(drawn(SHAPE, at, counts=counts, seed=1), at)
    best = np.array(
        [cramer_rao(p, columns.radius_px, sigma=3.0, height=60.0, ground=10.0, counts=counts) for p in true]
    )
    ratio = np.sqrt((miss**2).mean(0) / (best**2).mean(0))
    assert len(columns) > 350
    assert (ratio < 1.25).all() and (ratio > 0.85).all()
    # and the errors that are told are those that are made
    told = columns.error_nm / PIXEL
    assert np.sqrt((miss**2).mean(0) / (told**2).mean(0)) == pytest.approx([1, 1], abs=0.12)


def test_places_are_not_drawn_to_the_middle_of_pixels() -> None:
    at = places(SHAPE, VECTORS)
    _, miss, true = errors(drawn(SHAPE, at), at)
    inner = ((true > 30) & (true < np.array(SHAPE) - 30)).all(1)  # nothing is known of the neighbours of cut columns
    assert np.abs(miss[inner]).max() < 2e-3
    noisy = [errors(drawn(SHAPE, at, counts=2.0, seed=s), at) for s in range(3)]
    miss, true = (np.concatenate([n[k] for n in noisy]) for k in (1, 2))
    phase = np.floor((true - np.rint(true) + 0.5) * 6).astype(int)
    for axis in (0, 1):
        for k in range(6):
            own = miss[phase[:, axis] == k, axis]
            assert abs(own.mean()) < 3.5 * own.std() / np.sqrt(len(own))


def test_a_spot_is_fitted_as_scipy_fits_it() -> None:
    rng = np.random.default_rng(2)
    offset = disc(9)
    y, x = offset.T
    p = np.array([50.0, 0.31, -0.42, -1.0, -1.3, 0.11, 7.0])
    grey = spot_grey(p[None], offset)[0] + rng.normal(0, 2, len(y))

    def model(q):
        u = np.exp(q[3]) * (y - q[1]) + q[5] * (x - q[2])
        return q[6] + q[0] * np.exp(-0.5 * (u**2 + (np.exp(q[4]) * (x - q[2])) ** 2))

    theirs = optimize.least_squares(lambda q: model(q) - grey, p * 1.05, xtol=1e-13, ftol=1e-13, gtol=1e-13)
    windows = Windows(np.zeros((1, 2), np.int64), offset, grey[None])
    free = UsualShape.round(3.0, 1e4)
    ours = fit_spots(windows, windows.first_guess(np.zeros((1, 2)), 3.0), np.full((1, len(y)), 4.0), free)[0]
    np.testing.assert_allclose(ours, theirs.x, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model(ours), spot_grey(ours[None], offset)[0], rtol=1e-12)


def test_the_axes_of_an_ellipse() -> None:
    turn, long, short = np.radians(30), 4.0, 2.5
    c, s = np.cos(turn), np.sin(turn)
    inverse = np.array([[c, -s], [s, c]]) @ np.diag([1 / long**2, 1 / short**2]) @ np.array([[c, s], [-s, c]])
    # inverse = M^T M with M = [[e^a, c], [0, e^b]]
    ea = np.sqrt(inverse[0, 0])
    skew = inverse[0, 1] / ea
    eb = np.sqrt(inverse[1, 1] - skew**2)
    np.testing.assert_allclose(
        sigmas(np.array([[1, 0, 0, np.log(ea), np.log(eb), skew, 0]])), [[long, short]], rtol=1e-9
    )


def test_neighbours_that_reach_into_the_window_do_not_pull() -> None:
    """Every column has a bright neighbour on one side only."""
    vectors = np.array([[0.0, 24.3], [13.1, 0.4]])
    bright = places(SHAPE, vectors)
    dim = bright + np.array([0.0, 10.5])
    at = np.concatenate([bright, dim])
    heights = np.repeat([60.0, 25.0], len(bright))
    _, miss, true = errors(drawn(SHAPE, at, sigma=2.8, height=heights), at)
    inner = ((true > 40) & (true < np.array(SHAPE) - 40)).all(1)
    assert np.abs(miss[inner]).max() < 0.12  # it would be three pixels


def test_a_heavily_overlapping_noisy_lattice_is_still_unbiased() -> None:
    """Hardly more than three waves, as graphite in an STM: a pixel of noise as strong as the waves."""
    pair = simulate_lattice("stm", pixels=256, zooms=(12, 6), defects=False, seed=5)
    scan = pair.coarse
    columns = find_columns(flatten_lines(scan.image))
    true = scan.columns_nm[scan.in_field()]
    far, who = spatial.cKDTree(true).query(columns.position_nm)
    miss = columns.position_nm - true[who]
    assert len(columns) > 0.7 * len(true) and np.mean(far > 0.08) < 0.01
    assert np.abs(np.median(miss, axis=0)).max() < 0.001
    assert np.median(np.abs(miss)) / 0.6745 == pytest.approx(
        np.median(columns.error_nm), rel=0.35
    )  # jitter comes on top


def test_grey_levels_and_number_formats_make_no_difference() -> None:
    at = places((300, 300), VECTORS)
    image = drawn((300, 300), at, counts=1.0, seed=3)
    plain = find_columns(image)
    brighter = find_columns(image.with_data(-1000 + 7 * image.data))
    np.testing.assert_allclose(brighter.position_nm, plain.position_nm, atol=1e-6)
    np.testing.assert_allclose(brighter.height, 7 * plain.height, rtol=1e-4)
    dark = find_columns(image.with_data(200 - image.data), bright=False)
    np.testing.assert_allclose(dark.position_nm, plain.position_nm, atol=1e-6)
    np.testing.assert_allclose(dark.height, -plain.height, rtol=1e-4)
    whole = find_columns(image.with_data(np.rint(100 * image.data).astype(np.uint16)))
    np.testing.assert_allclose(whole.position_nm, plain.position_nm, atol=1e-4 * PIXEL)
    again = find_columns(image)
    np.testing.assert_array_equal(again.position_nm, plain.position_nm)


def test_errors_stay_true_where_noise_was_smoothed() -> None:
    """Enhanced images have alike neighbours; the errors must not become smaller than what is made."""
    at = places(SHAPE, VECTORS)
    image = drawn(SHAPE, at, counts=0.5, seed=4)
    smooth = image.with_data(ndimage.gaussian_filter(image.data, 1.5))
    columns, miss, _ = errors(smooth, at)
    assert "alike in neighbouring pixels" in columns.notes[0]
    assert np.sqrt((miss**2).mean()) / np.sqrt((columns.error_nm**2).mean()) * PIXEL == pytest.approx(1, abs=0.3)


def test_empty_columns_are_not_found_and_all_others_are() -> None:
    sample = lattice_sample("GaN [11-20]", 6.3, turn_deg=3.0, seed=7)
    scan = record_stem(sample, 0.0124, pixels=480, faults=replace(STEM_FAULTS, drift_nm=0.0), seed=7)
    columns = find_columns(scan.image)
    inside = scan.in_field((columns.radius_px + 2) * 0.0124)
    ga = (sample.species == 0) & inside
    assert (sample.peak[ga] == 0).any()
    there, gone = scan.columns_nm[ga & (sample.peak > 0)], scan.columns_nm[ga & (sample.peak == 0)]
    tree = spatial.cKDTree(columns.position_nm)
    assert tree.query(there)[0].max() < 0.02 and tree.query(gone)[0].min() > 0.1
    assert len(columns) < len(there) + 30  # columns half outside the margin
    assert columns.tally["cut"] > 0 and columns.tally["bad_fits"] == 0
    assert columns.spacing_nm == pytest.approx(0.275, abs=0.003)


def test_noise_has_the_variance_that_the_counts_say() -> None:
    at = places(SHAPE, VECTORS)
    columns = find_columns(drawn(SHAPE, at, counts=2.0, seed=6))
    constant, slope = columns.noise
    assert slope == pytest.approx(0.5, rel=0.1) and abs(constant) < 2  # variance = grey / 2


def test_what_cannot_be_judged_is_refused_with_advice() -> None:
    at = places((200, 200), VECTORS)
    good = drawn((200, 200), at)
    cases = [
        (Image(np.zeros((4, 60, 60)), Grid.of((4, 60, 60), 1.0)), "judged in a picture, but ZYX .* Take one slice"),
        (drawn((40, 40), at), "at least 48 pixels along each edge"),
        (good.with_data(np.full((200, 200), 3.0)), "every pixel has the grey level 3, so there is no lattice"),
        (good.with_data(np.where(good.data > 69.0, np.nan, good.data)), "pixels without a number"),
        (
            good.with_data(np.random.default_rng(0).normal(size=(200, 200))),
            "no lattice was found. .* two in different directions",
        ),
        (
            good.with_data(good.data + np.random.default_rng(0).normal(0, 40, (200, 1))),
            "drawn is not flattened: .* Pass --flatten",
        ),
        (
            Image(good.data, Grid.of((200, 200), (0.02, 0.0124)), "drawn"),
            "its pixels are 1.61 times as long as wide. Resample it to square pixels",
        ),
        (drawn((200, 200), places((200, 200), VECTORS / 5), sigma=0.8), "at least 3.5 pixels apart .* Enhance or"),
    ]
    for image, words in cases:
        with pytest.raises(InputError, match=words):
            find_columns(image)
    with pytest.raises(InputError, match=r"at least 12 whole columns are needed, but 0 were found. .*least-height"):
        find_columns(good, least_height=5.0)


def test_thousands_of_columns_take_seconds() -> None:
    import time

    at = places((1000, 1000), VECTORS)
    image = drawn((1000, 1000), at, counts=2.0)
    find_columns(drawn((200, 200), places((200, 200), VECTORS)))  # compiles
    start = time.process_time()
    columns = find_columns(image)
    assert len(columns) > 3000 and time.process_time() - start < 20
