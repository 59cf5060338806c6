"""Recorded voxels in the place of computed ones: the right place, no step at the border, and only boxes are read."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.rescan import Pasted, measured_share, recorded_on
from finescan.rescan.pasting import FEATHER_PX, touched_box
from finescan.values import Grid, Image, Warp

RESULT = Grid.of((40, 44, 48), 10.0)
AT = (6, 9, 12)


def scan_at(corner: tuple[float, ...], data: np.ndarray, turn: np.ndarray | None = None) -> tuple[Image, Grid, Warp]:
    """A scan whose first voxel lies at a place of the result, the grid of the result, and its warp."""
    grid, matrix = Grid.of(data.shape, 10.0), np.eye(3) if turn is None else turn
    return Image(data, grid, "scan"), RESULT, Warp.affine(matrix, RESULT.to_nm(corner) - matrix @ grid.to_nm([0.0] * 3))


def wave(index: np.ndarray) -> np.ndarray:
    """A smooth function of places (…, 3) on the result."""
    z, y, x = np.moveaxis(index, -1, 0)
    return (100 + 30 * np.sin(y / 5) + 20 * np.cos(x / 6) + 10 * np.sin(z / 4)).astype(np.float32)


def places(shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij"), -1)


def test_whole_voxels_arrive_unchanged_and_the_rest_stays() -> None:
    data = np.random.default_rng(0).integers(0, 255, (12, 14, 16)).astype(np.uint8)
    piece = recorded_on(*scan_at(AT, data), feather_px=0)
    base = np.full(RESULT.shape, 7, np.uint8)
    out, box = np.asarray(Pasted(base, [piece])), np.s_[6:18, 9:23, 12:28]
    assert out.dtype == np.uint8 and np.array_equal(out[box], data)
    out[box] = 7
    assert (out == 7).all() and (base == 7).all()


def test_a_turned_scan_between_the_voxels_is_resampled() -> None:
    """Against the function itself at the places where the voxels lie."""
    c, s = np.cos(np.radians(3.0)), np.sin(np.radians(3.0))
    scan, onto, warp = scan_at((8.3, 9.6, 14.1), np.zeros((20, 22, 22)), np.array([[1, 0, 0], [0, c, -s], [0, s, c]]))
    recorded = wave(RESULT.to_index(warp(scan.grid.to_nm(places(scan.grid.shape)))))
    piece = recorded_on(scan.with_data(recorded), onto, warp)
    inside = piece.weight == 1
    assert inside.sum() > 100
    assert np.abs(piece.grey - wave(places(RESULT.shape))[piece.box])[inside].max() < 0.1
    low, high = touched_box(scan.grid, onto, warp)
    assert piece.start == low and all(b - a == n for a, b, n in zip(low, high, piece.grey.shape, strict=True))


def test_the_border_fades_without_a_step_along_every_axis_but_not_at_the_face_of_the_volume() -> None:
    piece = recorded_on(*scan_at((0, 9, 12), np.full((24, 26, 28), 200.0, np.float32)))
    out = np.asarray(Pasted(np.full(RESULT.shape, 100.0, np.float32), [piece]))
    steepest = 100 * 1.5 / FEATHER_PX  # of a smooth rise over that many voxels
    for axis in range(3):
        line = np.moveaxis(out, axis, 0)[:, *((12, 22, 26)[k] for k in range(3) if k != axis)]
        assert np.abs(np.diff(line)).max() <= steepest + 1e-3
        assert line.max() == 200 and line[-1] == 100
    assert (out[0, 20:24, 22:30] == 200).all() and out[24, 22, 26] == 100


def test_boxes_are_the_whole_and_nothing_else_is_read() -> None:
    rng = np.random.default_rng(1)
    base, read = rng.integers(0, 60000, RESULT.shape).astype(np.uint16), []

    class Stored:
        shape, dtype = RESULT.shape, base.dtype

        def __getitem__(self, box):
            read.append([s.stop - s.start for s in box])
            return base[box]

    made = [rng.normal(30000, 900, n).astype(np.float32) for n in ((12, 14, 16), (10, 20, 12))]
    pieces = [recorded_on(*scan_at(corner, m)) for corner, m in zip((AT, (14.3, 5.2, 20.4)), made, strict=True)]
    pasted, whole = Pasted(Stored(), pieces), np.asarray(Pasted(base, pieces))
    share, out = np.zeros(RESULT.shape, np.float32), np.zeros_like(base)
    for z, y, x in np.ndindex(3, 3, 3):
        box = tuple(slice(16 * k, min(16 * k + 16, n)) for k, n in zip((z, y, x), RESULT.shape, strict=True))
        out[box], share[box] = pasted[box], measured_share(pieces, RESULT.shape, box)
    assert np.array_equal(out, whole) and max(map(max, read)) <= 16
    assert np.array_equal(share, measured_share(pieces, RESULT.shape)) and share.max() > 0.5 and share.mean() < 0.1
    assert np.array_equal(pasted[5:20], whole[5:20])
    with pytest.raises(InputError, match="read by slices, but another index came"):
        pasted[3]


def test_bands_of_the_border_are_the_whole_border(monkeypatch) -> None:
    data = np.random.default_rng(2).normal(100, 5, (24, 20, 22)).astype(np.float32)
    data[10:12, 8:10] = np.nan
    whole = recorded_on(*scan_at((4.5, 9.2, 12.7), data), feather_px=4)
    monkeypatch.setattr("finescan.rescan.pasting._AT_ONCE", 1500)
    parts = recorded_on(*scan_at((4.5, 9.2, 12.7), data), feather_px=4)
    assert np.array_equal(whole.weight, parts.weight) and np.array_equal(whole.grey, parts.grey)
    assert 0 < (whole.weight == 1).mean() < 0.5 and (whole.weight == 0).any()
