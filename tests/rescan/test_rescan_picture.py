"""The numbered picture: boxes where the fields are, on the grey levels of the map, and nothing else changed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from finescan.errors import InputError
from finescan.rescan import numbered_picture
from finescan.rescan.picture import ORANGE


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def grey_map(shape) -> np.ndarray:
    y, x = np.indices(shape)
    return (1000 + 3 * y + 2 * x).astype(np.uint16)


def test_boxes_lie_where_the_fields_are(crooked):
    """Enlarged three times, 300 x 400 px: the corners of each field are orange, the middle of its right edge too."""
    picture = pixels(numbered_picture(grey_map((300, 400)), crooked))
    scale = 900 // 400
    assert picture.shape[1] == 400 * scale and picture.shape[0] > 300 * scale  # and a strip with the scale bar
    for f in crooked.fields:
        (top, left), (bottom, right) = f.start_px, f.stop_px
        edges = [((top + bottom) / 2, right), (bottom, (left + right) / 2), (bottom, right)]
        for y, x in edges:
            box = picture[int(y * scale) - 3 : int(y * scale) + 4, int(x * scale) - 3 : int(x * scale) + 4]
            assert (box == ORANGE).all(axis=-1).any(), f.id
    mirrored = picture[: 300 * scale][::-1]
    assert not (mirrored[: 60 * scale, 300 * scale :] == ORANGE).all(axis=-1).all()
    assert not (picture[: 150 * scale, 200 * scale :] == ORANGE).all(axis=-1).any()  # the empty corner of the L


def test_grey_levels_rise_as_in_the_map(crooked):
    coarse = grey_map((300, 400))
    picture = pixels(numbered_picture(coarse, crooked))
    free = picture[20:300:40, 500:780:40, 0].astype(int)  # no field and no way there
    assert (np.diff(free, axis=0) >= 0).all() and (np.diff(free, axis=1) >= 0).all()
    assert coarse.max() == 1000 + 3 * 299 + 2 * 399  # as it was


def test_a_large_map_becomes_a_small_picture(crooked):
    from dataclasses import replace

    from finescan.values import Grid

    grid = Grid.of((5000, 6100), 50.0)
    plan = replace(crooked, map=replace(crooked.map, grid=grid))
    picture = pixels(numbered_picture(np.zeros(grid.shape, np.uint8), plan))
    assert max(picture.shape) <= 2400
    assert picture.shape[1] == 6100 // 3


def test_missing_values_and_constant_maps_are_drawn(crooked):
    coarse = np.full((300, 400), np.nan, np.float32)
    assert pixels(numbered_picture(coarse, crooked)).shape[2] == 3
    coarse[:] = 5.0
    assert pixels(numbered_picture(coarse, crooked)).shape[2] == 3


def test_another_map_is_refused(crooked):
    with pytest.raises(InputError, match=r"The picture is \(30, 40\) px, but the plan's map has \(300, 400\)"):
        numbered_picture(np.zeros((30, 40)), crooked)
