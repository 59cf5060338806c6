"""Windows: pieces whose weights add up, joined alike however the map is cut into blocks."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.models.windows import JOININGS, Windows, in_windows

RNG = np.random.default_rng(0)


def _repeated(some: np.ndarray) -> np.ndarray:
    """A network that says what it sees, four times as fine."""
    return np.repeat(np.repeat(some, 4, axis=1), 4, axis=2)[:, None]


def test_the_published_joining_keeps_the_central_62_5_percent() -> None:
    w = JOININGS["centre"]
    kept = w.share(4)
    assert (w.size, w.margin, kept.sum()) == (32, 6, 80) and kept.sum() / (4 * w.size) == 0.625
    assert kept[24:104].all() and not kept[:24].any() and not kept[104:].any()


@pytest.mark.parametrize("name", JOININGS)
def test_the_weights_of_neighbouring_windows_add_up_to_one(name: str) -> None:
    w = JOININGS[name]
    total = np.zeros(4 * (w.size + 9 * w.stride))
    for k in range(10):
        total[4 * k * w.stride :][: 4 * w.size] += w.share(4)
    np.testing.assert_allclose(total[4 * w.size : -4 * w.size], 1.0, atol=1e-12)


@pytest.mark.parametrize("name", JOININGS)
@pytest.mark.parametrize("shape", [(100, 90), (7, 200), (1, 40), (33, 32)])
def test_a_network_that_repeats_pixels_gives_the_repeated_block(name: str, shape: tuple[int, int]) -> None:
    block = RNG.normal(size=shape).astype(np.float32)
    got = in_windows(_repeated, block, JOININGS[name], 4, anchor=JOININGS[name].reach)
    np.testing.assert_allclose(got[0], _repeated(block[None])[0, 0], atol=1e-5)


def _mean_of_window(some: np.ndarray) -> np.ndarray:
    """A network whose answer depends on the whole window, and on where in it a pixel lies."""
    ramp = np.linspace(0, 1, some.shape[1] * 4)
    return (some.mean(axis=(1, 2))[:, None, None] + ramp[:, None] * ramp)[:, None].astype(np.float32)


@pytest.mark.parametrize("name", JOININGS)
def test_blocks_on_the_lattice_give_what_the_whole_gives(name: str) -> None:
    """And blocks off the lattice do not: the test sees the difference."""
    w, scan = JOININGS[name], RNG.normal(size=(400, 300)).astype(np.float32)
    reach = w.reach
    padded = np.pad(scan, reach, mode="reflect")

    def answer(top: int, left: int, h: int, wide: int) -> np.ndarray:
        block = padded[top : top + h + 2 * reach, left : left + wide + 2 * reach]
        out = in_windows(_mean_of_window, block, w, 4, anchor=reach, context=reach)
        return out[0, 4 * reach : 4 * (reach + h), 4 * reach : 4 * (reach + wide)]

    whole = answer(0, 0, 400, 300)
    for top, left in ((0, 0), (3 * w.stride, 2 * w.stride), (5 * w.stride, 0)):
        part = answer(top, left, 2 * w.stride, 3 * w.stride)
        here = whole[4 * top :, 4 * left :][: part.shape[0], : part.shape[1]]
        np.testing.assert_allclose(part, here, atol=1e-5)
    off = answer(7, 5, 2 * w.stride, 3 * w.stride)
    assert np.abs(off - whole[28:, 20:][: off.shape[0], : off.shape[1]]).max() > 0.05


def test_centres_step_where_windows_disagree_and_fading_does_not() -> None:
    scan = RNG.normal(size=(160, 160)).astype(np.float32)
    ramp = np.multiply.outer(np.linspace(-1, 1, 128), np.ones(128)).astype(np.float32)

    def tilted(some: np.ndarray) -> np.ndarray:
        return np.broadcast_to(ramp, (len(some), 1, 128, 128))

    steps = {}
    for name, w in JOININGS.items():
        got = in_windows(tilted, scan, w, 4, anchor=w.reach)[0]
        steps[name] = np.abs(np.diff(got, axis=0)).max()
    assert steps["centre"] > 1.2 and steps["smooth"] < 0.15


def test_only_windows_that_are_wanted_are_computed() -> None:
    seen = []

    def count(some: np.ndarray) -> np.ndarray:
        seen.append(len(some))
        return _repeated(some)

    w = Windows(32, 20, False)
    block = np.zeros((60 + 2 * w.reach, 40 + 2 * w.reach), np.float32)
    in_windows(count, block, w, 4, anchor=w.reach, context=w.reach, at_once=4)
    assert sum(seen) == 3 * 2 and max(seen) == 4
