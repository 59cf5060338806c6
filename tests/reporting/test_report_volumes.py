"""Volume scenes as values, pictures and words, without a browser."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow
from report_volume import make_volume_scene

from finescan.errors import InputError
from finescan.reporting import (
    Answer,
    RegistrationPicture,
    Report,
    VolumeBox,
    VolumeLayer,
    VolumeScene,
    render,
    residual_arrows,
    write_report,
)
from finescan.reporting.volume_pictures import Part, cut_of, encode, planes, shrunk
from finescan.reporting.volume_scenes import volume_html
from finescan.values import Grid, Image, Region, Residual, TrustMap


def _grid(*shape: int, size: float | tuple[float, ...] = 10.0) -> Grid:
    return Grid.of(shape, size)


def _scene(data: np.ndarray, **more: object) -> VolumeScene:
    grid = _grid(*data.shape)
    return VolumeScene("S", "c", grid, (VolumeLayer("enhanced", Image(data, grid)),), **more)


def _pictures(html: str) -> dict[int, np.ndarray]:
    found = re.findall(r'data-picture="(\d+)" src="data:image/(?:png|jpeg);base64,([^"]*)"', html)
    return {int(k): np.asarray(Pillow.open(io.BytesIO(base64.b64decode(v)))) for k, v in found}


class Counting:
    """A lazy volume that counts what is read of it; with chunks when told so."""

    def __init__(self, data: np.ndarray, chunks: tuple[int, ...] | None = None) -> None:
        self.data, self.shape, self.dtype, self.chunks = data, data.shape, data.dtype, chunks
        self.read = self.largest = 0

    def __getitem__(self, key: object) -> np.ndarray:
        part = self.data[key]
        self.read += part.size
        self.largest = max(self.largest, part.size)
        return part


# ------------------------------------------------------------------ which slices
@pytest.mark.parametrize(("depth", "slices"), [(100, 49), (101, 49), (1024, 64), (7, 49), (50, 49), (2, 1)])
def test_the_stops_are_spread_evenly_and_hold_first_middle_and_last(depth: int, slices: int) -> None:
    stops = _scene(np.zeros((depth, 4, 4), np.uint8), slices=slices).stops()
    assert len(stops) == min(depth, slices) and list(stops) == sorted(set(stops))
    assert depth // 2 in stops
    if slices > 2:
        assert stops[0] == 0 and stops[-1] == depth - 1
        steps = np.diff(stops)
        assert steps.max() - steps.min() <= 1 + (depth <= 2 * slices)


def test_a_slice_that_was_asked_for_is_one_of_the_stops() -> None:
    scene = _scene(np.zeros((500, 4, 4), np.uint8), at_nm=(1230.0, 10.0, 10.0))
    assert 123 in scene.stops() and len(scene.stops()) == 49
    _, facts = volume_html(scene, 0)
    assert facts["stops"][facts["first"]] == 123


# ------------------------------------------------------------------ what is read
@pytest.mark.parametrize("chunks", [None, (16, 16, 16), (64, 8, 64), (1, 64, 64)])
def test_planes_are_those_of_the_array_whatever_its_chunks(chunks: tuple[int, ...] | None) -> None:
    data = np.random.default_rng(0).normal(size=(40, 33, 21)).astype(np.float32)
    part = Part(_grid(*data.shape), (0, 5, 3), (40, 30, 20))
    lazy = Counting(data, chunks)
    got = dict(planes(lazy, part, [0, 3, 15, 16, 39]))
    assert list(got) == [0, 3, 15, 16, 39]
    for z, plane in got.items():
        np.testing.assert_array_equal(plane, data[z, 5:30, 3:20])
    np.testing.assert_array_equal(cut_of(lazy, part, "xz", 7), data[:, 7, 3:20])
    np.testing.assert_array_equal(cut_of(lazy, part, "yz", 7), data[:, 5:30, 7])


def test_only_the_slices_shown_are_read_and_no_chunk_twice() -> None:
    data = np.zeros((256, 64, 64), np.uint8)
    flat, cubes = Counting(data), Counting(data, (32, 32, 32))
    for lazy in (flat, cubes):
        volume_html(_scene(lazy, slices=9), 0)  # type: ignore[arg-type]
    cuts = 64 * 64 + 2 * 256 * 64
    assert flat.read == 9 * 64 * 64 + cuts and flat.largest == 256 * 64
    assert cubes.read <= data.size + cuts
    assert cubes.largest <= 32 * 32 * 64


def test_a_big_volume_is_read_a_row_of_chunks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finescan.reporting.volume_pictures._AT_ONCE", 4 * 64 * 64)
    lazy = Counting(np.zeros((64, 64, 64), np.uint8), (32, 16, 16))
    list(planes(lazy, Part(_grid(64, 64, 64), (0, 0, 0), (64, 64, 64)), list(range(64))))
    assert lazy.largest <= 4 * 16 * 64


def test_a_layer_is_read_and_placed_by_its_own_grid() -> None:
    """A fine volume in part of the field, a coarse one with voxels of another size: the same nm in every cut."""
    grid = Grid.of((8, 8, 8), 10.0)
    fine = grid.crop((2, 4, 0), (6, 8, 4))
    coarse = grid.coarsen((4, 2, 2))
    layers = (
        VolumeLayer("fine", Image(np.full((4, 4, 4), 9, np.uint8), fine)),
        VolumeLayer("coarse", Image(np.full((2, 4, 4), 7, np.uint8), coarse)),
    )
    _, facts = volume_html(VolumeScene("S", "", grid, layers, at_nm=(40.0, 20.0, 20.0)), 0)
    a, b = facts["layers"]
    assert a["xy"]["offset"] == [40.0, 0.0] and a["xy"]["pixel"] == [10.0, 10.0]
    assert [p is not None for p in a["xy"]["pictures"]] == [False] * 2 + [True] * 4 + [False] * 2
    assert a["xz"] is None, "the XZ cut passes beside it"
    assert a["yz"]["offset"] == [20.0, 40.0]
    assert b["xz"]["pixel"] == [40.0, 20.0] and b["yz"]["offset"] == [0.0, 0.0]
    assert len({p[0] for p in b["xy"]["pictures"]}) == 1, "equal slices are stored once"


def test_a_layer_outside_the_field_is_left_out_without_complaint() -> None:
    grid = Grid.of((4, 4, 4), 10.0)
    far = replace(grid, origin_nm=(1e4, 1e4, 1e4))
    layers = tuple(VolumeLayer(n, Image(np.zeros((4, 4, 4), np.uint8), g)) for n, g in (("a", grid), ("b", far)))
    _, facts = volume_html(VolumeScene("S", "", grid, layers), 0)
    assert facts["layers"][1]["xy"] is None and facts["layers"][0]["xy"] is not None


# ------------------------------------------------------------------ what is stored
def test_whole_number_volumes_travel_unchanged_and_cuts_agree() -> None:
    data = np.random.default_rng(3).integers(0, 256, (9, 12, 15), np.uint8)
    html, facts = volume_html(_scene(data), 0)
    pictures, layer = _pictures(html), facts["layers"][0]
    assert layer["exact"] and layer["coding"] == [0.0, 1.0]
    for z, (number, mask) in enumerate(layer["xy"]["pictures"]):
        assert mask is None
        np.testing.assert_array_equal(pictures[number], data[z])
    np.testing.assert_array_equal(pictures[layer["xz"]["pictures"][0][0]], data[:, 6])
    np.testing.assert_array_equal(pictures[layer["yz"]["pictures"][0][0]], data[:, :, 7])


def test_levels_give_grey_levels_back_to_a_step_of_the_window() -> None:
    data = np.random.default_rng(3).normal(4e4, 5e3, (5, 20, 20)).astype(np.float32)
    html, facts = volume_html(_scene(data), 0)
    layer = facts["layers"][0]
    offset, step = layer["coding"]
    back = offset + step * _pictures(html)[layer["xy"]["pictures"][2][0]].astype(float)
    low, high = layer["window"]
    inside = (data[2] > low) & (data[2] < high)
    assert inside.mean() > 0.95 and np.abs(back - data[2])[inside].max() <= 0.51 * step


def test_voxels_without_a_value_are_a_mask_stored_once() -> None:
    data = np.random.default_rng(0).normal(100, 5, (6, 24, 24)).astype(np.float32)
    y, x = np.mgrid[:24, :24]
    outside = np.hypot(y - 11.5, x - 11.5) > 12
    data[:, outside] = np.nan
    html, facts = volume_html(_scene(data), 0)
    masks = {m for _, m in facts["layers"][0]["xy"]["pictures"]}
    assert len(masks) == 1 and None not in masks
    np.testing.assert_array_equal(_pictures(html)[masks.pop()] == 0, outside)


def test_a_rim_without_values_does_not_ring_into_a_jpeg() -> None:
    y, x = np.mgrid[:128, :128]
    inside = np.hypot(y - 63.5, x - 63.5) < 50
    flat = np.where(inside, 200.0, np.nan)
    uri, mask = encode(flat, (0.0, 255.0), 80)
    picture = np.asarray(Pillow.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    assert mask is not None and np.abs(picture[inside].astype(int) - 200).max() <= 1


def test_shrinking_means_over_blocks_and_ors_flags() -> None:
    data = np.arange(20, dtype=np.float32).reshape(4, 5)
    data[0, 0] = np.nan
    small = shrunk(data, 2)
    assert small.shape == (2, 3)
    np.testing.assert_allclose(small[0], [(1 + 5 + 6) / 3, (2 + 3 + 7 + 8) / 4, (4 + 9) / 2])
    flags = np.array([[1, 2], [0, 8]], np.uint8)
    assert shrunk(flags, 2, flags=True).tolist() == [[11]]


@pytest.mark.parametrize("budget", [1.0, 4.0, 10.0])
def test_the_page_keeps_its_budget_and_says_how(budget: float) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (64, 400, 400), np.uint16)
    html, _ = volume_html(_scene(noise, budget_mb=budget), 0)
    assert 0.2 * budget < len(html) / 1e6 < 1.15 * budget
    assert "compressed; read grey levels as approximate" in html


def test_noise_of_five_layers_makes_a_page_below_fifteen_megabytes(tmp_path) -> None:
    rng = np.random.default_rng(0)
    grid = _grid(60, 512, 512)
    layers = tuple(
        VolumeLayer(n, Image(rng.integers(0, 65536, grid.shape, np.uint16), grid)) for n in ("a", "b", "c", "d", "e")
    )
    report = Report("t", Answer("better", "s"), VolumeScene("S", "", grid, layers))
    assert 3e6 < write_report(tmp_path / "r.html", report).stat().st_size < 15e6


def test_many_volumes_on_one_page_share_its_budget(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (49, 300, 300), np.uint16)
    scenes = tuple(_scene(noise, budget_mb=6.0) for _ in range(4))
    path = write_report(tmp_path / "r.html", Report("t", Answer("better", "s"), scenes[0], scenes[1:]))
    assert 11e6 < path.stat().st_size < 15e6
    megabytes = [float(v) for v in re.findall(r"they take ([\d.]+) MB", path.read_text(encoding="utf-8"))]
    assert len(megabytes) == 4 and megabytes[0] > megabytes[3] > 0.2


def test_the_same_volume_gives_the_same_page() -> None:
    make = lambda: render(Report("t", Answer("better", "s"), make_volume_scene(32)))  # noqa: E731
    assert make() == make()


# ------------------------------------------------------------------ words
def test_windows_are_stated_and_common_to_the_grey_layers() -> None:
    grid = _grid(4, 8, 8)
    dark, bright = (np.linspace(a, a + 100, 256, dtype=np.float32).reshape(4, 8, 8) for a in (100, 800))
    quality = VolumeLayer("MS-SSIM", Image(bright / 1000, grid), (0.0, 1.0), "cividis_r", "index")
    layers = (VolumeLayer("coarse", Image(dark, grid)), VolumeLayer("enhanced", Image(bright, grid)), quality)
    html, facts = volume_html(VolumeScene("S", "", grid, layers), 0)
    a, b, c = (layer["window"] for layer in facts["layers"])
    assert a == b and 100 <= a[0] < 200 and 800 < a[1] <= 900 and c == [0.0, 1.0]
    assert re.search(r"Shown from grey level 1\d\d.* to 8\d\d.*; MS-SSIM from 0 to 1 index \(low values are br", html)
    assert "4 × 8 × 8 voxels (z, y, x); the page holds all 4 slices along z." in html
    assert "Pictures are stored without loss; they take 0.0 MB of this page." in html


def test_shares_of_flags_are_counted_over_the_whole_volume() -> None:
    grid = _grid(10, 10, 10)
    flags = np.zeros(grid.shape, np.uint8)
    flags[0], flags[1, :5] = 2, 8
    layer = VolumeLayer("coarse", Image(np.zeros(grid.shape, np.uint8), grid))
    html, facts = volume_html(VolumeScene("S", "", grid, (layer,), flags=TrustMap(flags, grid)), 0)
    assert "saturated: 10 %" in html and "inconsistent: 5 %" in html
    shown = facts["flags"]["xy"]["pictures"][1][0]
    np.testing.assert_array_equal(_pictures(html)[shown], flags[1])
    stated = VolumeScene("S", "", grid, (layer,), flags=TrustMap(flags, grid), flag_shares={"untrained": 0.25})
    assert "untrained: 25 %" in volume_html(stated, 0)[0]


def test_boxes_count_from_the_edge_of_the_scene() -> None:
    grid = Grid.of((10, 10, 10), 10.0, 1005.0)
    box = VolumeBox.of("fine", Region(grid, (1, 2, 3), (4, 5, 6)), "held-out")
    scene = _scene(np.zeros((10, 10, 10), np.uint8))
    _, facts = volume_html(replace(scene, grid=grid, boxes=(box,)), 0)
    assert facts["boxes"] == [
        {"label": "fine", "kind": "held-out", "start": [10.0, 20.0, 30.0], "stop": [40.0, 50.0, 60.0]}
    ]


def test_hostile_names_do_not_become_elements() -> None:
    evil = "</script><b>&'\""
    grid = _grid(3, 4, 4)
    layer = VolumeLayer(evil, Image(np.zeros(grid.shape, np.uint8), grid))
    box = VolumeBox.of(evil, grid, evil)
    page = render(Report("t", Answer("better", "s"), VolumeScene(evil, evil, grid, (layer,), boxes=(box,))))
    assert "<b>" not in page
    facts = json.loads(re.search(r'id="scenes">(.*?)</script>', page).group(1))
    assert facts["scenes"][0]["layers"][0]["name"] == evil


def test_pages_of_pictures_do_not_carry_the_part_for_volumes(sample: Report) -> None:
    assert "class Volume" not in render(sample) and ".cuts" not in render(sample)
    assert "class Volume" in render(replace(sample, overview=make_volume_scene(32)))
    assert "The volume</a>" in render(replace(sample, overview=make_volume_scene(32)))


def test_the_registration_of_a_volume_is_drawn_in_two_planes() -> None:
    grid = Grid.of((8, 10, 12), 100.0)
    rng = np.random.default_rng(0)
    blocks = np.concatenate([rng.uniform(0, 700, (5, 3)), np.tile([1.0, 0.0, 0.5], (5, 1))], 1)
    sigma = rng.uniform(0.1, 0.2, grid.shape).astype(np.float32)
    residual = Residual(0.1, 0.1, 0.9, 3.0, {}, grid, {"sigma_hr_px": sigma}, blocks)
    down = [np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", a), float)[:2] for a in _arrows(residual_arrows(residual))]
    deep = [
        np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", a), float)[:2]
        for a in _arrows(residual_arrows(residual, plane="ZX"))
    ]
    for (a, b), (c, d) in zip(down[:5], deep[:5], strict=True):
        assert b[0] > a[0] and b[1] == pytest.approx(a[1], abs=0.11), "dy is zero"
        assert d[1] > c[1] and d[1] - c[1] == pytest.approx(2 * (d[0] - c[0]), abs=0.3), "dz is twice dx"
    picture = RegistrationPicture("fine", "found", (), residual, make_volume_scene(32))
    page = render(Report("t", Answer("better", "s"), registrations=(picture,)))
    assert "Seen along z." in page and "Seen along y." in page and "middle slice" in page and "dz (px)" in page


def _arrows(svg: str) -> list[str]:
    return re.findall(r'class="arrow" d="([^"]*)"', svg)


_ZEROS = Image(np.zeros((2, 2, 2), np.uint8), Grid.of((2, 2, 2), 1.0))
_LAYER = VolumeLayer("a", _ZEROS)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: VolumeLayer("x", Image(np.zeros((2, 2)), Grid.of((2, 2), 1.0))), "needs axes ZYX, but YX"),
        (lambda: VolumeLayer("x", _ZEROS, colours="jet"), "shown in grey, cividis, cividis_r, but 'jet' came"),
        (lambda: VolumeLayer("x", _ZEROS, colours="cividis"), "map 'x' needs a window of its own. Pass window="),
        (lambda: VolumeLayer("x", _ZEROS, (1.0, 1.0)), r"window of 'x' must rise, but \(1.0, 1.0\)"),
        (lambda: VolumeBox("b", (0, 0, 5), (1, 1, 5)), r"box 'b' must end after it starts"),
        (lambda: VolumeScene("s", "", _ZEROS.grid, ()), "needs at least one layer, but none came"),
        (lambda: VolumeScene("s", "", _ZEROS.grid, (_LAYER, _LAYER)), r"need names that differ, but \['a', 'a'\]"),
        (lambda: VolumeScene("s", "", Grid.of((2, 2), 1.0), (_LAYER,)), "needs a ZYX grid, but YX came"),
        (lambda: VolumeScene("s", "", _ZEROS.grid, (_LAYER,), mode="spin"), "mode single, side, swipe, but 'spin'"),
        (lambda: VolumeScene("s", "", _ZEROS.grid, (_LAYER,), slices=0), "at least one slice, 16 px and some budget"),
        (lambda: VolumeScene("s", "", _ZEROS.grid, (_LAYER,), (9.0, 0.0, 0.0)), "cuts of 's' must lie inside"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_with_words(make, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()
