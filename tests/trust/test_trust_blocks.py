"""Standard errors from blocks: right for independent blocks, honest for neighbouring ones."""

import numpy as np
import pytest
from scipy import ndimage, stats

from finescan.trust.blocks import blocks, mean_and_error, nearness, paired_gain
from finescan.values import Grid, Region

GRID = Grid.of((256, 512), 1.0)


def lattice_of(n: int, side: int, step: int) -> list[Region]:
    grid = Grid.of((n * step, n * step), 1.0)
    at = [(y * step, x * step) for y in range(n) for x in range(n)]
    return [Region(grid, (y, x), (y + side, x + side)) for y, x in at]


def test_blocks_that_lie_apart_give_the_textbook_error_and_interval() -> None:
    values = np.random.default_rng(0).normal(1.0, 2.0, 12)
    mean, error, n = mean_and_error(values)
    gain = paired_gain(values)
    low, high = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values))
    assert (mean, error, n) == (pytest.approx(values.mean()), pytest.approx(stats.sem(values)), 12)
    assert (gain.low, gain.high) == (pytest.approx(low), pytest.approx(high))


def test_unknown_blocks_are_left_out_and_one_block_has_no_error() -> None:
    assert mean_and_error(np.array([1.0, np.nan, 3.0]))[::2] == (2.0, 2)
    mean, error, n = mean_and_error(np.array([np.nan, 5.0]))
    assert (mean, n) == (5.0, 1) and np.isnan(error)
    assert paired_gain(np.array([5.0])).significance == "equal"


def test_nearness_of_blocks() -> None:
    boxes = [Region(GRID, (0, x), (64, x + 64)) for x in (0, 64, 128)] + [Region(GRID, (64, 64), (128, 128))]
    assert nearness(boxes)[0].tolist() == [1.0, 0.5, 0.0, 0.5]
    assert np.array_equal(nearness(lattice_of(3, 64, 128)), np.eye(9))


def test_long_tiles_are_halved_along_their_length() -> None:
    cut = blocks([Region(GRID, (0, 0), (70, 512))])
    assert [b.shape for b in cut] == [(70, 64)] * 8
    assert sum(np.prod(b.shape) for b in cut) == 70 * 512
    assert len(blocks([Region(GRID, (0, 0), (100, 100))])) == 1
    many = [Region(GRID, (0, x), (256, x + 16)) for x in range(0, 512, 16)]
    assert blocks(many) == many


def false_verdicts(smooth: float, boxes: list[Region], near: np.ndarray | None, trials: int = 250) -> float:
    """Share of verdicts other than "equal" on gains whose true mean is zero, correlated over ``smooth`` px."""
    rng = np.random.default_rng(1)
    shape = tuple(n // 8 for n in boxes[0].grid.shape)
    wrong = 0
    for _ in range(trials):
        field = rng.standard_normal(shape)
        field = ndimage.gaussian_filter(field, smooth / 8, mode="constant") if smooth else field
        means = [field[tuple(slice(s.start // 8, s.stop // 8) for s in b.slices)].mean() for b in boxes]
        wrong += paired_gain(np.array(means), near).significance != "equal"
    return wrong / trials


def test_chance_is_rarely_called_a_gain() -> None:
    apart = lattice_of(4, 64, 128)
    assert 0.02 < false_verdicts(0.0, apart, nearness(apart)) < 0.09


def test_structure_larger_than_a_block_does_not_feign_certainty() -> None:
    touching = lattice_of(4, 64, 64)
    assert false_verdicts(32.0, touching, None) > 0.25
    assert false_verdicts(32.0, touching, nearness(touching)) < 0.15
