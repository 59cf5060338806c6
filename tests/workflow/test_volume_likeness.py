"""Volumes are compared with what a model learned from before it is used on them, as maps are."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan import io, workflow
from finescan.errors import MapRefused
from finescan.models import load_model
from finescan.trust import compare_looks
from finescan.values import Grid, Image, Look
from finescan.workflow.comparing import compare_map
from finescan.workflow.volume_likeness import look_of_volume


def volume(sigma: float, seed: int, shape=(48, 96, 96)) -> Image:
    """Smoothed noise of mean 1000 and standard deviation 100, with a little noise on it."""
    rng = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    data = 1000 + 100 * soft / soft.std() + rng.normal(0, 5, shape)
    return Image(data.astype(np.float32), Grid(shape=shape, axes="ZYX", pixel_size_nm=(1e3,) * 3, origin_nm=(0.0,) * 3))


def test_the_structure_tells_volumes_apart_not_the_part_that_is_looked_at():
    whole = volume(2.0, 0)
    part = whole.with_data(whole.data[:30], whole.grid.crop((0, 0, 0), (30, 96, 96)))
    card = look_of_volume(part)
    assert compare_looks(look_of_volume(whole), card).verdict == "like"
    assert compare_looks(look_of_volume(volume(2.0, 1)), card).verdict == "like"
    other = compare_looks(look_of_volume(volume(1.0, 2)), card)
    assert other.verdict == "unlike" and not other.fixable


def test_empty_corners_are_no_part_of_the_look():
    full = volume(2.0, 3)
    y, x = np.indices(full.grid.shape[1:]) - 47.5
    outside = np.hypot(y, x) > 48
    empty = full.with_data(np.where(outside, 0, full.array()).astype(np.float32))
    assert look_of_volume(empty).mean == pytest.approx(1000, abs=10)
    assert compare_looks(look_of_volume(empty), look_of_volume(full)).verdict == "like"


def test_a_run_keeps_the_look_of_the_voxels_it_learned_from(finished_volume, volumes):
    kept = Look.from_dict(load_model(finished_volume / "model").card.training["look"])
    coarse = io.read_volume(volumes / "coarse.tif").array()
    inner = coarse[6:-6, 8:-8, 8:-8]
    assert kept.mean == pytest.approx(inner.mean(), rel=0.1) and kept.std == pytest.approx(inner.std(), rel=0.3)
    facts = json.loads((finished_volume / "trust.json").read_text())["likeness"]
    assert facts["verdict"] == "like" and facts["places"] is None


def test_another_material_is_refused_and_by_force_gets_no_intervals(finished_volume, volumes, small, tmp_path):
    coarse = io.read_volume(volumes / "coarse.tif")
    grey, noise = coarse.array(), np.random.default_rng(0).normal(size=coarse.grid.shape)
    fine = ndimage.gaussian_filter(noise, 0.7)
    other = (grey.mean() + grey.std() * fine / fine.std()).astype(np.float32)
    io.write(tmp_path / "other.tif", coarse.with_data(other))
    model = finished_volume / "model"
    with pytest.raises(MapRefused, match=r"other\.tif: The map is unlike what .* Nothing was written\. Pass --force"):
        workflow.enhance_file(model, tmp_path / "other.tif", tmp_path / "out.tif")
    assert {p.name for p in tmp_path.iterdir()} == {"other.tif"}
    done = workflow.enhance_file(model, tmp_path / "other.tif", tmp_path / "out.tif", force=True)
    assert done.facts["likeness"]["verdict"] == "unlike" and done.facts["likeness"]["forced"]
    assert done.facts["intervals"] is None and not (tmp_path / "out.uncertainty.tif").exists()
    assert "unlike the area they were calibrated on" in done.text


def test_a_model_without_a_look_cannot_tell_and_says_so(finished_volume, volumes, tmp_path):
    copy = shutil.copytree(finished_volume / "model", tmp_path / "model")
    card = load_model(copy).card
    bare = replace(card, training={k: v for k, v in card.training.items() if k != "look"})
    found, _ = compare_map(io.read_volume(volumes / "coarse.tif"), bare)
    assert found.verdict == "unknown" and "holds no statistics of its training area" in found.sentences[0]
