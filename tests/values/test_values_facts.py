"""Image, ModelCard, TrustMap: facts that travel with pixels and weights."""

from __future__ import annotations

import json

import numpy as np
import pytest

from finescan.errors import InputError, ModelError
from finescan.values import (
    ADVICE,
    FLAGS,
    Acquisition,
    GreyStatistics,
    Grid,
    Image,
    ModelCard,
    Region,
    StagePose,
    TrustMap,
    flag_bits,
)


@pytest.fixture
def card():
    grey = GreyStatistics(1.0, 2.0, 3.0, 4.0)
    return ModelCard("fast", {"channels": 32}, 3, 8, (3.3, 3.4), (2.9, 3.0), grey, grey, training={"steps": 5})


def test_a_card_survives_json_infinities_included(card):
    text = json.dumps(card.to_dict(), allow_nan=False)
    assert ModelCard.from_dict(json.loads(text)) == card
    assert card.lr_range == (-np.inf, np.inf)
    assert str(card) == "fast x3 for 3.3 x 3.4 nm output, halo 8 LR px"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 99}, "schema 1, but 99 came"),
        ({"schema": None}, "Train again"),
        ({"colour": "red"}, "unknown entries"),
        ({"lr_grey": {"mean": 1}}, "not complete"),
        ({"lr_range": 5}, "not complete"),
    ],
)
def test_a_card_of_another_kind_is_refused(card, change, words):
    with pytest.raises(ModelError, match=words):
        ModelCard.from_dict({**card.to_dict(), **change})


def test_a_card_with_an_entry_missing_is_refused(card):
    facts = card.to_dict()
    del facts["halo"]
    with pytest.raises(ModelError, match="halo"):
        ModelCard.from_dict(facts)


def test_an_image_must_fit_its_grid():
    with pytest.raises(InputError, match=r"scan\.tif: the array is \(3, 4\) but its grid is \(4, 3\)"):
        Image(np.zeros((3, 4)), Grid.of((4, 3), 1.0), "scan.tif")


def test_a_cropped_image_knows_where_it_lies():
    lr = Image(np.arange(20, dtype=np.uint8).reshape(4, 5), Grid.of((4, 5), 2.0, (10.0, 20.0)), "a")
    part = lr.crop(Region(lr.grid, (1, 2), (3, 4)))
    assert part.data.tolist() == [[7, 8], [12, 13]]
    assert part.grid.origin_nm == (12.0, 24.0)
    assert part.dtype == np.uint8
    assert str(lr) == "a: YX 4 x 5 px of 2 x 2 nm, uint8"


def test_what_the_instrument_said_survives_being_written():
    said = Acquisition("Zeiss", "header", "InLens", 1.5, StagePose(1.0, 2.0, rotation_deg=3.0), 64, "", {"kv": 5})
    assert Acquisition.from_dict(json.loads(json.dumps(said.to_dict()))) == said


def test_flag_bits_are_distinct_and_fit_a_byte():
    bits = [bit for bit, _ in FLAGS.values()]
    assert sum(bits) == np.bitwise_or.reduce(bits) <= 255
    assert flag_bits(*FLAGS) == sum(bits)
    assert list(ADVICE) == list(FLAGS) and len({*ADVICE.values()}) == len(FLAGS)
    assert all(text.endswith(".") for text in ADVICE.values())
    with pytest.raises(InputError, match=r"one of no_data, saturated.*but 'wrong' came"):
        flag_bits("wrong")


def test_a_trust_map_tells_where_and_how_much():
    flags = np.zeros((2, 4), np.uint8)
    flags[0, :2] = flag_bits("saturated", "untrained")
    trust = TrustMap(flags, Grid.of((2, 4), 1.0))
    assert trust.where("saturated").sum() == 2
    assert not trust.where("clipped").any()
    assert trust.shares()["untrained"] == 0.25
    with pytest.raises(InputError, match=r"uint8 of \(2, 4\), but int64"):
        TrustMap(np.zeros((2, 4), np.int64), trust.grid)
