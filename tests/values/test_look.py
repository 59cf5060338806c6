"""Looks: known statistics are found, whatever is missing, wherever the image lies."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from skimage.feature import structure_tensor

from finescan.errors import InputError, ModelError
from finescan.values import Look, look_of, look_of_parts
from finescan.values.look import BAND_EDGES, BANDS, FEATURES, QUANTILES, band_power, tile_features, white_shares


def white(shape=(256, 256), mean=100.0, sigma=20.0, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, sigma, shape)


def waves(period, shape=(256, 256), angle_deg=30.0) -> np.ndarray:
    y, x = np.indices(shape)
    t = np.radians(angle_deg)
    return np.sin(2 * np.pi * (x * np.cos(t) + y * np.sin(t)) / period)


def band_of(period: float) -> str:
    return BANDS[max(k for k, edge in enumerate(BAND_EDGES) if 1 / period <= edge)]


# ---------------------------------------------------------------------------------------- known answers
@pytest.mark.parametrize(
    ("sigma", "dtype"), [(20.0, np.float64), (5.0, np.float32), (12.0, np.uint8), (900.0, np.uint16)]
)
def test_white_noise_of_a_known_sigma_has_that_sigma(sigma, dtype):
    image = white(mean=100 if sigma < 100 else 20000, sigma=sigma).astype(dtype)
    look = look_of(image)
    assert look.noise == pytest.approx(sigma, rel=0.03)
    assert (look.mean, look.std) == (pytest.approx(image.mean(), rel=1e-3), pytest.approx(sigma, rel=0.02))


def test_noise_is_found_under_structure():
    image = 100 * waves(40) + white(sigma=4.0)
    assert look_of(image).noise == pytest.approx(4.0, rel=0.1)
    assert look_of(image).std > 60


def test_quantiles_of_normal_grey_levels_are_those_of_the_normal_distribution():
    expected = 100 + 20 * stats.norm.ppf(QUANTILES)
    assert look_of(white((512, 512))).quantiles == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("period", [2.4, 3.3, 4.8, 6.9])
def test_a_wave_of_a_known_period_fills_the_right_band(period):
    look = look_of(waves(period))
    power = {n: np.exp(look.typical[n]) for n in BANDS}
    assert max(power, key=power.get) == band_of(period)
    assert power[band_of(period)] > 0.8
    assert sum(power.values()) == pytest.approx(1.0, abs=0.05)


def test_power_in_the_bands_adds_up_to_the_variance_and_is_even_for_white_noise():
    tiles = white((4000, 32, 32), mean=0.0, sigma=3.0)
    power = band_power(tiles - tiles.mean(axis=(1, 2), keepdims=True)).mean(axis=0)
    assert power.sum() == pytest.approx(9.0, rel=0.03)
    assert power[:6] / power.sum() == pytest.approx(white_shares()[:6], rel=0.05)


def test_a_slope_is_not_taken_for_structure():
    y, x = np.indices((256, 256))
    plain, steep = white(mean=0, sigma=1.0), white(mean=0, sigma=1.0) + 0.2 * x + 0.1 * y
    powers = [band_power((a[:32, :32] - a[:32, :32].mean())[None])[0] for a in (plain, steep)]
    assert powers[1][:-1] == pytest.approx(powers[0][:-1], rel=0.05)


def test_stripes_are_parallel_and_noise_is_not():
    striped, noisy = look_of(waves(6.0)), look_of(white())
    assert striped.typical["orientation"] > 0.95
    assert noisy.typical["orientation"] < 0.2
    # the same by an independent structure tensor on whole tiles
    tile = waves(6.0)[:32, :32] + 0.3 * white((32, 32), 0, 1)
    yy, yx, xx = (a[2:-2, 2:-2].sum() for a in structure_tensor(tile, sigma=0.1, order="rc"))
    expected = np.hypot(yy - xx, 2 * yx) / (yy + xx)
    assert tile_features(tile[None])["orientation"][0] == pytest.approx(expected, abs=0.05)


def test_skew_is_that_of_the_halved_image_and_changes_sign_with_the_contrast():
    rng = np.random.default_rng(1)
    blobs = rng.gamma(2.0, 1.0, (128, 128)).repeat(2, 0).repeat(2, 1)
    skew = look_of(blobs).typical["skew"]
    halved = blobs[::2, ::2].reshape(8, 16, 8, 16).swapaxes(1, 2).reshape(64, 256)
    assert skew == pytest.approx(stats.skew(halved, axis=1).mean(), rel=0.02)
    assert look_of(-blobs).typical["skew"] == pytest.approx(-skew)


def test_edges_count_what_noise_does_not_have():
    plain = white(mean=0, sigma=1.0)
    cells = 10 * (np.indices((256, 256)) // 24).sum(axis=0) % 20
    noise, edged = (np.exp(look_of(a).typical["edges"]) - 0.01 for a in (plain, plain + cells))
    assert noise == pytest.approx(0.002, abs=0.001)
    assert edged > 0.05


def test_busy_and_quiet_places_are_told_apart():
    image = white(mean=0, sigma=1.0)
    image[:, ::16] *= 1
    image[:, np.arange(256) % 32 < 16] *= 8
    typical = look_of(image).typical
    assert np.exp(typical["busy"]) / np.exp(typical["quiet"]) == pytest.approx(8, rel=0.25)


# ---------------------------------------------------------------------------------------- invariance
def test_gain_and_offset_change_the_grey_levels_and_nothing_else():
    image = 30 * waves(7.0) + white(sigma=3.0)
    look, other = look_of(image), look_of(2.5 * image - 40)
    assert other.typical == pytest.approx(look.typical, abs=1e-9)
    assert other.spread == pytest.approx(look.spread, abs=1e-9)
    mapped = look.mapped(2.5, -40)
    assert (mapped.mean, mapped.std, mapped.noise) == pytest.approx((other.mean, other.std, other.noise))
    assert mapped.quantiles == pytest.approx(other.quantiles)
    with pytest.raises(InputError, match=r"positive gain, but -1 came"):
        look.mapped(-1, 0)


def test_the_spread_tells_even_samples_from_patchy_ones():
    even = white()
    patchy = even + 40 * (np.indices((256, 256)) // 64).sum(axis=0)
    assert look_of(patchy).spread["level"] > 5 * look_of(even).spread["level"]


# ---------------------------------------------------------------------------------------- what is missing
def test_what_is_masked_or_missing_does_not_count():
    clean = white((192, 192))
    dirty = clean.copy()
    dirty[:, 96:] = 1000 * waves(3.0, (192, 96))
    mask = np.zeros(clean.shape, bool)
    mask[:, :96] = True
    masked = look_of(dirty, mask)
    dirty[:, 96:] = np.nan
    missing = look_of(dirty)
    for look in (masked, missing):
        assert (look.mean, look.noise) == (pytest.approx(100, abs=1), pytest.approx(20, rel=0.05))
        assert look.tiles == pytest.approx(18, abs=0.5)
        assert look.typical == pytest.approx(look_of(clean[:, :96]).typical, abs=0.12)


def test_holes_hardly_change_the_statistics():
    image = 40 * waves(6.0) + white(sigma=5.0)
    holed = image.copy()
    holed[::11, ::7] = np.nan
    whole, with_holes = look_of(image), look_of(holed)
    assert with_holes.noise == pytest.approx(whole.noise, rel=0.05)
    assert all(np.isfinite(v) for v in with_holes.typical.values())
    for name in ("level", "contrast", "edges", "skew", "typical", "busy", "band 3", "band 4"):
        assert with_holes.typical[name] == pytest.approx(whole.typical[name], abs=0.2), name


def test_areas_smaller_than_a_tile_still_have_a_look():
    mask = np.zeros((200, 200), bool)
    mask[90:114, 50:74] = True
    look = look_of(white((200, 200)), mask)
    assert look.tiles == pytest.approx(24**2 / 32**2)
    assert look.noise == pytest.approx(20, rel=0.2)
    assert look_of(white((20, 25))).tiles == pytest.approx(500 / 1024)


def test_every_pixel_of_a_small_area_counts_once():
    image = white((150, 150)) + np.arange(150)
    mask = np.zeros((150, 150), bool)
    mask[40:110, 30:85] = mask[20:60, 70:120] = True
    look = look_of(image, mask)
    assert (look.mean, look.std) == (pytest.approx(image[mask].mean()), pytest.approx(image[mask].std()))
    assert look.quantiles == pytest.approx(np.quantile(image[mask], QUANTILES))


def test_parts_are_taken_together():
    dark, bright = white(mean=100), white(mean=140, seed=1)
    both = look_of_parts([(dark, None), (bright, None)])
    assert both.mean == pytest.approx(120, abs=0.5)
    assert both.std == pytest.approx(np.hypot(20, 20), rel=0.02)
    assert both.tiles == pytest.approx(look_of(dark).tiles + look_of(bright).tiles)
    many = look_of_parts([(white((32, 32), seed=k), None) for k in range(900)])
    assert many.tiles <= 400


# ---------------------------------------------------------------------------------------- large maps
class Counting:
    """An array that is not there: grey levels are made up where they are read, and counted."""

    def __init__(self, shape):
        self.shape, self.read = shape, 0

    def __getitem__(self, where):
        rows, columns = (np.arange(*w.indices(n)) for w, n in zip(where, self.shape, strict=True))
        self.read += len(rows) * len(columns)
        return 100 + 20 * np.sin(rows[:, None] * 1.3) * np.cos(columns * 0.9)


def test_of_a_large_map_only_some_tiles_are_read_always_the_same():
    map_ = Counting((60_000, 40_000))
    look = look_of(map_)
    assert map_.read <= 400 * 32 * 32
    assert look.tiles > 300
    assert look_of(Counting((60_000, 40_000))) == look
    small = look_of(Counting((600, 400)))
    assert look.typical["band 4"] == pytest.approx(small.typical["band 4"], abs=0.1)


def test_the_input_is_left_alone():
    image = white()
    image.flags.writeable = False
    before = image.copy()
    look_of(image)
    assert np.array_equal(image, before)


# ---------------------------------------------------------------------------------------- writing, refusing
def test_a_look_survives_json():
    look = look_of(white())
    assert Look.from_dict(json.loads(json.dumps(look.to_dict(), allow_nan=False))) == look
    assert str(look).startswith("mean grey 100, standard deviation 19.99, noise 20")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "red"}, "unknown"),
        ({"typical": {"noise": 1.0}}, "lack level, contrast"),
        ({"quantiles": [1.0, 2.0]}, "lack quantiles"),
    ],
)
def test_damaged_statistics_are_refused(change, words):
    with pytest.raises(ModelError, match=words):
        Look.from_dict({**look_of(white()).to_dict(), **change})


def test_statistics_of_nothing_are_refused():
    with pytest.raises(InputError, match=r"need different grey levels, but all are 7"):
        look_of(np.full((64, 64), 7))
    with pytest.raises(InputError, match=r"a part of 32 x 32 px with grey levels, but everything is missing"):
        look_of(np.full((64, 64), np.nan))
    with pytest.raises(InputError, match="everything is missing"):
        look_of(white(), np.zeros((256, 256), bool))


def test_flat_and_cut_off_tiles_have_finite_features():
    image = white((128, 128))
    image[:64] = 0.0
    look = look_of(image.clip(0, 110))
    assert set(look.typical) == set(look.spread) == set(FEATURES)
    assert all(np.isfinite([*look.typical.values(), *look.spread.values()]))
