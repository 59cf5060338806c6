"""Weights files are read without running code, and downloaded only with a checked hash."""

from __future__ import annotations

import hashlib
import http.server
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from foreign_states import lte_shapes, random_state
from safetensors.torch import save_file

from finescan.errors import ModelError, OutputError
from finescan.models.foreign import load_foreign, read_weights


class _Danger:
    """Unpickling this runs code."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


class _Shelf(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return random_state(lte_shapes())


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """A folder, the address under which it is served, and what was asked for."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    asked: list[str] = []

    class Handler(_Shelf):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)

    Handler.asked = asked
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def _sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".PTH", ".safetensors"])
def test_files_give_what_was_written(tmp_path: Path, state: dict, suffix: str) -> None:
    file = tmp_path / f"lte{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save({"params": state}, file)
    network = load_foreign("ttsr-lte", read_weights(file, sha256=_sha(file)))
    assert torch.equal(network.state_dict()["slice3.7.weight"], state["slice3.7.weight"])


def test_files_of_old_programs_are_read(tmp_path: Path, state: dict) -> None:
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(tmp_path / "old.pth")["sub_mean.bias"], state["sub_mean.bias"])


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_with_code_are_refused_and_not_run(tmp_path: Path, state: dict, zipped: bool) -> None:
    mark, file = tmp_path / "ran", tmp_path / "evil.pth"
    torch.save({**state, "extra": _Danger(mark)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ModelError, match=r"evil\.pth holds more than tensors, .* would run code from it; it is refused"
    ):
        read_weights(file)
    assert not mark.exists()


def test_plain_pickles_with_code_are_refused_and_not_run(tmp_path: Path) -> None:
    mark, file = tmp_path / "ran", tmp_path / "evil.pt"
    file.write_bytes(pickle.dumps({"x": _Danger(mark)}, protocol=2))
    with pytest.raises(ModelError, match="would run code from it; it is refused"):
        read_weights(file)
    assert not mark.exists()


def test_whole_networks_in_a_pickle_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pt")
    with pytest.raises(ModelError, match="Ask its author for the state dict alone"):
        read_weights(tmp_path / "net.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 9, 5000])
def test_damaged_files_are_noticed(tmp_path: Path, state: dict, suffix: str, keep: int) -> None:
    file = tmp_path / f"lte{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"is not a readable weights file .* Download or copy it again"):
        read_weights(file)


def test_files_that_hold_no_state_dict_are_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "one.pt")
    with pytest.raises(ModelError, match="must hold a state dict, but holds a Tensor"):
        read_weights(tmp_path / "one.pt")


@pytest.mark.parametrize("name", ["nothing.pth", "nothing.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=rf"{name} cannot be read"):
        read_weights(tmp_path / name)
    with pytest.raises(ModelError, match=rf"{name} cannot be read"):
        read_weights(tmp_path / name, sha256="0" * 64)


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a \.pt, \.pth or \.safetensors file, but .*model\.h5 came"):
        read_weights(tmp_path / "model.h5")


def test_a_file_with_another_hash_is_refused(tmp_path: Path, state: dict) -> None:
    torch.save(state, tmp_path / "lte.pt")
    with pytest.raises(
        ModelError, match=f"not the file expected: its SHA-256 is {_sha(tmp_path / 'lte.pt')} instead of"
    ):
        read_weights(tmp_path / "lte.pt", sha256="0" * 64)


def test_downloads_are_checked_kept_and_not_repeated(tmp_path: Path, state: dict, shelf: tuple) -> None:
    folder, address, asked = shelf
    save_file(state, folder / "lte.safetensors")
    sha, cache = _sha(folder / "lte.safetensors"), tmp_path / "cache" / "deep"
    for _ in range(2):
        came = read_weights(f"{address}/lte.safetensors?download=1", sha256=sha.upper(), cache=cache)
        assert torch.equal(came["slice1.0.weight"], state["slice1.0.weight"])
    assert len(asked) == 1
    assert [f.name for f in cache.iterdir()] == [f"{sha}.safetensors"]


def test_a_damaged_copy_in_the_cache_is_replaced(tmp_path: Path, state: dict, shelf: tuple, monkeypatch) -> None:
    folder, address, asked = shelf
    torch.save(state, folder / "lte.pth")
    sha = _sha(folder / "lte.pth")
    monkeypatch.setenv("FINESCAN_CACHE", str(tmp_path / "cache"))
    read_weights(f"{address}/lte.pth", sha256=sha)
    (tmp_path / "cache" / f"{sha}.pth").write_bytes(b"half")
    assert "slice1.0.weight" in read_weights(f"{address}/lte.pth", sha256=sha)
    assert len(asked) == 2


def test_a_download_with_another_hash_leaves_nothing(tmp_path: Path, state: dict, shelf: tuple) -> None:
    folder, address, _ = shelf
    torch.save(state, folder / "lte.pth")
    with pytest.raises(ModelError, match=r"is not the file expected: .* instead of 0000.*Not kept"):
        read_weights(f"{address}/lte.pth", sha256="0" * 64, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("sha", [None, "", "abc", "g" * 64])
def test_nothing_is_downloaded_without_a_hash(shelf: tuple, sha: str | None) -> None:
    with pytest.raises(ModelError, match="only downloaded with the SHA-256 they must have"):
        read_weights(f"{shelf[1]}/lte.pth", sha256=sha)
    assert shelf[2] == []


def test_what_cannot_be_downloaded_is_said(tmp_path: Path, shelf: tuple) -> None:
    with pytest.raises(ModelError, match=r"could not be downloaded from .*404.* pass its path"):
        read_weights(f"{shelf[1]}/nothing.pth", sha256="0" * 64, cache=tmp_path)
    with pytest.raises(ModelError, match="could not be downloaded from http://127"):
        read_weights("http://127.0.0.1:1/lte.pth", sha256="0" * 64, cache=tmp_path)
    assert [f for f in tmp_path.iterdir() if f.is_file()] == []


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be kept in .*Pass another cache folder"):
        read_weights("http://127.0.0.1:1/lte.pth", sha256="0" * 64, cache=tmp_path / "file" / "cache")
