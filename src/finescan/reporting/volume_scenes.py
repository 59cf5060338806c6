"""Volume scenes as HTML: the pictures, and the facts the page's script needs to show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.reporting.pictures import png_data_uri
from finescan.reporting.volume import VolumeBox, VolumeLayer, VolumeScene
from finescan.reporting.volume_pictures import (
    CUTS,
    Album,
    Part,
    block_of,
    choose_quality,
    common_window,
    cut_of,
    encode,
    planes,
    shrunk,
)
from finescan.reporting.words import grey_text, legend
from finescan.values import FLAGS, Grid

_FIXED = {"xz": 1, "yz": 2}  # the axis along which a cut stands still
_SLAB = 1 << 26  # flags counted at a time
_COLOUR_WORDS = {"cividis": "high values are bright", "cividis_r": "low values are bright"}


def volume_html(scene: VolumeScene, number: int) -> tuple[str, dict[str, Any]]:
    """A figure element, and the facts about it for the page's script.

    The figure shows the three cuts through the scene's point as plain images until the script takes over.
    """
    writer = _Writer(scene)
    layers = [writer.layer(layer) for layer in scene.layers]
    flags = None if scene.flags is None else writer.flags()
    stills, used = _stills(scene, layers, writer)
    rest = "".join(
        f'<img alt="" data-picture="{k}" src="{uri}">' for k, uri in enumerate(writer.album.uris) if k not in used
    )
    words = "".join(f'<p class="window">{escape(w)}</p>' for w in (writer.window_text(), writer.storage_text()))
    html = (
        f'<figure class="scene volume" id="scene-{number}"><figcaption><h3>{escape(scene.title)}</h3>'
        f'<p class="prose">{escape(scene.caption)}</p></figcaption>'
        f'<div class="stills">{stills}</div><div class="slices" hidden>{rest}</div>'
        f"{'' if scene.flags is None else legend(_shares(scene))}{words}</figure>"
    )
    return html, writer.facts() | {"layers": layers, "flags": flags}


class _Writer:
    """What all layers of one scene have in common: window, way of storing, stops of the slider, the album."""

    def __init__(self, scene: VolumeScene) -> None:
        self.scene, self.album = scene, Album()
        self.cuts = {layer.name: _three_cuts(scene, layer) for layer in scene.layers}
        self.window = common_window(scene, self.cuts)
        self.way = choose_quality(scene, {name: c[0] for name, c in self.cuts.items() if c}, self.window)
        self.stops = scene.stops(self.way.stops)
        self.nm = [float(scene.grid.to_nm([s, 0, 0])[0]) for s in self.stops]
        self.first = int(np.argmin([abs(v - scene.at[0]) for v in self.nm]))

    def facts(self) -> dict[str, Any]:
        """Of the scene; positions count from its edge, nm."""
        grid = self.scene.grid
        return {
            "kind": "volume",
            "title": self.scene.title,
            "extent": list(grid.extent_nm),
            "origin": list(grid.edge_nm),
            "voxel": list(grid.pixel_size_nm),
            "shape": list(grid.shape),
            "stops": list(self.stops),
            "first": self.first,
            "at": [a - e for a, e in zip(self.scene.at, grid.edge_nm, strict=True)],
            "mode": self.scene.mode,
            "boxes": [_box(b, grid) for b in self.scene.boxes],
        }

    def layer(self, layer: VolumeLayer) -> dict[str, Any]:
        """Facts of a layer; its pictures go into the album. ``coding`` (offset, step) gives grey levels back."""
        window, part = layer.window or self.window, Part.of(layer.image.grid, self.scene.grid)
        block = 1 if part is None else block_of(part, self.way.max_px)
        plain = layer.image.dtype == np.uint8 and block == 1

        def store(data: NDArray[Any]) -> list[int | None]:
            uri, mask = encode(shrunk(data, block), window, self.way.jpeg)
            return [self.album.add(uri), None if mask is None else self.album.add(mask)]

        cuts = dict(zip(_FIXED, self.cuts[layer.name][1:], strict=False))
        return {
            "name": layer.name,
            "window": list(window),
            "coding": [0.0, 1.0] if plain else [window[0], (window[1] - window[0]) / 255.0],
            "exact": plain and self.way.jpeg is None,
            "colours": layer.colours,
            **self._three(layer.image.data, part, block, store, cuts.__getitem__),
        }

    def flags(self) -> dict[str, Any]:
        """Facts of the flags; their pictures hold the bits."""
        trust = self.scene.flags
        assert trust is not None
        part = Part.of(trust.grid, self.scene.grid)
        block = 1 if part is None else block_of(part, self.way.max_px)

        def store(data: NDArray[Any]) -> list[int | None]:
            return [self.album.add(png_data_uri(np.ascontiguousarray(shrunk(data, block, flags=True)))), None]

        def cut(name: str) -> NDArray[Any]:
            assert part is not None
            index = part.nearest(self.scene.at[_FIXED[name]], _FIXED[name])
            return cut_of(trust.flags, part, name, index or 0)

        return self._three(trust.flags, part, block, store, cut)

    def _three(
        self,
        array: Any,
        part: Part | None,
        block: int,
        store: Callable[[NDArray[Any]], list[int | None]],
        cut: Callable[[str], NDArray[Any]],
    ) -> dict[str, Any]:
        """Per cut: where its pictures lie and their numbers (picture, mask), or None outside the volume."""
        if part is None:
            return dict.fromkeys(CUTS)
        wanted = [part.nearest(v, 0) for v in self.nm]
        stored = {z: store(p) for z, p in planes(array, part, sorted({z for z in wanted if z is not None}))}
        place = part.geometry("xy", self.scene.grid, block)
        out: dict[str, Any] = {"xy": place | {"pictures": [None if z is None else stored[z] for z in wanted]}}
        for name, axis in _FIXED.items():
            there = part.nearest(self.scene.at[axis], axis) is not None
            place = part.geometry(name, self.scene.grid, block)
            out[name] = place | {"pictures": [store(cut(name))]} if there else None
        return out

    def window_text(self) -> str:
        """The grey windows in words."""
        text = []
        if any(layer.window is None for layer in self.scene.layers):
            low, high = self.window
            text.append(f"Shown from grey level {grey_text(low)} (black) to {grey_text(high)} (white)")
        for layer in self.scene.layers:
            if layer.window is not None:
                colours = _COLOUR_WORDS.get(layer.colours)
                unit = f" {layer.unit}" if layer.unit else ""
                low, high = layer.window
                more = f" ({colours})" if colours else ""
                text.append(f"{layer.name} from {grey_text(low)} to {grey_text(high)}{unit}{more}")
        return "; ".join(text) + ". The window is for display only; the data are unchanged."

    def storage_text(self) -> str:
        """How many slices there are, and how they are stored."""
        grid = self.scene.grid
        size = " × ".join(str(n) for n in grid.shape)
        stops = f"all {len(self.stops)}" if len(self.stops) == grid.shape[0] else f"{len(self.stops)} evenly spread"
        kind = "without loss" if self.way.jpeg is None else "compressed; read grey levels as approximate"
        blocks = {block_of(p, self.way.max_px) for p in map(self._part, self.scene.layers) if p is not None} - {1}
        small = f" and shrunk by blocks of up to {max(blocks)} voxels" if blocks else ""
        megabytes = f"{sum(map(len, self.album.uris)) / 1e6:.1f} MB"
        return (
            f"{size} voxels (z, y, x); the page holds {stops} slices along z. Pictures are stored {kind}{small}; "
            f"they take {megabytes} of this page."
        )

    def _part(self, layer: VolumeLayer) -> Part | None:
        return Part.of(layer.image.grid, self.scene.grid)


def _three_cuts(scene: VolumeScene, layer: VolumeLayer) -> list[NDArray[Any]]:
    """XY, XZ and YZ through the scene's point, or through the layer's middle along an axis on which it lies beside."""
    part = Part.of(layer.image.grid, scene.grid)
    if part is None:
        return []
    there = [part.nearest(v, a) for a, v in enumerate(scene.at)]
    z, y, x = (part.middle(a) if i is None else i for a, i in enumerate(there))
    data = layer.image.data
    return [next(iter(planes(data, part, [z])))[1], cut_of(data, part, "xz", y), cut_of(data, part, "yz", x)]


def _shares(scene: VolumeScene) -> Mapping[str, float]:
    """Share of voxels per flag, counted slab by slab when not given."""
    if scene.flag_shares is not None:
        return {name: scene.flag_shares.get(name, 0.0) for name in FLAGS}
    assert scene.flags is not None
    flags, grid = scene.flags.flags, scene.flags.grid
    counts = dict.fromkeys(FLAGS, 0)
    step = max(1, _SLAB // (grid.shape[1] * grid.shape[2]))
    for first in range(0, grid.shape[0], step):
        slab = np.bincount(np.asarray(flags[first : first + step]).ravel(), minlength=256)
        for name, (bit, _) in FLAGS.items():
            counts[name] += int(slab[[v for v in range(256) if v & bit]].sum())
    return {name: n / grid.size for name, n in counts.items()}


def _box(box: VolumeBox, grid: Grid) -> dict[str, Any]:
    edge = np.asarray(grid.edge_nm)
    start, stop = ((np.asarray(v) - edge).tolist() for v in (box.start_nm, box.stop_nm))
    return {"label": box.label, "kind": box.kind, "start": start, "stop": stop}


def _stills(scene: VolumeScene, layers: Sequence[Mapping[str, Any]], writer: _Writer) -> tuple[str, set[int]]:
    """The three cuts of every layer as images, and the numbers of the pictures used for them."""
    out: list[str] = []
    used: set[int] = set()
    for layer in layers:
        images = []
        for cut in CUTS:
            shown = layer[cut] and layer[cut]["pictures"][writer.first if cut == "xy" else 0]
            if shown and shown[0] not in used:
                used.add(shown[0])
                alt = escape(f"{scene.title}: {layer['name']}, {cut.upper()} cut")
                uri = writer.album.uris[shown[0]]
                images.append(f'<img class="{cut}" alt="{alt}" data-picture="{shown[0]}" src="{uri}">')
        caption = escape(f"{layer['name']}, slice {writer.stops[writer.first]}")
        out.append(f"<figure>{''.join(images)}<figcaption>{caption}</figcaption></figure>")
    return "".join(out), used
