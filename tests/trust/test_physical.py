"""Pieces found in separately recorded pictures: known places, scikit-image's correlation, and lattices that repeat."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.feature import match_template

from finescan.errors import InputError
from finescan.trust.physical import Match, match_piece, pearson_map


def texture(shape=(260, 280), seed=0):
    return ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3.0)


def seen_in(fine, centre, shape, *, scale=1.0, turn_deg=0.0, noise=0.0, gain=1.0, offset=0.0):
    """A piece that must be enlarged by ``scale`` and turned clockwise by ``turn_deg`` to lie at ``centre``."""
    angle = np.radians(turn_deg)
    y, x = (np.indices(shape).T - (np.array(shape)[::1] - 1) / 2).T
    where = [
        centre[0] + scale * (np.cos(angle) * y + np.sin(angle) * x),
        centre[1] + scale * (-np.sin(angle) * y + np.cos(angle) * x),
    ]
    piece = ndimage.map_coordinates(fine, where, order=3)
    return gain * piece + offset + noise * np.random.default_rng(1).standard_normal(shape)


def test_pearson_is_that_of_scikit_image():
    picture, piece = texture((60, 70)), texture((16, 20), 3)
    np.testing.assert_allclose(pearson_map(picture, piece), match_template(picture, piece), atol=1e-6)
    flat = picture.copy()
    flat[:30, :40] = 1.0
    assert pearson_map(flat, piece)[3, 3] == 0.0


@pytest.mark.parametrize(
    ("scale", "turn", "noise", "shape"),
    [
        (1.0, 0.0, 0.0, (90, 80)),
        (1.043, -1.3, 0.0, (131, 124)),  # large enough to be looked for on every second pixel
        (0.951, 2.2, 0.05, (90, 81)),
        (1.017, 0.6, 0.12, (130, 121)),
    ],
)
def test_place_scale_and_turn_are_found(scale, turn, noise, shape):
    fine = texture()
    noisy = fine + noise * np.random.default_rng(2).standard_normal(fine.shape)
    piece = seen_in(fine, (118.3, 151.7), shape, scale=scale, turn_deg=turn, noise=noise, gain=3.0, offset=7.0)
    found = match_piece(piece, noisy)
    far = np.hypot(found.centre[0] - 118.3, found.centre[1] - 151.7)
    assert far < (0.25 if noise else 0.1), found
    assert found.scale == pytest.approx(scale, abs=2e-3 + 0.06 * noise) and found.turn_deg == pytest.approx(
        turn, abs=0.1 + 2 * noise
    )
    assert found.rivals == 0 and found.correlation > 0.9
    assert found.fine.shape == piece.shape and found.known.mean() > 0.95
    r = np.corrcoef(found.piece[found.known], found.fine[found.known])[0, 1]
    assert r > (0.6 if noise else 0.99)


def test_a_lattice_has_rivals_and_a_texture_none():
    y, x = np.indices((200, 200))
    lattice = np.cos(2 * np.pi * y / 12.5) + np.cos(2 * np.pi * x / 14.2)
    piece = lattice[70:130, 60:130]
    found = match_piece(piece, lattice)
    assert found.rivals > 20 and found.second > 0.98
    assert "other places fit as well" in str(found)
    assert match_piece(texture()[70:130, 60:130], texture()).rivals == 0


def test_polishing_stays_near_what_was_searched_where_noise_is_strong():
    rng = np.random.default_rng(9)
    calm = ndimage.gaussian_filter(rng.standard_normal((200, 200)), 25)
    fine, piece = (calm / calm.std() + 2 * rng.standard_normal(calm.shape) for _ in range(2))
    found = match_piece(piece[60:130, 60:130], fine, scales=(0.98, 1.0, 1.02), turns_deg=(-0.5, 0.0, 0.5))
    assert abs(found.scale - 1) < 0.037 and abs(found.turn_deg) < 1  # without a limit: 1.22 and 3.2 degrees


@pytest.mark.parametrize(("ground", "turns"), [(0.0, True), (100.0, False)])
def test_the_published_rule_turns_dark_pictures_only_because_its_corners_are_black(ground, turns):
    fine = ground + 400 * np.maximum(texture() - 0.05, 0)
    scale, turn = float(np.linspace(0.9, 1.1, 25)[15]), float(np.linspace(-3, 3, 25)[20])
    piece = seen_in(fine, (118.0, 151.0), (90, 80), scale=scale, turn_deg=turn)
    found, ours = match_piece(piece, fine, rule="published"), match_piece(piece, fine)
    assert found.scale == pytest.approx(scale, abs=0.018) and np.hypot(found.centre[0] - 118, found.centre[1] - 151) < 2
    assert found.turn_deg == (pytest.approx(turn, abs=0.51) if turns else 0.0)
    assert ours.turn_deg == pytest.approx(turn, abs=0.1)
    assert found.piece.shape == found.fine.shape and found.known.all()
    assert (found.piece[0, 0] == 0.0 and ours.piece[0, 0] == piece[0, 0]) or not turns


def test_the_published_correlation_is_drawn_to_bright_places_and_ours_is_not():
    fine = 100 + 20 * texture()
    piece = fine[60:120, 50:120].copy()
    fine[180:250, 180:260] += 3000 * (texture((70, 80), 9) > 0)  # contrast that swamps every product
    ours, published = match_piece(piece, fine), match_piece(piece, fine, rule="published")
    assert np.hypot(ours.centre[0] - 89.5, ours.centre[1] - 84.5) < 0.5
    assert np.hypot(published.centre[0] - 89.5, published.centre[1] - 84.5) > 50


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p, f: (p[:20], f, {}), "at least 24 x 24 px, but \\(20, 80\\)"),
        (lambda p, f: (f, f, {}), "looked for in a larger picture, but that has 260 x 280 px. Cut a smaller piece"),
        (lambda p, f: (p * np.nan, f, {}), "The piece holds pixels without a number"),
        (lambda p, f: (p, f * 0, {}), "The fine picture has one grey level only"),
        (lambda p, f: (p, f, {"rule": "magic"}), "by the rule robust or published, but 'magic' came"),
        (lambda p, f: (p, f, {"by": "mse"}), "by 'ssim' or 'psnr', but 'mse' came"),
    ],
)
def test_refusals(change, words):
    piece, fine, options = change(texture()[50:140, 60:140], texture())
    with pytest.raises(InputError, match=words):
        match_piece(piece, fine, **options)


def test_facts():
    found = Match((1.0, 2.0), 1.01, -0.5, 0.9, 0, 0.3, np.zeros((2, 2)), np.zeros((2, 2)), np.ones((2, 2), bool))
    assert found.to_dict() == {
        "centre": [1.0, 2.0], "scale": 1.01, "turn_deg": -0.5, "correlation": 0.9, "rivals": 0, "second": 0.3,
    }  # fmt: skip
