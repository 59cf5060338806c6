"""Pictures and figures against known answers."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from finescan.errors import InputError
from finescan.reporting import (
    Score,
    Series,
    checkerboard,
    colour_map,
    crop_layer,
    flags_overview,
    grey_window,
    histogram_series,
    line_plot,
    overview_layer,
    overview_of,
    png_data_uri,
    residual_arrows,
)
from finescan.reporting import figures as figures_module
from finescan.reporting import pictures as pictures_module
from finescan.reporting.figures import nice
from finescan.reporting.sections import mean_and_error
from finescan.reporting.strip import GAP_PX, TITLE_PX, write_strip
from finescan.values import Grid, Image, Residual, TrustMap


def _numbers(path: str) -> np.ndarray:
    return np.array(re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path), float)


def _curves(svg: str) -> list[np.ndarray]:
    paths = [e.get("d") for e in ElementTree.fromstring(svg).iter("path") if "curve" in e.get("class", "")]
    return [_numbers(d) for d in paths if "h30" not in d]


def test_a_checkerboard_takes_turns() -> None:
    board = checkerboard(np.zeros((16, 32)), np.ones((16, 32)), tiles=4)
    assert board[0, 0] == 0 and board[0, 8] == 1 and board[8, 0] == 1 and board[8, 8] == 0
    assert board.mean() == 0.5
    with pytest.raises(InputError, match=r"one 2D shape, but \(2, 2\) and \(3, 3\) came"):
        checkerboard(np.zeros((2, 2)), np.zeros((3, 3)))


def test_a_checkerboard_keeps_the_number_format() -> None:
    a = np.full((5, 5), 60000, np.uint16)
    assert checkerboard(a, a).dtype == np.uint16


@pytest.mark.parametrize("shape", [(64, 64), (101, 37), (7, 250)])
def test_an_overview_is_the_mean_of_blocks_to_the_last_border_pixel(shape: tuple[int, int]) -> None:
    data = np.random.default_rng(0).integers(0, 65536, shape, np.uint16)
    small = overview_of(data, 20)
    block = -(-max(shape) // 20)
    padded = np.full([-(-n // block) * block for n in shape], np.nan)
    padded[: shape[0], : shape[1]] = data
    blocks = padded.reshape(padded.shape[0] // block, block, padded.shape[1] // block, block)
    np.testing.assert_allclose(small, np.nanmean(blocks, axis=(1, 3)), rtol=1e-6)


def test_an_overview_is_read_band_by_band(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy:
        shape, dtype = (1000, 200), np.dtype(np.uint8)
        largest = 0

        def __getitem__(self, rows: slice) -> np.ndarray:
            part = np.arange(1000, dtype=np.float64)[rows, None].repeat(200, 1)
            Lazy.largest = max(Lazy.largest, part.size)
            return part

    monkeypatch.setattr(pictures_module, "_BAND", 4000)
    small = overview_of(Lazy(), 100)
    np.testing.assert_allclose(small[:, 0], np.arange(1000).reshape(100, 10).mean(1))
    assert Lazy.largest <= 4000


def test_a_small_array_is_its_own_overview() -> None:
    data = np.arange(6, dtype=np.int16).reshape(2, 3)
    assert overview_of(data, 3).dtype == np.int16 and np.array_equal(overview_of(data, 3), data)


def test_an_overview_layer_knows_the_size_of_its_pixels() -> None:
    image = Image(np.zeros((100, 45)), Grid.of((100, 45), (2.0, 3.0)))
    layer = overview_layer("coarse", image, 30)
    assert layer.data.shape == (25, 12) and layer.pixel_size_nm == (8.0, 12.0)


def test_a_single_flagged_pixel_survives_the_overview() -> None:
    flags = np.zeros((1000, 1000), np.uint8)
    flags[777, 123], flags[778, 123] = 2, 8
    small = flags_overview(TrustMap(flags, Grid.of(flags.shape, 1.0)), 100)
    assert small.flags.shape == (100, 100) and small.grid.pixel_size_nm == (10.0, 10.0)
    assert small.flags[77, 12] == 10 and np.count_nonzero(small.flags) == 1


def test_a_crop_holds_untouched_pixels_in_their_true_place() -> None:
    data = np.arange(400, dtype=np.uint16).reshape(20, 20)
    image = Image(data, Grid.of((20, 20), 10.0, 105.0))  # first pixel's edge at 100 nm
    layer = crop_layer("coarse", image, (134.0, 150.0), (32.0, 30.0))
    assert np.array_equal(layer.data, data[3:7, 5:8])
    assert layer.offset_nm == pytest.approx((-4.0, 0.0)) and layer.pixel_size_nm == (10.0, 10.0)


def test_a_grey_window_leaves_out_outliers_and_missing_values() -> None:
    data = np.linspace(0, 1, 100_000).reshape(250, 400)
    data[0, :20], data[1, :9] = 1e9, np.nan
    low, high = grey_window([data, data + 1])
    assert low == pytest.approx(0.002, abs=2e-3) and high == pytest.approx(2.0, abs=2e-2)
    assert grey_window([np.full((3, 3), 7)]) == (6.5, 7.5)
    assert grey_window([np.full((3, 3), np.nan)]) == (0.0, 1.0)


def test_a_png_is_lossless_and_other_formats_need_a_window() -> None:
    data = np.random.default_rng(0).integers(0, 256, (9, 31), np.uint8)
    decoded = Pillow.open(io.BytesIO(base64.b64decode(png_data_uri(data).split(",")[1])))
    assert np.array_equal(np.asarray(decoded), data)
    with pytest.raises(InputError, match=r"Only uint8 data .* without a grey window, but float64 came"):
        png_data_uri(data.astype(float))


def test_histograms_share_bins_and_add_up() -> None:
    a = np.array([[1, 1, 2, 3]], np.uint8)
    b = np.array([[3, 3, 3, 200]], np.uint8)
    one, two = histogram_series({"a": a, "b": b}, bins=256)
    assert np.array_equal(one.x, two.x)
    assert dict(zip(one.x, one.y, strict=True))[1.0] == 50.0
    assert dict(zip(two.x, two.y, strict=True))[3.0] == 75.0
    assert np.sum(one.y) == pytest.approx(100) and np.sum(two.y) == pytest.approx(100)


def test_a_curve_lies_where_its_values_say() -> None:
    svg = line_plot([Series("a", [0.0, 1.0, 2.0], [0.0, 10.0, 20.0])], "x", "y")
    points = _curves(svg)[0]
    steps = np.diff(points, axis=0)
    np.testing.assert_allclose(steps[0], steps[1], atol=0.11)
    assert steps[0][0] > 0 > steps[0][1], "larger y lies higher"


def test_logarithmic_axes_make_a_power_law_straight_and_leave_out_zero() -> None:
    x = np.array([0.0, 1.0, 10.0, 100.0])
    series = Series("a", x, np.r_[1.0, x[1:] ** -2])
    points = _curves(line_plot([series], "x", "y", log_x=True, log_y=True))[0]
    assert len(points) == 3
    np.testing.assert_allclose(np.diff(points, axis=0)[0], np.diff(points, axis=0)[1], atol=0.11)


def test_a_gap_in_a_curve_stays_a_gap() -> None:
    svg = line_plot([Series("a", [0.0, 1.0, 2.0, 3.0], [1.0, np.nan, 2.0, 3.0])], "x", "y")
    path = next(e.get("d") for e in ElementTree.fromstring(svg).iter("path") if "curve" in e.get("class", ""))
    assert path.count("M") == 2 and len(_numbers(path)) == 3


@pytest.mark.parametrize("y", [[], [5.0, 5.0], [np.nan, np.nan], [1e-30, 2e-30], [1e12, 3e12]])
def test_odd_curves_still_give_a_plot(y: list[float]) -> None:
    for log in (False, True):
        svg = line_plot([Series("a", np.arange(1.0, len(y) + 1), y)], "x", "y", log_x=log, log_y=log)
        assert "nan" not in svg and "inf" not in svg
        ElementTree.fromstring(svg)


def _styles_of(names: str, **more: bool) -> list[str]:
    svg = line_plot([Series(n, [0.0, 1.0], [0.0, 1.0], **more) for n in names.split()], "x", "y")
    return re.findall(r'class="curve (\w+)" d="M[^h"]*"', svg)


def test_no_two_curves_of_a_plot_look_alike() -> None:
    for names in ("a b c d e f g h", "nearest bicubic lanczos ridge fast enhanced reference", "a enhanced b fine"):
        styles = _styles_of(names)
        assert len(styles) == len(names.split()) == len(set(styles))
    assert len(set(_styles_of("bicubic ridge other", reference=True))) == 3


def test_a_contestant_looks_the_same_in_every_plot() -> None:
    one, two = _styles_of("fast enhanced bicubic"), _styles_of("other bicubic enhanced fast")
    assert one == [two[3], two[2], two[1]]


def test_curves_differ_by_more_than_colour() -> None:
    css = (Path(figures_module.__file__).parent / "page" / "plots.css").read_text(encoding="utf-8")
    dashes = [re.search(rf"\.s{k} {{[^}}]*dasharray: ([\d. ]+)", css) for k in range(2, 9)]
    assert len({d.group(1) for d in dashes}) == 7


def test_labels_are_escaped() -> None:
    svg = line_plot([Series("<b>", [0.0, 1.0], [0.0, 1.0])], "<x>", 'y"', title="<t>", description="<d>")
    assert "<b>" not in svg and "<x>" not in svg and "<t>" not in svg
    ElementTree.fromstring(svg)


def _residual(blocks: list[list[float]]) -> Residual:
    return Residual(0.1, 0.1, 0.9, 3.0, {}, Grid.of((10, 20), 100.0, 50.0), {}, np.array(blocks, float).reshape(-1, 4))


def test_arrows_start_at_their_block_and_point_the_right_way() -> None:
    svg = residual_arrows(_residual([[500.0, 1000.0, 0.0, 1.0], [250.0, 500.0, -0.5, 0.0]]))
    starts = [_numbers(e.get("d"))[:2] for e in ElementTree.fromstring(svg).iter("path")]
    (a, b), (c, d), (key, key_end) = starts
    assert a == pytest.approx([160, 80], abs=0.1) and b[0] > a[0] and b[1] == pytest.approx(a[1])
    assert c == pytest.approx([80, 40], abs=0.1) and d[1] < c[1]
    assert (b - a)[0] == pytest.approx(2 * (c - d)[1], abs=0.2)
    assert "0.5 px of the fine scan" in svg and (key_end - key)[0] == pytest.approx((b - a)[0] / 2, abs=0.2)


@pytest.mark.parametrize("blocks", [[], [[1.0, 1.0, 0.0, 0.0]], [[1.0, 1.0, np.nan, 0.0]]])
def test_arrows_of_nothing_are_still_a_picture(blocks: list[list[float]]) -> None:
    svg = residual_arrows(_residual(blocks))
    assert "nan" not in svg
    ElementTree.fromstring(svg)


def test_a_centred_map_puts_zero_in_the_middle_of_its_colours() -> None:
    svg = colour_map(np.linspace(-1, 3, 100).reshape(10, 10), (1.0, 1.0), "t", "sigma", centred=True)
    low, _, high = [e.text for e in ElementTree.fromstring(svg).iter("text")]
    assert low.replace("−", "-") == f"-{high}" and float(high) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(("value", "expected"), [(1.0, 1.0), (1.1, 2.0), (0.03, 0.05), (7.0, 10.0), (2e-9, 2e-9)])
def test_nice_steps_are_one_two_five(value: float, expected: float) -> None:
    assert nice(value) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (Score(31.4159, 0.052), "31.416 ± 0.052"),
        (Score(1520.3, 33.0), "1520 ± 33"),
        (Score(0.84201, 0.0044), "0.8420 ± 0.0044"),
        (Score(12.3456), "12.35"),
        (Score(23.0), "23.00"),
        (Score(1520.0), "1520"),
        (Score(float("inf"), 0.1), "inf"),
    ],
)
def test_errors_have_two_digits_and_means_as_many_decimals(score: Score, text: str) -> None:
    assert mean_and_error(score) == text


def test_a_strip_shows_its_pictures_with_one_window_and_a_scale_bar(tmp_path) -> None:
    dark, bright = np.full((60, 80), 10.0), np.full((60, 80), 20.0)
    path = write_strip(tmp_path / "strip.png", {"dark": dark, "bright": bright}, pixel_size_nm=5.0, enlarge=2)
    pixels = np.asarray(Pillow.open(path))
    assert pixels.shape == (TITLE_PX + 120, 2 * 160 + GAP_PX)
    assert pixels[TITLE_PX + 5, 150] == 0 and pixels[TITLE_PX + 5, 160 + GAP_PX + 150] == 255
    assert (pixels[TITLE_PX:, :160] > 0).any(), "the scale bar is missing"
