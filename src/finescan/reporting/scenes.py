"""Scenes as HTML: the pictures as images, and the facts the page's script needs to show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.reporting.pictures import cividis_table, grey_window, jpeg_data_uri, png_data_uri
from finescan.reporting.report import Layer, Scene
from finescan.reporting.volume import VolumeScene
from finescan.reporting.volume_scenes import volume_html
from finescan.reporting.words import FLAG_STYLES, grey_text, legend
from finescan.values import FLAGS, TrustMap

PAGE_MB = 13.5  # for the volumes of one page together, so that it can be mailed
LEAST_MB = 0.5  # for one of them, however many there are


class SceneWriter:
    """Numbers the scenes of a page and collects the facts about them."""

    def __init__(self) -> None:
        self._scenes: list[dict[str, Any]] = []
        self._spent_mb = 0.0

    def facts(self) -> dict[str, Any]:
        """For the page's script."""
        flags = [
            {"name": name, "bit": bit, "colour": FLAG_STYLES[name][0], "hatch": FLAG_STYLES[name][1]}
            for name, (bit, _) in FLAGS.items()
        ]
        wanted = self.has_volumes or any(s.get("overlay") for s in self._scenes)
        colours = {"colours": {"cividis": cividis_table(), "cividis_r": cividis_table()[::-1]}} if wanted else {}
        return {"flags": flags, "scenes": self._scenes, **colours}

    @property
    def has_volumes(self) -> bool:
        """Whether the page needs the part of the script that shows volumes."""
        return any(s.get("kind") == "volume" for s in self._scenes)

    def html(self, scene: Scene | VolumeScene) -> str:
        """A figure element; its pictures are plain images until the script replaces them."""
        if isinstance(scene, VolumeScene):
            left = max(LEAST_MB, PAGE_MB - self._spent_mb)
            html, facts = volume_html(replace(scene, budget_mb=min(scene.budget_mb, left)), len(self._scenes))
            self._scenes.append(facts)
            self._spent_mb += len(html) / 1e6
            return html
        return self._picture(scene)

    def _picture(self, scene: Scene) -> str:
        k = len(self._scenes)
        common = grey_window(layer.data for layer in scene.layers if layer.window is None)
        pictures = [_encode(layer, common, scene) for layer in scene.layers]
        shown = None if scene.flags is None else _inside(scene.flags, scene)
        flags = None if shown is None else _flags(shown)
        overlay = None if scene.overlay is None else _overlay(scene.overlay, scene)
        self._scenes.append(
            {
                "title": scene.title,
                "extent": list(scene.extent_nm),
                "origin": None if scene.origin_nm is None else list(scene.origin_nm),
                "mode": scene.mode,
                "layers": [facts for facts, _ in pictures],
                "flags": None if flags is None else flags[0],
                "overlay": None if overlay is None else overlay[0],
                "boxes": [dict(vars(b)) for b in scene.boxes],
            }
        )
        images = "".join(
            f'<figure><img alt="{escape(scene.title)}: {escape(layer.name)}" src="{uri}">'
            f"<figcaption>{escape(layer.name)}</figcaption></figure>"
            for layer, (_, uri) in zip(scene.layers, pictures, strict=True)
        )
        flag_words = "" if shown is None else legend(_shares(shown[0], scene.flag_shares))
        hidden = "" if flags is None else f'<img class="flags" alt="" hidden src="{flags[1]}">'
        hidden += "" if overlay is None else f'<img class="overlay" alt="" hidden src="{overlay[1]}">'
        return (
            f'<figure class="scene" id="scene-{k}"><figcaption><h3>{escape(scene.title)}</h3>'
            f'<p class="prose">{escape(scene.caption)}</p></figcaption>'
            f'<div class="stills">{images}</div>{hidden}{flag_words}'
            f'<p class="window">{escape(_window_text(scene, common))}</p></figure>'
        )


def _encode(layer: Layer, common: tuple[float, float], scene: Scene) -> tuple[dict[str, Any], str]:
    """Facts of a layer and its picture. ``coding`` (offset, step) gives grey levels back from picture levels."""
    window = layer.window or common
    exact = layer.data.dtype == np.uint8
    uri = (png_data_uri if scene.lossless else jpeg_data_uri)(layer.data, None if exact else window)
    h, w = layer.data.shape
    size = layer.pixel_size_nm or (scene.extent_nm[0] / h, scene.extent_nm[1] / w)
    facts = {
        "name": layer.name,
        "shape": [h, w],
        "pixel": list(size),
        "offset": list(layer.offset_nm),
        "window": list(window),
        "coding": [0.0, 1.0] if exact else [window[0], (window[1] - window[0]) / 255.0],
        "exact": bool(exact and scene.lossless),
    }
    return facts, uri


def _overlay(layer: Layer, scene: Scene) -> tuple[dict[str, Any], str]:
    """Facts and picture of a map laid over the others."""
    window = layer.window or grey_window([layer.data])
    facts, uri = _encode(replace(layer, window=window), window, replace(scene, lossless=True))
    return {**facts, "colours": "cividis"}, uri


def _offset(trust: TrustMap, scene: Scene) -> NDArray[np.float64]:
    """Upper-left edge of the flags, counted from that of the scene, nm."""
    return np.zeros(2) if scene.origin_nm is None else np.asarray(trust.grid.edge_nm) - np.asarray(scene.origin_nm)


def _inside(trust: TrustMap, scene: Scene) -> tuple[TrustMap, NDArray[np.float64]]:
    """The flags a scene shows (whole flag pixels), and their offset in it."""
    size, offset = np.asarray(trust.grid.pixel_size_nm), _offset(trust, scene)
    start = np.clip(np.floor(-offset / size + 1e-6), 0, np.asarray(trust.grid.shape) - 1).astype(int)
    stop = np.ceil((np.asarray(scene.extent_nm) - offset) / size - 1e-6).astype(int)
    stop = np.clip(stop, start + 1, trust.grid.shape)
    part = np.ascontiguousarray(trust.flags[start[0] : stop[0], start[1] : stop[1]])
    return TrustMap(part, trust.grid.crop(start.tolist(), stop.tolist())), offset + start * size


def _flags(shown: tuple[TrustMap, NDArray[np.float64]]) -> tuple[dict[str, Any], str]:
    """Facts and picture of the flags."""
    trust, offset = shown
    facts = {"pixel": list(trust.grid.pixel_size_nm), "offset": offset.tolist(), "shape": list(trust.grid.shape)}
    return facts, png_data_uri(trust.flags)


def _shares(trust: TrustMap, stated: Mapping[str, float] | None) -> Mapping[str, float]:
    return trust.shares() if stated is None else {name: stated.get(name, 0.0) for name in FLAGS}


def _window_text(scene: Scene, common: tuple[float, float]) -> str:
    own = [layer for layer in scene.layers if layer.window is not None]
    text = []
    if len(own) < len(scene.layers):
        text.append(f"Shown from grey level {grey_text(common[0])} (black) to {grey_text(common[1])} (white)")
    text += [f"{a.name} from {grey_text(a.window[0])} to {grey_text(a.window[1])}" for a in own if a.window is not None]
    kind = "" if scene.lossless else " The pictures of this overview are compressed; read grey levels as approximate."
    return "; ".join(text) + ". The window is for display only; the data are unchanged." + kind
