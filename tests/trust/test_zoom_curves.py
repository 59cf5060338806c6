"""Curves over zoom levels: places of pixels, published variants, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust.zoom_curves import KERNELS, MEASURES, ZoomCurve, zoom_curve

Y, X = np.mgrid[:320, :320]
SMOOTH = (100 + 40 * np.sin(X / 11.0) * np.cos(Y / 13.0)).astype(np.float32)


def _spline(factor: int):
    """An interpolation with pixel centres where they belong."""

    def method(lr: np.ndarray) -> np.ndarray:
        grid = [(np.arange(n * factor) + 0.5) / factor - 0.5 for n in lr.shape]
        at = np.meshgrid(*grid, indexing="ij")
        return ndimage.map_coordinates(lr.astype(np.float64), at, order=3, mode="nearest").astype(np.float32)

    return method


def _nearest(factor: int):
    return lambda lr: lr.repeat(factor, axis=0).repeat(factor, axis=1)


@pytest.mark.parametrize("factor", [2, 4])
def test_a_right_interpolation_is_not_punished_for_where_pixels_lie(factor: int) -> None:
    """The published decimation moves everything by half a pixel, which costs an interpolation most of its score."""
    ours, theirs = (
        zoom_curve(SMOOTH, (1.0,), factor, {"spline": _spline(factor)}, data_range=80, kernel=k, metrics=("psnr",))
        for k in ("nearest", "published")
    )
    assert ours.scores["spline"]["psnr"][0] > 45
    assert theirs.scores["spline"]["psnr"][0] < ours.scores["spline"]["psnr"][0] - 10


@pytest.mark.parametrize("ratio", [0.5, 0.61, 0.9, 1.0])
def test_published_levels_are_pillows(ratio: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (301, 257)).astype(np.uint8)
    size = int(257 * ratio), int(301 * ratio)
    wanted = np.asarray(Pillow.fromarray(picture).resize(size, Pillow.Resampling.NEAREST))
    np.testing.assert_array_equal(KERNELS["published"](picture, ratio), wanted)
    if ratio == 0.5:
        np.testing.assert_array_equal(KERNELS["nearest"](picture, ratio), wanted)


def test_the_gauss_metric_is_the_mean_over_three_blurs() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (2, 64, 64)).astype(np.float32)
    pairs = [(a, b)]
    for taps in ([1, 2, 1], [1, 4, 6, 4, 1]):
        kernel = np.outer(taps, taps) / np.sum(taps) ** 2
        pairs.append(tuple(ndimage.convolve(p.astype(np.float64), kernel, mode="mirror") for p in (a, b)))
    wanted = np.mean([20 * np.log10(6 / np.sqrt(np.mean((p - q) ** 2))) for p, q in pairs])
    assert MEASURES["gauss-psnr"](a, b, 6.0) == pytest.approx(wanted, abs=1e-4)
    assert MEASURES["gauss-psnr"](a, b, 6.0) > MEASURES["psnr"](a, b, 6.0) + 3


def test_levels_crops_tables_and_gains() -> None:
    methods = {"bicubic": _spline(2), "blocks": _nearest(2)}
    curve = zoom_curve([SMOOTH, SMOOTH + 3], (1.0, 0.5), 2, methods, data_range=80, crop=128)
    assert curve.percent == (100.0, 200.0) and curve.ratios == (0.5, 1.0)
    assert curve.table()["crops"] == [2, 8] and curve.table()["bicubic psnr"] == curve.scores["bicubic"]["psnr"]
    assert all(g < -5 for g in curve.gains("blocks")) and curve.better_up_to("blocks") == 0
    assert curve.better_up_to("bicubic", baseline="blocks") == 200
    table = curve.table_3((100, 200))
    assert table["method"] == ["bicubic", "blocks"] and table["psnr at 200 %"][1] == curve.scores["blocks"]["psnr"][1]
    assert ZoomCurve.from_dict(curve.to_dict()) == curve


def test_better_up_to_ends_at_the_first_level_that_is_not() -> None:
    def values(*levels: float) -> dict:
        return {"psnr": tuple((v,) for v in levels)}

    curve = ZoomCurve((0.25, 0.5, 0.75, 1.0), 4, {"bicubic": values(1, 1, 1, 1), "net": values(2, 2, 0.5, 2)})
    assert curve.better_up_to("net") == 200


def test_what_cannot_be_judged_is_said() -> None:
    methods = {"spline": _spline(2)}
    for change, text in (
        ({"ratios": (1.2,)}, "above 0 and at most 1, .* but 1.2 came"),
        ({"kernel": "box"}, "coarser by nearest, published, but 'box' came"),
        ({"metrics": ("essim",)}, "but essim came"),
        ({"ratios": (0.1,)}, "coarsest level must have 40 x 40 px"),
        ({"methods": {}}, "needs pictures and methods"),
        ({"methods": {"four": _spline(4)}}, "four must answer 160 x 160 px with 320 x 320 px, but gave 640 x 640"),
        ({"image": np.where(X == 5, np.nan, SMOOTH)}, "pixels without a grey level"),
    ):
        options = {"image": SMOOTH, "ratios": (1.0,), "sr_factor": 2, "methods": methods, "data_range": 80, **change}
        with pytest.raises(InputError, match=text):
            zoom_curve(**options)
