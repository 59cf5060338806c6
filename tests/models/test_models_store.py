"""Damaged and foreign model files are a clear error, and nothing in them is run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from finescan.errors import ModelError, OutputError
from finescan.models import load_model, require_ratio, save_model
from finescan.values import Grid, Image


@pytest.fixture
def folder(fresh, tmp_path) -> Path:
    return save_model(fresh("fast", 2, members=2), tmp_path / "model")


def _edit(folder: Path, **changes: object) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **changes}))


def test_a_missing_folder_says_what_a_model_is(tmp_path) -> None:
    with pytest.raises(
        ModelError, match=r"A model is a folder with model.safetensors and card.json, but .* is missing"
    ):
        load_model(tmp_path / "nothing")


def test_missing_weights_are_named(folder) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model.safetensors cannot be read"):
        load_model(folder)


@pytest.mark.parametrize("keep", [0, 5, 1000])
def test_truncated_weights_are_noticed(folder, keep: int) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:keep])
    with pytest.raises(ModelError, match="truncated, altered, or belongs to another card"):
        load_model(folder)


def test_a_truncated_card_is_noticed(folder) -> None:
    text = (folder / "card.json").read_text()
    (folder / "card.json").write_text(text[: len(text) // 2])
    with pytest.raises(ModelError, match="not a readable model card"):
        load_model(folder)


def test_weights_of_another_model_are_noticed(fresh, folder, tmp_path) -> None:
    other = save_model(fresh("fast", 2, members=2, seed=1), tmp_path / "other")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="belongs to another card"):
        load_model(folder)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"architecture": "swinir"}, "An architecture is one of"),
        ({"architecture": "ridge", "arguments": {}, "halo": 3}, "do not fit the architecture"),
        ({"factor": 3}, "do not fit the architecture"),
        ({"arguments": {"channels": 16}}, "do not fit the architecture"),
        ({"halo": 4}, "The card says halo 4, but fast with its arguments needs 8"),
        ({"members": 3}, "do not fit the architecture"),
        ({"members": 10**6}, "must say how many members"),
        ({"schema": 99}, "model cards of schema 1, but 99 came"),
        ({"surprise": 1}, "unknown entries"),
    ],
)
def test_a_card_that_does_not_belong_is_refused(folder, changes: dict, text: str) -> None:
    _edit(folder, **changes)
    with pytest.raises(ModelError, match=text):
        load_model(folder)


def test_a_pickle_in_place_of_weights_is_not_run(folder, tmp_path) -> None:
    import hashlib

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    bomb = pickle.dumps(Bomb())
    (folder / "model.safetensors").write_bytes(bomb)
    _edit(folder, weights_sha256=hashlib.sha256(bomb).hexdigest())
    with pytest.raises(ModelError, match="not a readable weights file"):
        load_model(folder)
    assert not (tmp_path / "exploded").exists()


def test_weights_that_are_not_finite_are_refused(fresh, tmp_path) -> None:
    model = fresh("fast", 2)
    next(model.members[0].parameters()).data[0] = float("nan")
    save_model(model, tmp_path)
    with pytest.raises(ModelError, match="not finite"):
        load_model(tmp_path)


def test_the_weights_file_carries_a_short_card(folder) -> None:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "np") as f:
        short = json.loads(f.metadata()["finescan"])
    assert short["architecture"] == "fast" and short["halo"] == 8


def test_an_unwritable_folder_is_an_output_error(fresh, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save_model(fresh("bicubic", 2), tmp_path / "file" / "model")


def test_a_failed_save_leaves_the_old_model(fresh, folder, monkeypatch) -> None:
    before = load_model(folder).predict(np.ones((20, 20), np.float32))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match="No space left"):
        save_model(fresh("fast", 2, seed=7), folder)
    np.testing.assert_array_equal(load_model(folder).predict(np.ones((20, 20), np.float32)), before)


def test_a_map_of_another_pixel_size_is_refused_with_both_sizes(fresh) -> None:
    model = fresh("fast", 4)  # 10 nm out, 40 nm in
    require_ratio(model, Image(np.zeros((9, 9)), Grid.of((9, 9), 41.5), "near"))
    with pytest.raises(ModelError, match=r"takes coarse maps of 40 x 40 nm pixels.*but far has 50 x 50 nm"):
        require_ratio(model, Image(np.zeros((9, 9)), Grid.of((9, 9), 50.0), "far"))
    with pytest.raises(ModelError, match="40 x 44 nm"):
        require_ratio(model, Image(np.zeros((9, 9)), Grid.of((9, 9), (40.0, 44.0)), "tilted"))
