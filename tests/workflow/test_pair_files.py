"""Folders of pairs recorded one by one: what belongs together, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from finescan import io
from finescan.errors import InputError
from finescan.values import Grid, Image
from finescan.workflow import Reading
from finescan.workflow.pair_files import read_pairs


def _write(path, side, size, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.full((side, side), value, np.uint8)
    data[0, 0] = 255 - value
    io.write(path, Image(data, Grid.of(data.shape, size)))


def _folder(root, names=("b", "a"), sub=("coarse", "fine")):
    for k, name in enumerate(names):
        _write(root / sub[0] / f"{name}.tif", 32, 40.0, 10 + k)
        _write(root / sub[1] / f"{name}.tif", 128, 10.0, 20 + k)
    return root


@pytest.mark.parametrize("sub", [("coarse", "fine"), ("lr", "hr")])
def test_files_of_equal_names_are_pairs_in_the_order_of_their_names(tmp_path, sub) -> None:
    pairs = read_pairs(_folder(tmp_path, sub=sub))
    assert [(int(lr.array()[1, 1]), int(hr.array()[1, 1])) for lr, hr in pairs] == [(11, 21), (10, 20)]
    assert [hr.grid.pixel_size_nm for _, hr in pairs] == [(10.0, 10.0)] * 2


def test_endings_may_differ_and_hidden_files_do_not_count(tmp_path) -> None:
    _folder(tmp_path, names=("a",))
    (tmp_path / "coarse" / ".listing").touch()
    np.save(tmp_path / "fine" / "c.npy", np.random.default_rng(0).integers(0, 255, (128, 128), np.uint8))
    _write(tmp_path / "coarse" / "c.tif", 32, 40.0, 9)
    pairs = read_pairs(tmp_path, Reading(fine_pixel_size_nm=(10.0,)))
    assert [(lr.name, hr.name) for lr, hr in pairs] == [("a.tif", "a.tif"), ("c.tif", "c.npy")]


def test_a_file_without_its_partner_is_named(tmp_path) -> None:
    _folder(tmp_path)
    (tmp_path / "fine" / "b.tif").rename(tmp_path / "fine" / "d.tif")
    with pytest.raises(InputError, match=r"2 have no partner: coarse/b.tif, fine/d.tif\."):
        read_pairs(tmp_path)


def test_what_is_no_folder_of_pairs_is_said(tmp_path) -> None:
    with pytest.raises(InputError, match=r"two sub-folders, coarse and fine \(or lr and hr\).*is no folder"):
        read_pairs(tmp_path / "none")
    with pytest.raises(InputError, match="has none"):
        read_pairs(tmp_path)
    for name in ("coarse", "fine"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="coarse is empty"):
        read_pairs(tmp_path)


def test_two_files_of_one_name_and_swapped_folders_are_refused(tmp_path) -> None:
    _folder(tmp_path / "two", names=("a",))
    (tmp_path / "two" / "coarse" / "a.npy").touch()
    with pytest.raises(InputError, match=r"coarse holds both a.npy and a.tif"):
        read_pairs(tmp_path / "two")
    with pytest.raises(InputError, match="seem to be swapped"):
        read_pairs(_folder(tmp_path / "swapped", sub=("fine", "coarse")))
