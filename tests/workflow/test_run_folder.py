"""The run folder: nothing of another run is overwritten, nothing half-written counts as done."""

import errno
import os
from pathlib import Path

import pytest

from finescan.errors import OutputError
from finescan.workflow import folder as folder_module
from finescan.workflow.folder import RunFolder, key_of, require_space, write_json

A = {"coarse": {"name": "a.tif", "sha256": "1" * 64}}
B = {"coarse": {"name": "b.tif", "sha256": "2" * 64}}


def test_a_finished_step_is_remembered_until_its_key_changes(tmp_path):
    RunFolder(tmp_path / "out", A).finish("register", key_of({"x": 1}), found=2)
    again = RunFolder(tmp_path / "out", A)
    assert again.is_done("register", key_of({"x": 1}))
    assert not again.is_done("register", key_of({"x": 2}))
    assert again.facts("register")["found"] == 2


def test_a_folder_of_another_run_is_refused_and_left_alone(tmp_path):
    RunFolder(tmp_path, A)
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(OutputError, match=r"holds a run of other files \(a\.tif 11111111; these are b\.tif 22222222\)"):
        RunFolder(tmp_path, B)
    assert (tmp_path / "report.html").read_text() == "mine"
    RunFolder(tmp_path, B, overwrite=True)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.docx").write_text("precious")
    with pytest.raises(OutputError, match="is not empty and holds no finescan run"):
        RunFolder(tmp_path, A)


def test_a_damaged_record_is_refused(tmp_path):
    RunFolder(tmp_path, A)
    (tmp_path / "run.json").write_text("{half")
    with pytest.raises(OutputError, match="cannot be read"):
        RunFolder(tmp_path, A)


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written to"):
        RunFolder(tmp_path / "file" / "out", A)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written to"):
        RunFolder(tmp_path / "out", A)


def test_too_little_space_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(OutputError, match=r"needs about 1000000000\.0 GB but .* GB free"):
        require_space(tmp_path, 1e18)


def test_a_full_disk_leaves_nothing_under_the_final_name(tmp_path, monkeypatch):
    write_json(tmp_path / "trust.json", {"old": 1})

    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module.Path, "write_text", full)
    with pytest.raises(OutputError, match=r"trust\.json could not be written: the disk is full"):
        write_json(tmp_path / "trust.json", {"new": 2})
    monkeypatch.undo()
    assert Path(tmp_path / "trust.json").read_text().find("old") > 0
    assert not list(tmp_path.glob("*.partial"))
