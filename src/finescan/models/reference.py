"""ReferenceNet: TTSR with the references it takes texture from, as one network from coarse to fine grey levels.

The bank of references and the choice among them follow T. Reclik et al., "Resolution enhancement of scanning electron
micrographs using artificial intelligence" (Materials & Design, 2025, doi:10.1016/j.matdes.2025.113955), section 2.3.1.
The bank travels with the weights: a model without its references would be another model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from finescan.errors import InputError, ModelError
from finescan.models.layers import Interpolate, bounded
from finescan.models.networks import start_small
from finescan.models.texture import search, transfer
from finescan.models.ttsr import BLOCKS, FACTOR, Ttsr
from finescan.models.vgg import Vgg19

WINDOW = 32  # coarse pixels per side that a reference is chosen for, as published
KEPT_BYTES = 1 << 29  # features of references held ready between windows
_EMBEDDED_AT_ONCE = 4
_TEXTURE_START = 0.03

Features = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Transferred:
    """What the network makes of coarse pictures and references.

    Parameters
    ----------
    sr : (n, 1, 4 h, 4 w) fine pictures, normalised like the input.
    textures : transferred features (n, 64, 4 h, 4 w), (n, 128, 2 h, 2 w) and (n, 256, h, w).
    attention : (n, 1, h, w), how alike the best match is, -1 to 1.
    """

    sr: Tensor
    textures: Features
    attention: Tensor


class ReferenceNet(nn.Module):
    """Coarse grey levels in, fine ones out, texture from the most similar reference of the bank.

    Parameters
    ----------
    channels : 3 repeats grey levels as red, green and blue, as published; 1 does without the detour.
    features, blocks : of the main network; 64 and 16 as published.
    references, side : how many references, and their side in fine pixels.
    span : standard deviations of the fine grey levels that the network's range [-1, 1] reaches to.
    skip : whether what is learned is added to bicubic interpolation (published: no).
    bound : with ``skip``, largest correction as a share of the local spread of the coarse picture; 0 = no bound.
    selector : whether references are compared by VGG19 (published); else by the network's own texture extractor.
    """

    bank: Tensor
    keys: Tensor

    def __init__(
        self, *, channels: int = 1, features: int = 64, blocks: int = BLOCKS[0], references: int = 256, side: int = 300,
        span: float = 4.0, skip: int = 1, bound: float = 0.5, selector: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if side < FACTOR * WINDOW or side % FACTOR:
            raise ModelError(
                f"A reference is at least as large as a patch, {FACTOR * WINDOW} fine pixels, and a multiple of "
                f"{FACTOR}, but side {side} came."
            )
        depth = (blocks, blocks, max(1, blocks // 2), max(1, blocks // 4))
        self.channels, self.span, self.bound = channels, span, bound
        self.net = Ttsr(channels=channels, features=features, blocks=depth)
        self.selector = Vgg19(channels=1).requires_grad_(False) if selector else None
        self.skip = Interpolate(FACTOR, "bicubic") if skip else None
        if skip:
            start_small(self.net.MainNet.merge_tail.conv_tail2)
            self._start_with_little_texture(features)
        width = 512 if selector else 256
        self.register_buffer("bank", torch.zeros(references, side, side, dtype=torch.float16))
        self.register_buffer("keys", torch.zeros(references, width))
        self._enlarge = Interpolate(FACTOR, "bicubic")
        self._kept: OrderedDict[int, tuple[Tensor, Features]] = OrderedDict()

    def _start_with_little_texture(self, features: int) -> None:
        """Texture, a sum over 2300 numbers, first says about as much as a feature of the coarse picture."""
        main = self.net.MainNet
        with torch.no_grad():
            for head in (main.conv11_head, main.conv22_head, main.conv33_head):
                head.weight[:, features:].mul_(_TEXTURE_START)

    # ------------------------------------------------------------------ pictures as the parts of the network see them
    def enlarge(self, x: Tensor) -> Tensor:
        """(n, 1, h, w) -> (n, 1, 4 h, 4 w), as the search sees coarse pictures."""
        return self._enlarge(x)

    def to_reference_domain(self, fine: Tensor) -> Tensor:
        """(n, 1, h, w) without its detail: made coarse by four, and interpolated back; sides are multiples of 4."""
        small = functional.interpolate(fine.float(), scale_factor=1 / FACTOR, mode="bicubic", antialias=True)
        return self._enlarge(small)

    def texture(self, fine: Tensor) -> Features:
        """Features of the texture extractor (64, 128 and 256 channels) of normalised fine pictures (n, 1, h, w)."""
        return self.net.LTE((self._in_range(fine) + 1) / 2)

    def embed(self, fine: Tensor) -> Tensor:
        """Vectors (n, d) that say what fine pictures (n, 1, h, w) show, for the choice of references.

        Features are averaged over the picture, so that a patch and a reference of another size can be compared, and
        it does not matter where in the picture something lies. The paper does not say how it makes sizes equal.
        """
        if self.selector is None:
            return _pooled(self.texture(fine)[2])
        grey = ((fine / self.span) + 1) / 2
        return _pooled(self.selector(grey))

    def _in_range(self, x: Tensor) -> Tensor:
        return (x / self.span).expand(-1, self.channels, -1, -1)

    # ------------------------------------------------------------------ the bank
    def set_references(self, crops: Tensor, *, keys: Tensor | None = None) -> None:
        """Fill the bank with normalised fine pictures (references, side, side), and embed them.

        To be called again when the texture extractor has been trained, where that embeds. ``keys`` are the embeddings,
        where they are known already.
        """
        if tuple(crops.shape) != tuple(self.bank.shape):
            raise ModelError(
                f"The network was built for references {tuple(self.bank.shape)} (number, rows, columns), but "
                f"{tuple(crops.shape)} came."
            )
        with torch.no_grad():
            self.bank.copy_(crops)
            if keys is None:
                parts = [self._embedded(first) for first in range(0, len(crops), _EMBEDDED_AT_ONCE)]
                keys = torch.cat(parts)
            self.keys.copy_(keys)
        self._kept.clear()

    def _embedded(self, first: int) -> Tensor:
        return self.embed(self.to_reference_domain(self.reference(slice(first, first + _EMBEDDED_AT_ONCE))))

    def reference(self, index: slice | Sequence[int] | Tensor) -> Tensor:
        """References (n, 1, side, side) of the bank, float32."""
        return self.bank[index][:, None].float()

    def choose(self, x: Tensor) -> Tensor:
        """Number of the most similar reference for each normalised coarse picture (n, 1, h, w): (n,), int64.

        Largest cosine of the embeddings, the first of equals (equations 3 and 4 of the paper).
        """
        return self._nearest(self.embed(self.enlarge(x)))

    def _nearest(self, vectors: Tensor) -> Tensor:
        likeness = functional.normalize(vectors, dim=1) @ functional.normalize(self.keys, dim=1).T
        return likeness.argmax(dim=1)

    # ------------------------------------------------------------------ the way through
    def with_reference(self, x: Tensor, ref: Tensor) -> Transferred:
        """Enhance normalised coarse pictures (n, 1, h, w) with given normalised references (n, 1, hr, wr).

        Gradients reach the texture extractor through the references' textures and the likeness.
        """
        if min(ref.shape[2:]) < FACTOR or any(side % FACTOR for side in ref.shape[2:]):
            raise InputError(
                f"References have sides of whole multiples of {FACTOR} pixels, but {tuple(ref.shape[2:])} came."
            )
        return self.with_features(x, *self.extracted(ref))

    def extracted(self, ref: Tensor) -> tuple[Tensor, Features]:
        """What a search in references (n, 1, hr, wr) looks at, and the textures that it may take from them."""
        return self.texture(self.to_reference_domain(ref))[2], self.texture(ref)

    def with_features(self, x: Tensor, keys: Tensor, sources: Features) -> Transferred:
        """As :meth:`with_reference`, with what :meth:`extracted` gave of the references."""
        return self._transferred(x, self.texture(self.enlarge(x))[2], keys, sources)

    def _transferred(self, x: Tensor, queries: Tensor, keys: Tensor, sources: Features) -> Transferred:
        attention, index = search(queries, keys)
        size, width = (x.shape[2], x.shape[3]), keys.shape[3]
        t1, t2, t3 = (transfer(s, index, size, width, step) for s, step in zip(sources, (4, 2, 1), strict=True))
        main = self.net.MainNet(self._in_range(x), attention, t3, t2, t1, limited=False)
        return Transferred(self._out_of_range(main.float().mean(dim=1, keepdim=True), x), (t1, t2, t3), attention)

    def _out_of_range(self, answer: Tensor, x: Tensor) -> Tensor:
        answer = answer * self.span
        if self.skip is None:
            return answer
        if self.bound:
            phases = bounded(functional.pixel_unshuffle(answer, FACTOR), x.float(), self.bound)
            answer = functional.pixel_shuffle(phases, FACTOR)
        return self.skip(x) + answer

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, h, w) normalised coarse pictures -> (n, 1, 4 h, 4 w); each picture gets one reference of the bank."""
        if not bool(self.keys.any()):
            raise ModelError(
                "The model holds no references to take texture from (its bank is empty). Train it on a pair with "
                "--from, or import its weights together with fine scans as references."
            )
        large = self.enlarge(x)
        queries = self.texture(large)[2]
        vectors = _pooled(queries) if self.selector is None else self.embed(large)
        chosen = self._nearest(vectors).tolist()
        parts: list[Tensor | None] = [None] * len(x)
        for number in sorted(set(chosen)):
            mine = [i for i, c in enumerate(chosen) if c == number]
            keys, sources = self._features(number)
            many = len(mine)
            given = self._transferred(x[mine], queries[mine], keys.expand(many, -1, -1, -1), _repeated(sources, many))
            for i, sr in zip(mine, given.sr, strict=True):
                parts[i] = sr
        return torch.stack([p for p in parts if p is not None])

    def _features(self, number: int) -> tuple[Tensor, Features]:
        """Keys and textures of a reference; kept where no gradient is wanted, the least recently used forgotten."""
        if torch.is_grad_enabled() or self.training:
            return self.extracted(self.reference([number]))
        if number in self._kept:
            self._kept.move_to_end(number)
        else:
            self._kept[number] = self.extracted(self.reference([number]))
            size = 4 * sum(t.numel() for t in (self._kept[number][0], *self._kept[number][1]))
            while len(self._kept) > max(1, KEPT_BYTES // size):
                self._kept.popitem(last=False)
        return self._kept[number]

    # ------------------------------------------------------------------ what was kept must not outlive the weights
    def train(self, mode: bool = True) -> Self:
        """As usual; forgets the features of references."""
        self._kept.clear()
        return super().train(mode)

    def _apply(self, fn, recurse: bool = True):  # type: ignore[no-untyped-def]
        self._kept.clear()
        return super()._apply(fn, recurse)


def _pooled(features: Tensor) -> Tensor:
    return features.float().mean(dim=(2, 3))


def _repeated(sources: Features, many: int) -> Features:
    a, b, c = (s.expand(many, -1, -1, -1) for s in sources)
    return a, b, c
