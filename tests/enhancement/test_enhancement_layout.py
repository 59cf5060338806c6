"""Blocks and chunks fit each other and stay small enough."""

from __future__ import annotations

import pytest

from finescan.enhancement import EnhanceConfig
from finescan.enhancement.layout import LARGEST_OUTPUT, Layout, choose_layout


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("halo", [0, 8, 18, 40])
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 16, 29, 32])
def test_blocks_hold_whole_chunks_of_a_sensible_size_and_are_bounded(factor, halo, on_gpu):
    layout = choose_layout(factor, halo, EnhanceConfig(), on_gpu=on_gpu)
    assert (layout.core * factor) % layout.chunk == 0
    assert 320 <= layout.chunk <= 768
    assert layout.core * factor <= LARGEST_OUTPUT
    assert layout.core > 2 * halo
    assert Layout.from_dict({**layout.to_dict(), "other": 1}) == layout


def test_a_tile_that_was_asked_for_is_used():
    assert choose_layout(3, 8, EnhanceConfig(tile=37), on_gpu=False).core == 37


def test_blended_tiles_overlap_only_with_their_next_neighbours():
    layout = choose_layout(2, 8, EnhanceConfig(tile=10, overlap=25, blending="smooth"), on_gpu=False)
    assert layout.core >= layout.overlap == 25
    assert choose_layout(2, 8, EnhanceConfig(tile=80, blending="smooth"), on_gpu=False).overlap == 10
