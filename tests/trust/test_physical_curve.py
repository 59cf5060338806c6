"""Curves in pictures recorded apart: known places, blurred and perfect methods, pieces that do not belong."""

import json

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust.physical import match_piece
from finescan.trust.physical_curve import PhysicalCurve, credible, physical_curve

FACTOR, SPAN = 2, 8.0
SEARCH = {"scales": (0.96, 0.98, 1.0, 1.02), "turns_deg": (-1.0, 0.0, 1.0), "per_side": 1, "piece_px": 64}


def scene(side=256, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), 4.0)
    return noise / noise.std()


def recorded(noise=0.05):
    """A coarse and a fine picture of one scene; the fine one moved by (3, -2) px, with noise of its own."""
    truth, rng = scene(), np.random.default_rng(7)
    coarse = truth[::FACTOR, ::FACTOR]
    fine = np.roll(truth, (3, -2), (0, 1))
    return (a + noise * rng.standard_normal(a.shape) for a in (coarse, fine))


def cubic(picture):
    return ndimage.zoom(picture, FACTOR, order=3, mode="nearest", grid_mode=True)


def nearest(picture):
    return np.kron(picture, np.ones((FACTOR, FACTOR)))


def dim(picture):
    return 5 + 0.25 * cubic(picture)


METHODS = {"bicubic": cubic, "nearest": nearest}


@pytest.fixture(scope="module")
def found():
    return physical_curve(*recorded(), (1.0, 0.5), FACTOR, METHODS, data_range=SPAN, **SEARCH)


def test_pieces_lie_where_they_were_recorded(found):
    assert found.percent == (100.0, 200.0) and found.found == found.tried == (1, 1)
    for placed, ratio, side in zip(found.placed, found.ratios, found.piece_px, strict=True):
        start, centre = np.array(placed[0].start), placed[0].centres["bicubic"]
        moved = np.array((3.0, -2.0)) * ratio
        # a coarse pixel k of the scene's every second one lies at fine pixel 2 k; its enlarged version half a pixel on
        expected = FACTOR * start + (side - 1) / 2 - (FACTOR - 1) / 2 + moved
        np.testing.assert_allclose(centre, expected, atol=0.8)
        assert placed[0].scales["bicubic"] == pytest.approx(1.0, abs=5e-3)


def test_scores_are_those_of_the_matched_piece(found):
    coarse, fine = recorded()
    y, x = found.placed[-1][0].start
    piece = cubic(coarse.astype(np.float32))[2 * y : 2 * y + 64, 2 * x : 2 * x + 64]
    match = match_piece(piece, fine, data_range=SPAN, scales=SEARCH["scales"], turns_deg=SEARCH["turns_deg"])
    gain, offset = np.polyfit(piece[match.known], match.fine[match.known], 1)
    error = np.sqrt(np.mean((gain * piece + offset - match.fine)[match.known] ** 2))
    alone = physical_curve(coarse, fine, (1.0,), FACTOR, {"bicubic": cubic}, data_range=SPAN, **SEARCH)
    assert alone.curve.scores["bicubic"]["psnr"][0] == pytest.approx(20 * np.log10(SPAN / error), abs=0.05)
    assert found.curve.gains("nearest")[-1] < -1


def test_all_methods_share_their_places_or_have_their_own(found):
    assert all(p.centres["bicubic"] == p.centres["nearest"] for row in found.placed for p in row)
    own = physical_curve(*recorded(), (1.0,), FACTOR, METHODS, data_range=SPAN, places="own", **SEARCH)
    one = own.placed[0][0]
    assert one.centres["bicubic"] != one.centres["nearest"]
    np.testing.assert_allclose(one.centres["bicubic"], one.centres["nearest"], atol=0.5)


def test_gain_and_offset_of_a_method_do_not_count():
    methods = {"bicubic": cubic, "dim": dim}
    found = physical_curve(*recorded(), (1.0,), FACTOR, methods, data_range=SPAN, **SEARCH)
    assert found.curve.gains("dim")[0] == pytest.approx(0, abs=1e-3)


def test_the_published_rule_is_selectable_and_refuses_nothing():
    other = scene(seed=5)
    found = physical_curve(
        other[::2, ::2], scene(), (1.0,), FACTOR, METHODS, data_range=SPAN, rule="published", **SEARCH
    )
    assert found.found == (1,) and found.curve.kernel == "published" and found.rule == "published"


def test_pieces_of_another_sample_are_refused():
    other = scene(seed=5)
    with pytest.raises(InputError, match=r"Only 0 of 1 pieces were found .* correlate by less than 0.5"):
        physical_curve(other[::2, ::2], scene(), (1.0,), FACTOR, METHODS, data_range=SPAN, **SEARCH)


def test_a_match_at_the_end_of_the_search_is_not_credible():
    truth = scene()
    match = match_piece(
        ndimage.zoom(truth, 1.06, order=3)[60:130, 60:130], truth, scales=(0.97, 1.0), turns_deg=(0.0, 1)
    )
    assert not credible(match, (0.97, 1.0), (-1.0, 1.0)) and match.correlation > 0.5
    assert credible(match, (0.9, 1.1), (-1.0, 1.0))


def test_a_curve_survives_json(found):
    again = PhysicalCurve.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    table = found.table()
    assert table["found"] == [1, 1] and table["bicubic psnr"] == found.curve.scores["bicubic"]["psnr"]


def test_a_level_with_few_pieces_has_no_scores(monkeypatch):
    monkeypatch.setattr("finescan.trust.physical_curve.credible", lambda match, *_: match.piece.shape == (96, 96))
    options = {**SEARCH, "piece_px": 96}
    found = physical_curve(*recorded(), (0.5, 1.0), FACTOR, METHODS, data_range=SPAN, **options)
    assert found.found == (0, 1) and found.piece_px == (88, 96) and found.curve.percent == (200.0,)
    table = found.table()
    assert table["percent"] == [100.0, 200.0] and table["nearest ms_ssim"][0] is None and table["nearest psnr"][1] > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rule": "magic"}, "matched by the rule robust or published, but 'magic' came"),
        ({"places": "mine"}, "at places that are shared or own, but 'mine' came"),
        ({"metrics": ("mse2",)}, "Metrics are some of .* but mse2 came"),
        ({"ratios": (1.5,)}, "above 0 and at most 1, the fine picture's own, but 1.5 came"),
        ({"methods": {}}, "A curve needs methods, but none came"),
        ({"methods": {"same": lambda a: a}}, "same must answer .* but gave"),
        ({"ratios": (0.2,)}, "Pieces of at least 48 px are matched, but a level of 25 x 25 coarse and 51 x 51 fine px"),
        ({"coarse": np.full((128, 128), np.nan)}, "The coarse picture must be \\(h, w\\) finite grey levels"),
    ],
)
def test_refusals(change, words):
    coarse, fine = recorded()
    options = {"coarse": coarse, "fine": fine, "ratios": (1.0,), "sr_factor": FACTOR, "methods": METHODS, **SEARCH}
    with pytest.raises(InputError, match=words):
        physical_curve(data_range=SPAN, **{**options, **change})
