"""Windows: a block in small overlapping pieces, for networks that look at one small picture at a time.

A reference-based network chooses its reference for a window, so what it says of a pixel depends on the window the
pixel lies in. Windows lie on a lattice that is fixed by the block, and their answers are joined in one of two ways:
only the middle of each is kept (T. Reclik et al., Materials & Design 2025, section 2.3.3: of 128 pixels the central
62.5 %), or neighbouring answers fade into each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
#: windows (n, size, size) -> answers (n, kinds, size * factor, size * factor)
Answer = Callable[[Floats], Floats]

AT_ONCE = 8


@dataclass(frozen=True)
class Windows:
    """How a block is cut and put together again.

    Parameters
    ----------
    size : side of a window, coarse pixels.
    stride : distance of neighbouring windows, coarse pixels; ``size - stride`` is even.
    fading : whether answers fade into each other; else each pixel is taken from the window it is most central in.
    """

    size: int
    stride: int
    fading: bool

    @property
    def margin(self) -> int:
        """Coarse pixels on each side of the ``stride`` middle ones."""
        return (self.size - self.stride) // 2

    @property
    def reach(self) -> int:
        """Coarse pixels around a box of whole strides within which all windows that count for it lie."""
        return self.margin + (self.stride if self.fading else 0)

    def share(self, factor: int) -> NDArray[np.float64]:
        """Weight of a window's fine pixels along one axis; the weights of all windows add up to one."""
        inwards = np.arange(self.size * factor) + 0.5
        inwards = np.minimum(inwards, inwards[::-1])
        ramp = 2 * self.margin * factor
        if not self.fading:
            return (inwards > ramp / 2).astype(np.float64)
        return np.sin(np.pi / 2 * np.minimum(inwards / max(ramp, 1), 1.0)) ** 2


#: published: of 32 coarse pixels the central 20 are kept; ours: 24 pixels apart, and fading over the 8 they share
JOININGS: dict[str, Windows] = {"centre": Windows(32, 20, False), "smooth": Windows(32, 24, True)}
#: for networks that see farther: the windows of 64 coarse pixels that SwinIR is trained on, fading over 16
WIDE = Windows(64, 48, True)


def fading_windows(size: int) -> Windows:
    """How answers for windows of a size fade into each other."""
    return next(w for w in (JOININGS["smooth"], WIDE) if w.size == size)


def in_windows(
    answer: Answer,
    block: Floats,
    windows: Windows,
    factor: int,
    *,
    anchor: int,
    context: int = 0,
    at_once: int = AT_ONCE,
) -> Floats:
    """What a network says of a block, window by window.

    Parameters
    ----------
    answer : the network on windows.
    block : (h, w) coarse pixels; beyond it, it is mirrored.
    anchor : row and column of the block on which the lattice lies: a window's middle begins there.
    context : outer coarse pixels whose answer is not wanted; it is 0 there.
    at_once : windows given to the network together.

    Returns
    -------
    (kinds, h * factor, w * factor) float32.
    """
    size = windows.size
    starts = [_starts(windows, anchor, context, n - context) for n in block.shape]
    before = [max(0, -s[0]) for s in starts]
    after = [max(0, s[-1] + size - n) for s, n in zip(starts, block.shape, strict=True)]
    padded = np.pad(block, tuple(zip(before, after, strict=True)), mode="reflect" if min(block.shape) > 1 else "edge")
    places = [(y + before[0], x + before[1]) for y in starts[0] for x in starts[1]]
    weight = np.multiply.outer(windows.share(factor), windows.share(factor)).astype(np.float32)
    total: Floats | None = None
    for first in range(0, len(places), at_once):
        some = places[first : first + at_once]
        answers = answer(np.stack([padded[y : y + size, x : x + size] for y, x in some]))
        if total is None:
            total = np.zeros((answers.shape[1], *(n * factor for n in padded.shape)), np.float32)
        for (y, x), one in zip(some, answers, strict=True):
            total[:, y * factor : (y + size) * factor, x * factor : (x + size) * factor] += weight * one
    assert total is not None  # a block has at least one pixel, so there is a window
    inside = tuple(slice(b * factor, (b + n) * factor) for b, n in zip(before, block.shape, strict=True))
    return _without_context(total[(slice(None), *inside)], context * factor)


def _starts(windows: Windows, anchor: int, low: int, high: int) -> list[int]:
    """First rows of the windows that count for rows ``low`` to ``high - 1``."""
    grown = windows.margin if windows.fading else 0
    first = (low - grown - anchor) // windows.stride
    last = (high - 1 + grown - anchor) // windows.stride
    return [anchor + k * windows.stride - windows.margin for k in range(first, last + 1)]


def _without_context(total: Floats, margin: int) -> Floats:
    out = np.zeros_like(total)
    inner = (slice(None), *(slice(margin, n - margin) for n in total.shape[1:]))
    out[inner] = total[inner]
    return out
