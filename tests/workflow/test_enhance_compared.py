"""finescan enhance: the map is compared with the training area first, and its grey levels are matched if asked for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from finescan import io, workflow
from finescan.errors import InputError, MapRefused
from finescan.models import load_model
from finescan.simulation import simulate
from finescan.values import Image, look_of
from finescan.workflow.comparing import compare_map, prepare, typical


@pytest.fixture
def model(finished) -> Path:
    return finished / "model"


@pytest.fixture
def recorded(scans) -> Image:
    return io.read(scans / "coarse.tif")


def enhanced(model, path, folder, **options):
    output = folder / "enhanced.tif"
    outcome = workflow.enhance_file(model, path, output, overwrite=True, **options)
    return outcome, io.read(output)


def written(image: Image, path: Path) -> Path:
    io.write(path, image)
    return path


def without_statistics(model: Path, folder: Path) -> Path:
    """A copy of the model as an older version wrote it."""
    copy = Path(shutil.copytree(model, folder / "old"))
    card = json.loads((copy / "card.json").read_text())
    del card["training"]["look"]
    (copy / "card.json").write_text(json.dumps(card))
    return copy


def test_cards_keep_the_look_of_the_training_area(model, recorded):
    kept = load_model(model).card.training["look"]
    assert kept["mean"] == pytest.approx(recorded.array().mean(), rel=0.2)
    assert kept["mean"] == pytest.approx(load_model(model).card.lr_grey.mean, rel=0.1)
    assert 1 < kept["tiles"] < 10  # a part of 160 x 160 px


def test_the_map_it_was_trained_on_is_like_the_training_area(model, scans, tmp_path):
    outcome, _ = enhanced(model, scans / "coarse.tif", tmp_path)
    assert outcome.facts["likeness"]["verdict"] == "like"
    assert "The map is like what the model learned from" in outcome.text
    assert "matched_intensities" not in outcome.facts
    assert not outcome.facts["likeness"]["forced"]


def test_another_material_is_refused_before_anything_is_written(model, tmp_path):
    path = written(simulate("lattice", size=160, ratio=4, fine=200, seed=1).lr, tmp_path / "lattice.tif")
    with pytest.raises(MapRefused, match=r"lattice.tif: The map is unlike what the model learned from .*--force") as e:
        enhanced(model, path, tmp_path)
    assert "Nothing was written" in str(e.value) and e.value.exit_code == 4
    assert [p.name for p in tmp_path.iterdir()] == ["lattice.tif"]


def test_another_material_is_enhanced_by_force_and_said_to_be_another(model, tmp_path):
    path = written(simulate("lattice", size=160, ratio=4, fine=200, seed=1).lr, tmp_path / "lattice.tif")
    told = []
    outcome, image = enhanced(model, path, tmp_path, force=True, progress=lambda done, total, text: told.append(text))
    likeness = outcome.facts["likeness"]
    assert (likeness["verdict"], likeness["fixable"], likeness["forced"]) == ("unlike", False, True)
    assert likeness["distance"] > 1.5
    assert all(s in outcome.text for s in likeness["sentences"])
    assert "The map is unlike what the model learned from" in outcome.text
    assert told[0] == "comparing: the map is unlike what the model learned from"  # before anything is computed
    assert image.grid.shape == (640, 640)
    assert image.acquisition.extra["compared_with_training"]["likeness"] == "unlike"
    assert json.loads(json.dumps(outcome.facts, allow_nan=False)) == outcome.facts


def test_matching_brings_a_dull_map_back_to_what_the_model_knows(model, scans, recorded, tmp_path):
    plain = enhanced(model, scans / "coarse.tif", tmp_path)[1].array().astype(float)
    dull = recorded.with_data((0.4 * recorded.array() + 20000).astype(np.float32))
    path = written(dull, tmp_path / "dull.tif")
    with pytest.raises(MapRefused, match="--match-intensities"):
        enhanced(model, path, tmp_path)
    outcome, _ = enhanced(model, path, tmp_path, force=True)
    assert outcome.facts["likeness"]["fixable"]
    assert outcome.facts["flags"]["untrained"] == 1.0
    outcome, image = enhanced(model, path, tmp_path, match_intensities=True)
    matched = outcome.facts["matched_intensities"]
    assert 0.3 < 0.4 * matched["gain"] < 3
    assert matched["likeness_after"]["verdict"] == "like"
    assert outcome.facts["flags"]["untrained"] < 0.5
    assert image.acquisition.extra["matched_intensities"] == {k: matched[k] for k in ("gain", "offset")}
    assert f"{matched['gain']:.6g} * grey" in outcome.text and "those of the model's fine scan" in outcome.text
    trained = load_model(model).card.hr_grey  # the result has the grey levels of the fine scan, not of the dull map
    assert image.array().mean() == pytest.approx(trained.mean, rel=0.1)
    assert np.corrcoef(image.array().ravel(), plain.ravel())[0, 1] > 0.98


def test_a_map_as_bright_as_the_training_area_is_left_as_it_is(model, recorded):
    card = load_model(model).card
    kept = look_of(recorded.array()).mapped(1.0, card.training["look"]["mean"] - look_of(recorded.array()).mean)
    same = recorded.with_data((recorded.array() + (kept.mean - recorded.array().mean())).astype(np.float32))
    found = prepare(same, card, match=True)
    assert found.facts["matched_intensities"] == {"gain": 1.0, "offset": 0.0}
    assert found.lr is same
    assert "grey levels were left as they are" in found.sentences[-1]


def test_a_run_says_whether_the_area_under_the_fine_scan_is_typical(finished, model, recorded):
    facts = json.loads((finished / "trust.json").read_text())
    assert facts["likeness"]["verdict"] == "like"
    assert not any("not typical" in note for note in facts["notes"])
    other = simulate("lattice", size=160, ratio=4, fine=200, seed=1).lr
    found, notes = typical(other, load_model(model).card)
    assert found["verdict"] == "unlike" and len(notes) == 1
    assert notes[0].startswith("The area under the fine scan is not typical of the map: ")
    assert "Record a fine scan" not in notes[0]


def test_integer_maps_are_matched_without_rounding(model, recorded):
    few = recorded.with_data((recorded.array() // 100 + 500).astype(np.uint16))
    found = prepare(few, load_model(model).card, match=True)
    values = found.lr.array()
    assert values.dtype == np.float32
    gain, offset = (found.facts["matched_intensities"][k] for k in ("gain", "offset"))
    assert values == pytest.approx(gain * few.array() + offset, rel=1e-6)
    assert np.abs(values - np.rint(values)).mean() > 0.1


def test_where_an_integer_map_is_cut_off_stays_known(model, recorded, tmp_path):
    bright = np.minimum(recorded.array().astype(float) * 4.4, 65535).astype(np.uint16)
    share = (bright == 65535).mean()
    assert 0.001 < share < 0.5
    path = written(recorded.with_data(bright), tmp_path / "bright.tif")
    flags = [enhanced(model, path, tmp_path, match_intensities=m, force=True)[0].facts["flags"] for m in (False, True)]
    assert flags[0]["saturated"] == flags[1]["saturated"] == pytest.approx(share)


def test_a_card_of_an_older_version_is_no_obstacle(model, scans, tmp_path):
    outcome, _ = enhanced(without_statistics(model, tmp_path), scans / "coarse.tif", tmp_path, match_intensities=True)
    assert outcome.facts["likeness"]["verdict"] == "unknown"
    assert outcome.facts["likeness"]["distance"] is None
    assert "holds no statistics of its training area" in outcome.text
    assert outcome.facts["matched_intensities"]["gain"] == pytest.approx(1.0, abs=0.2)


def test_statistics_of_another_version_are_no_obstacle(model, recorded):
    from dataclasses import replace

    card = load_model(model).card
    found = prepare(recorded, replace(card, training={"look": {"mean": 5.0}}))
    assert found.likeness.verdict == "unknown"
    assert "The statistics of the training area lack" in found.sentences[0]


def test_a_constant_map_is_no_obstacle_but_cannot_be_matched(model, recorded):
    flat, card = recorded.with_data(np.full(recorded.grid.shape, 9000, np.uint16)), load_model(model).card
    found = prepare(flat, card)
    assert found.likeness.verdict == "unknown" and found.lr is flat
    assert found.sentences[0].startswith("It cannot be said whether the map is like the training area.")
    with pytest.raises(InputError, match="need different grey levels, but all are 9000"):
        prepare(flat, card, match=True)


def test_maps_are_compared_on_the_grid_the_network_reads(model, recorded):
    """A ratio of 3.5 is read on pixels 1.17 times as fine: resampled, the same map looks smoother."""
    from dataclasses import replace

    card = load_model(model).card
    other = replace(card, sr_factor=(3.5, 3.5), factor=3)
    holed = recorded.array().astype(np.float32)
    holed[:70, :50] = np.nan
    looks = [compare_map(recorded.with_data(a), c)[1] for a in (recorded.array(), holed) for c in (card, other)]
    same, finer, with_hole, finer_with_hole = looks
    assert same == look_of(recorded.array())
    assert finer.typical["band 0"] < same.typical["band 0"] - 1
    assert finer.mean == pytest.approx(same.mean, rel=0.02)
    assert finer.tiles == pytest.approx(same.tiles * (3.5 / 3) ** 2, rel=0.1)
    assert finer_with_hole.tiles < 0.95 * finer.tiles and with_hole.tiles < 0.95 * same.tiles


def test_volumes_are_not_matched(model, tmp_path, monkeypatch):
    # a model of pictures refuses a volume before anything else is looked at
    monkeypatch.setattr("finescan.workflow.volume_verbs.require_one_kind", lambda *a: None)
    monkeypatch.setattr("finescan.models.require_ratio", lambda *a: None)
    np.save(tmp_path / "cube.npy", np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32))
    reading = workflow.Reading(pixel_size_nm=(100.0,), volume=True)
    with pytest.raises(InputError, match=r"matched for pictures only\. Leave out --match-intensities"):
        workflow.enhance_file(
            model, tmp_path / "cube.npy", tmp_path / "out.tif", reading=reading, match_intensities=True
        )


def test_the_command_line_has_both_options(model, scans, finescan, tmp_path):
    said = finescan(
        "enhance", model, scans / "coarse.tif", "-o", tmp_path / "o.tif", "--match-intensities", "--force", "--json"
    )
    assert said.code == 0
    facts = json.loads(said.out)
    assert facts["matched_intensities"]["gain"] > 0 and facts["likeness"]["forced"]
