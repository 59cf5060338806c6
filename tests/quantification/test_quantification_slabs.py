"""Volumes larger than memory: slab by slab must give what one piece gives."""

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.quantification import QuantifyConfig, match, quantify
from finescan.quantification import pores as pores_module
from finescan.values import Circle

PIXEL = 650.0


def rows(found):
    """The table as sortable rows, without the label."""
    columns = [c for name, c in found.table.items() if name != "label"]
    return sorted(tuple(np.round(np.nan_to_num(row), 4)) for row in zip(*columns, strict=True))


@pytest.fixture
def column(pores):
    """Touching spheres one above the other, two of them cut, some single, and noise."""
    rng = np.random.default_rng(4)
    stack = [(z, 24, 22) for z in (4, 20, 36, 52, 68, 84)]
    single = [(z, 24 + rng.uniform(-2, 2), 46 + rng.uniform(-2, 2)) for z in (9, 27, 43, 61, 79)]
    return pores((88, 48, 64), stack + single, [8.2] * 6 + [5, 7, 4, 6, 3], noise=0.05)


@pytest.mark.parametrize("slab", [12, 20, 40, 88])
def test_slabs_give_the_same_table_as_one_piece(column, slab):
    circle = Circle((24 * PIXEL + 100, 32 * PIXEL + 100), 31 * PIXEL)
    whole = quantify(column, circle=circle, bulk=circle)
    parts = quantify(column, circle=circle, bulk=circle, slab=slab)
    assert parts.tally == whole.tally and whole.count == 9 and whole.tally["cut"] == 2
    assert rows(parts) == rows(whole)
    assert parts.labels is None and any("Analysed in slabs" in n for n in parts.notes)


@pytest.mark.parametrize("faces", ["all", "none"])
def test_slabs_know_the_true_faces(column, faces):
    config = QuantifyConfig(faces=faces)
    assert rows(quantify(column, config=config, slab=20)) == rows(quantify(column, config=config))


def test_no_more_is_read_than_the_slab_and_its_margins(column):
    class Lazy:
        shape, dtype, alive = column.data.shape, column.data.dtype, []

        def __getitem__(self, z):
            assert isinstance(z, int)
            self.alive.append(z)
            return column.data[z]

    lazy = Lazy()
    quantify(column.with_data(lazy), config=QuantifyConfig(threshold=0.5), slab=40)
    assert lazy.alive == [*range(60), *range(20, 88), *range(60, 88)]


def test_an_object_longer_than_the_margins_is_stated_as_cut(pores):
    image = pores((90, 24, 24), [(20, 12, 12)], [4])
    image.data[30:85, 8:16, 8:16] = 0
    found = quantify(image, config=QuantifyConfig(depth=None), slab=5)
    assert (found.count, found.tally["cut"]) == (1, 1)
    assert found.porosity == pytest.approx(quantify(image, config=QuantifyConfig(depth=None)).porosity)


def test_a_volume_larger_than_memory_is_analysed_in_slabs_by_itself(column, monkeypatch):
    megabytes = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 5_000_000}
    monkeypatch.setattr(pores_module.os, "sysconf", megabytes.__getitem__, raising=False)
    found = quantify(column)
    assert found.labels is None and found.count == 9
    with pytest.raises(InputError, match="no labels to match"):
        match(found, found)


def test_slabs_of_a_picture_or_of_nothing_are_refused(pores, column):
    with pytest.raises(InputError, match="Slabs need a volume and at least one slice each, but YX and 4 came"):
        quantify(pores((40, 40), [(20, 20)], [8]), slab=4)
    with pytest.raises(InputError, match=r"but ZYX and -3 came. Leave slab out to analyse everything at once"):
        quantify(column, slab=-3)
