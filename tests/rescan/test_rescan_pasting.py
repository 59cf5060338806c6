"""Recorded pixels in the place of computed ones: the right place, the right grey levels, a border that fades."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.rescan import Pasted, interval_error, mean_under, measured_share, recorded_on
from finescan.rescan.pasting import FEATHER_PX
from finescan.values import Grid, Image, TrustMap, Warp, flag_bits

MAP = Grid.of((60, 80), 10.0)


def scan_at(y: float, x: float, data: np.ndarray) -> tuple[Image, Warp]:
    """A scan whose first pixel lies at a place of the map, and its warp."""
    grid = Grid.of(data.shape, 10.0)
    return Image(data, grid, "scan"), Warp.affine(np.eye(2), MAP.to_nm([y, x]) - grid.to_nm([0.0, 0.0]))


def wave(y0: float = 0.0, x0: float = 0.0, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (100 + 30 * np.sin((y + y0) / 5) + 20 * np.cos((x + x0) / 6)).astype(np.float32)


def test_whole_pixels_arrive_unchanged_and_the_rest_stays() -> None:
    data = np.random.default_rng(0).integers(0, 255, (30, 40)).astype(np.uint8)
    scan, warp = scan_at(10, 20, data)
    piece = recorded_on(scan, MAP, warp, feather_px=0)
    base = np.full(MAP.shape, 7, np.uint8)
    out = np.asarray(Pasted(base, [piece]))
    assert out.dtype == np.uint8 and np.array_equal(out[10:40, 20:60], data)
    out[10:40, 20:60] = 7
    assert (out == 7).all() and (base == 7).all()


def test_half_a_pixel_and_a_turn_are_resampled() -> None:
    """Against the function itself at the places where the pixels lie."""
    angle = np.radians(3.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    grid = Grid.of((40, 40), 10.0)
    warp = Warp.affine(turn, [105.0, 203.0])
    at = MAP.to_index(warp(grid.to_nm(np.moveaxis(np.indices(grid.shape), 0, -1))))
    recorded = 100 + 30 * np.sin(at[..., 0] / 5) + 20 * np.cos(at[..., 1] / 6)
    piece = recorded_on(Image(recorded.astype(np.float32), grid), MAP, warp)
    inside = piece.weight == 1
    assert inside.sum() > 400
    assert np.abs(piece.grey - wave()[piece.box])[inside].max() < 0.05


def test_the_border_fades_but_not_at_the_edge_of_the_map() -> None:
    scan, warp = scan_at(-0.0, 20, np.full((30, 40), 200.0, np.float32))
    out = np.asarray(Pasted(np.full(MAP.shape, 100.0, np.float32), [recorded_on(scan, MAP, warp)]))
    assert (out[0, 32:48] == 200).all()  # the map ends there
    down = out[:, 40]
    assert (np.diff(down) <= 0).all() and down[29] < 105 and down[29 - int(FEATHER_PX)] == 200 and down[30] == 100


def test_missing_grey_levels_are_not_pasted() -> None:
    data = wave(10, 20, (30, 40))
    data[12:15, 18:22] = np.nan
    scan, warp = scan_at(10, 20, data)
    out = np.asarray(Pasted(np.full(MAP.shape, 1.0, np.float32), [recorded_on(scan, MAP, warp, feather_px=0)]))
    assert (out[22:25, 38:42] == 1).all() and np.isfinite(out).all() and out[20, 38] == pytest.approx(data[10, 18])


def test_where_the_map_holds_nothing_the_recorded_pixel_stands_alone() -> None:
    scan, warp = scan_at(10, 20, np.full((30, 40), 200.0, np.float32))
    base = np.full(MAP.shape, np.nan, np.float32)
    out = np.asarray(Pasted(base, [recorded_on(scan, MAP, warp)]))
    assert (out[12:38, 22:58] == 200).all() and np.isnan(out[:8]).all()
    lost = np.ones(MAP.shape, bool)
    assert (recorded_on(scan, MAP, warp, missing=lost).weight[2:28, 2:38] == 1).all()


def test_two_scans_meet_in_their_mean() -> None:
    pieces = [recorded_on(*_swapped(scan_at(10, 20, np.full((30, 30), v, np.float32)))) for v in (100.0, 200.0)]
    out = np.asarray(Pasted(np.zeros(MAP.shape, np.float32), pieces))
    assert out[25, 35] == pytest.approx(150)
    assert measured_share(pieces, MAP.shape)[25, 35] == 1


def _swapped(made: tuple[Image, Warp]) -> tuple[Image, Grid, Warp]:
    return made[0], MAP, made[1]


def test_bands_are_the_whole() -> None:
    scan, warp = scan_at(10.3, 20.6, wave(10.3, 20.6, (30, 40)))
    pieces = [recorded_on(scan, MAP, warp)]
    pasted = Pasted(np.zeros(MAP.shape, np.uint16), pieces)
    whole = pasted[...]
    assert np.array_equal(np.concatenate([pasted[a : a + 7] for a in range(0, 60, 7)]), whole)
    assert np.array_equal(pasted[5:50, 30:45], whole[5:50, 30:45])
    shares = [measured_share(pieces, MAP.shape, slice(a, a + 7)) for a in range(0, 60, 7)]
    assert np.array_equal(np.concatenate(shares), measured_share(pieces, MAP.shape))


def test_what_does_not_fit_is_counted() -> None:
    scan, warp = scan_at(10, 20, np.full((30, 40), 300.0, np.float32))
    pasted = Pasted(np.zeros(MAP.shape, np.uint8), [recorded_on(scan, MAP, warp, feather_px=0)])
    assert pasted.clipped == 1200 and pasted[...].max() == 255


def test_beside_the_map_there_is_nothing_to_paste() -> None:
    scan, warp = scan_at(500, 20, wave())
    assert recorded_on(scan, MAP, warp) is None
    with pytest.raises(InputError, match="scan holds no grey level at all"):
        recorded_on(Image(np.full((20, 20), np.nan, np.float32), Grid.of((20, 20), 10.0), "scan"), MAP, Warp.identity())


# ------------------------------------------------------------------ what is expected to be wrong
def test_intervals_give_the_expected_error() -> None:
    """Half widths of 1.645 sigma: the mean of sigma squared; saturated ones count more, those without data nothing."""
    coarse = Grid.of((4, 5), 40.0)
    half = np.full((16, 20), 1.645 * 2, np.float32)
    half[:4, :4] = 1.645 * np.sqrt(np.array([1.0, 3.0] * 8, np.float32).reshape(4, 4))
    half[12:, :4] = np.nan
    flags = np.zeros(coarse.shape, np.uint8)
    flags[3, 0], flags[0, 4] = flag_bits("no_data"), flag_bits("saturated")
    error = interval_error(Image(half, coarse.refine(4)), TrustMap(flags, coarse))
    assert error[0, 0] == pytest.approx(2.0) and error[1, 1] == pytest.approx(4.0) and error[3, 0] == 0
    assert error[0, 4] == pytest.approx(16.0)


def test_means_under_coarse_pixels_at_any_ratio() -> None:
    """Against the definition, pixel by pixel."""
    coarse = Grid.of((10, 12), 26.0)
    fine = coarse.refine(2.6)
    data = np.random.default_rng(1).random(fine.shape).astype(np.float32)
    got = mean_under(Image(data, fine), coarse, lambda v: v**2)
    inside = [
        np.clip(np.rint(coarse.to_index(fine.to_nm([(i, i)]))[0]).astype(int), 0, 11) for i in range(max(fine.shape))
    ]
    under: dict[tuple[int, int], list[float]] = {}
    for (y, x), value in np.ndenumerate(data):
        under.setdefault((min(9, inside[y][0]), inside[x][1]), []).append(float(value) ** 2)
    assert all(got[place] == pytest.approx(np.mean(values), rel=1e-5) for place, values in under.items())
    assert len(under) == got.size
