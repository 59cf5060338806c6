"""Roles: kept apart, spread, and the same for overlapping scans."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.patches import SplitConfig, make_patches
from finescan.patches.split import STOP, TEST, TRAIN, assign_roles


def _field(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3).astype(np.float32)


def _nearest(roles: np.ndarray, a: int, b: int) -> float:
    """Chessboard distance between the two closest pixels of two roles."""
    return float(ndimage.distance_transform_cdt(roles != a, "chessboard")[roles == b].min())


@pytest.mark.parametrize("kind", ["blocks", "halves"])
@pytest.mark.parametrize("shape", [(100, 140), (200, 300), (700, 500)])
@pytest.mark.parametrize("seed", [0, 1])
def test_roles_keep_the_guard_gap(kind: str, shape: tuple[int, int], seed: int) -> None:
    roles = assign_roles([np.ones(shape, bool)], ["a"], _field(shape), SplitConfig(kind=kind, seed=seed)).roles
    for a, b in ((TRAIN, TEST), (TRAIN, STOP), (STOP, TEST)):
        assert _nearest(roles, a, b) > 12


@pytest.mark.parametrize("shape", [(200, 300), (700, 500)])
def test_blocks_have_about_the_wanted_shares_and_resemble_the_whole(shape: tuple[int, int]) -> None:
    lr = _field(shape)
    lr += np.linspace(0, 3 * lr.std(), shape[1], dtype=np.float32)  # one side is much brighter
    roles = assign_roles([np.ones(shape, bool)], ["a"], lr, SplitConfig(kind="blocks")).roles
    share = {role: np.mean(roles == role) for role in (TRAIN, STOP, TEST)}
    assert share[TRAIN] > 0.5 and 0.14 < share[TEST] < 0.22 and 0.09 < share[STOP] < 0.15
    assert abs(lr[roles == TEST].mean() - lr.mean()) < 0.5 * lr.std()


def test_held_out_areas_are_as_hard_as_the_whole() -> None:
    """A quarter of the field changed between the scans: it must not fill, nor be missing from, a held-out area."""
    shape = (200, 300)
    unlike = np.zeros(shape, np.float32)
    unlike[:, 220:] = 50.0
    split = assign_roles([np.ones(shape, bool)], ["a"], _field(shape), SplitConfig(kind="blocks"), unlike)
    for role in (STOP, TEST):
        assert 0.1 < (unlike[split.roles == role] > 0).mean() < 0.5


def test_the_layout_depends_on_the_seed_and_on_nothing_else() -> None:
    shape = (150, 150)
    a, b, c = (
        assign_roles([np.ones(shape, bool)], ["a"], _field(shape), SplitConfig(kind="blocks", seed=s)).roles
        for s in (0, 0, 1)
    )
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_overlapping_scans_share_the_roles_of_a_place(make_pair) -> None:
    pairs = [make_pair(name="one", box=(40, 40, 340, 340)), make_pair(name="two", box=(140, 140, 440, 440))]
    for kind in ("blocks", "halves"):
        patches = make_patches(pairs, config=SplitConfig(kind=kind, guard_lr_px=6))
        whole = {}
        for piece in patches.pieces:
            y, x = (round(v) for v in patches.work_grid.to_index(piece.work_grid.origin_nm))
            for (r, c), role in np.ndenumerate(piece.role):
                if role:
                    assert whole.setdefault((r + y, c + x), role) == role


def test_leave_one_out_tests_on_one_whole_scan_and_nowhere_near_it(make_pair) -> None:
    boxes = [(0, 0, 200, 200), (260, 0, 460, 240), (0, 250, 220, 460)]
    pairs = [make_pair(name=f"scan{k}", box=b) for k, b in enumerate(boxes)]
    patches = make_patches(pairs, config=SplitConfig(kind="leave-one-out", left_out="scan1"))
    roles = np.zeros(patches.work_grid.shape, int)
    for piece in patches.pieces:
        y, x = (round(v) for v in patches.work_grid.to_index(piece.work_grid.origin_nm))
        view = roles[y : y + piece.role.shape[0], x : x + piece.role.shape[1]]
        view[piece.role > 0] = piece.role[piece.role > 0]
        present = set(np.unique(piece.role)) - {0}
        assert present == {TEST} if piece.name == "scan1" else TEST not in present
    assert _nearest(roles, TRAIN, TEST) > 12
    assert any("scan1 was kept out of training" in n for n in patches.notes)


def test_several_scans_are_split_by_scan_automatically(make_pair) -> None:
    pairs = [make_pair(name=f"scan{k}", box=b) for k, b in enumerate([(0, 0, 220, 220), (250, 250, 470, 470)])]
    assert sum(TEST in p.role and TRAIN not in p.role for p in make_patches(pairs).pieces) == 1


def test_scans_that_cover_each_other_fall_back_to_blocks(make_pair) -> None:
    pairs = [make_pair(name="one"), make_pair(name="two")]
    patches = make_patches(pairs)
    assert any("so blocks of the scans are held out" in n for n in patches.notes)
    assert all({TRAIN, STOP, TEST} <= set(np.unique(p.role)) for p in patches.pieces)


def test_test_regions_hold_every_test_pixel(make_pair) -> None:
    patches = make_patches([make_pair()])
    (piece,) = patches.pieces
    covered = np.zeros(patches.out_grid.shape, bool)
    for region in patches.regions("test"):
        covered[region.slices] = True
    y, x = (round(v) for v in patches.out_grid.to_index(piece.out_grid.origin_nm))
    h, w = piece.hr.shape
    assert not (piece.role_fine("test") & ~covered[y : y + h, x : x + w]).any()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"kind": "random"}, "A split is one of auto, blocks, leave-one-out, halves, but 'random' came"),
        ({"guard_lr_px": -1}, "guard gap must be 0 coarse pixels or more"),
        ({"test_share": 0.9}, "test_share must be between 0.02 and 0.4"),
    ],
)
def test_a_wrong_split_is_named(wrong: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        SplitConfig(**wrong)


def test_leave_one_out_of_a_single_scan_is_refused(make_pair) -> None:
    with pytest.raises(InputError, match="Leave-one-out needs at least two fine scans"):
        make_patches([make_pair()], config=SplitConfig(kind="leave-one-out"))
