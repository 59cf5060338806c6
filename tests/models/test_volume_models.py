"""What every row of the MODELS table for volumes must do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from finescan.errors import InputError, ModelError
from finescan.models import MODELS, Model, build, complete_arguments, load_model, require_ratio, save_model
from finescan.values import GreyStatistics, Grid, Image, ModelCard

NAMES = [name for name, row in MODELS.items() if row.axes == "ZYX"]
SMALL = {
    "deepnet": {"width": 4, "levels": 1},
    "volume": {"width": 4, "levels": 1, "blocks": 1},
}
RNG = np.random.default_rng(0)
Fresh = Callable[..., Model]


def _fresh(name: str, *, members: int = 1, seed: int = 0, **arguments: object) -> Model:
    """A small network with weights as large as after training, and an odd grey map."""
    torch.manual_seed(seed)
    complete = complete_arguments(name, {**SMALL.get(name, {}), **arguments})
    networks = [build(name, 1, complete) for _ in range(members)]
    for network in networks:
        for p in network.parameters():
            if p.ndim > 1:
                torch.nn.init.normal_(p, std=1.4 / p[0].numel() ** 0.5)
    row, grey = MODELS[name], GreyStatistics(60.0, 20.0, 0.0, 120.0)
    card = ModelCard(
        name, complete, 1, row.halo(complete), (10.0,) * 3, (2.0,) * 3, grey, grey,
        gain=-1.5, offset=200.0, axes="ZYX", halo_z=row.halo_z(complete),
    )  # fmt: skip
    return Model(networks, card)


def _volume(*shape: int) -> np.ndarray:
    return RNG.normal(90, 12, shape).astype(np.float32)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _block_and_part(model: Model) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Answers for a block, and for its middle alone, as arrays of the middle; and the halo per axis."""
    halos = [model.halo_z, model.halo, model.halo]
    steps = [2 * m for m in model.multiple]
    sides = [2 * _up(h, m) + 4 * m for h, m in zip(halos, model.multiple, strict=True)]
    block = _volume(*(n + 2 * s for n, s in zip(sides, steps, strict=True)))
    middle = tuple(slice(s, -s) for s in steps)
    return model.predict(block)[middle], model.predict(block[middle]), halos


@pytest.mark.parametrize("name", NAMES)
def test_a_block_with_its_halo_gives_what_a_larger_block_gives(name: str) -> None:
    whole, part, halos = _block_and_part(_fresh(name))
    inner = tuple(slice(h, n - h) for h, n in zip(halos, part.shape, strict=True))
    assert part[inner].size > 0 and part.dtype == np.float32
    np.testing.assert_allclose(part[inner], whole[inner], atol=2e-5 * np.ptp(whole))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "interpolated"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_halo_is_no_wider_than_needed(name: str, axis: int) -> None:
    """One voxel further out, the answer for the part alone is another one."""
    whole, part, halos = _block_and_part(_fresh(name))
    inner = [slice(h, n - h) for h, n in zip(halos, part.shape, strict=True)]
    inner[axis] = slice(halos[axis] - 1, halos[axis])
    assert np.abs(part - whole)[tuple(inner)].max() > 1e-4 * np.ptp(whole)


@pytest.mark.parametrize(("levels", "halo"), [(0, 8), (1, 16), (2, 32)])
def test_the_halo_follows_the_depth_of_the_network(levels: int, halo: int) -> None:
    model = _fresh("volume", levels=levels)
    assert model.halo == model.halo_z == halo
    whole, part, _ = _block_and_part(model)
    inner, rim = (slice(halo, -halo),) * 3, (slice(halo - 1, halo), *(slice(halo, -halo),) * 2)
    np.testing.assert_allclose(part[inner], whole[inner], atol=2e-5 * np.ptp(whole))
    assert np.abs(part - whole)[rim].max() > 1e-4 * np.ptp(whole)


def test_interpolated_is_the_grey_map_and_nothing_else() -> None:
    block = _volume(3, 5, 7)
    np.testing.assert_allclose(_fresh("interpolated").predict(block), -1.5 * block + 200, rtol=1e-5)


def test_srcnn_has_the_weights_of_the_public_form() -> None:
    model = _fresh("srcnn3d")
    assert model.weights == 52_993 and (model.halo, model.halo_z) == (6, 6)


def test_deepnet_takes_five_slices_and_averages_all_stacks() -> None:
    model, block = _fresh("deepnet"), _volume(9, 8, 12)
    assert (model.stack, model.halo_z, model.multiple) == (5, 4, (1, 2, 2))
    stacks = np.stack([block[k : k + 5] for k in range(5)])
    answers = model.predict_stacks(stacks)
    assert answers.shape == (5, 5, 8, 12)
    expected = np.mean([answers[k, 4 - k] for k in range(5)], axis=0)  # what five stacks say of slice 4
    np.testing.assert_allclose(model.predict(block)[4], expected, rtol=1e-4, atol=1e-3)
    assert model.predict(block[:3]).shape == (3, 8, 12)


def test_whole_blocks_are_no_stacks() -> None:
    with pytest.raises(InputError, match="volume takes whole blocks, not stacks"):
        _fresh("volume").predict_stacks(_volume(1, 5, 8, 8))
    with pytest.raises(InputError, match=r"Stacks have the shape \(n, 5, h, w\), but \(1, 4, 8, 8\) came"):
        _fresh("deepnet").predict_stacks(_volume(1, 4, 8, 8))


@pytest.mark.parametrize("name", ["deepnet", "volume"])
def test_position_changes_the_answer_and_is_asked_for(name: str) -> None:
    model, block = _fresh(name, position=1), _volume(8, 8, 8)
    near, far = (np.full((8, 8), v, np.float32) for v in (0.0, 1.0))
    assert model.wants_position and not _fresh(name).wants_position
    assert np.abs(model.predict(block, position=near) - model.predict(block, position=far)).max() > 1
    with pytest.raises(InputError, match=r"needs position of shape \(8, 8\), but none came"):
        model.predict(block)
    with pytest.raises(InputError, match=r"but shape \(4, 8\) came"):
        model.predict(block, position=near[:4])


@pytest.mark.parametrize(
    ("name", "shape", "text"),
    [
        ("volume", (8, 8, 6), r"whole multiples of \(4, 4, 4\) voxels, but the shape \(8, 8, 6\) came"),
        ("deepnet", (5, 7, 8), r"whole multiples of \(1, 2, 2\) voxels"),
        ("volume", (8, 8), r"needs a block of \(slices, rows, columns\), but shape \(8, 8\) came"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(name: str, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(InputError, match=text):
        _fresh(name).predict(_volume(*shape))


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_models_give_identical_answers(name: str, tmp_path) -> None:
    model = _fresh(name, members=2 if MODELS[name].trainable else 1)
    again = load_model(save_model(model, tmp_path / "model"))
    block = _volume(8, 16, 16)
    np.testing.assert_array_equal(again.predict(block), model.predict(block))
    assert again.card.to_dict() == model.card.to_dict() and again.multiple == model.multiple


def test_members_are_averaged() -> None:
    model, block = _fresh("volume", members=2), _volume(8, 8, 8)
    alone = [Model(m, model.card).predict(block) for m in model.members]
    np.testing.assert_allclose(model.predict(block), np.mean(alone, axis=0), rtol=1e-4, atol=1e-3)


def test_bfloat16_touches_the_correction_only() -> None:
    model, block = _fresh("volume"), _volume(8, 8, 8)
    exact, fast = model.predict(block), model.predict(block, bfloat16=True)
    correction = np.abs(exact - (-1.5 * block + 200)).max()
    assert 0 < np.abs(exact - fast).max() < 0.05 * correction


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"axes": "YX"}, "The card says axes YX and halo_z 16, but volume with its arguments has ZYX and 16"),
        ({"halo_z": 3}, "halo_z 3"),
        ({"factor": 2}, "has the factor 1, but the card says 2"),
        ({"halo": 3}, "The card says halo 3"),
    ],
)
def test_a_card_that_does_not_belong_is_refused(changes: dict[str, object], text: str) -> None:
    model = _fresh("volume")
    facts = {k: v for k, v in model.card.to_dict().items() if k != "schema"}
    with pytest.raises(ModelError, match=text):
        Model(model.members, ModelCard.from_dict({"schema": 1, **facts, **changes}))


def test_volumes_have_the_factor_one() -> None:
    with pytest.raises(ModelError, match="its factor is 1, but 2 came"):
        build("volume", 2)


def test_a_volume_of_another_voxel_size_is_refused() -> None:
    model = _fresh("volume")
    grids = {size: Image(np.zeros((4, 4, 4), np.uint8), Grid.of((4, 4, 4), size), "scan") for size in (20.0, 27.0)}
    require_ratio(model, grids[20.0])
    with pytest.raises(
        ModelError, match=r"takes coarse volumes of 20 x 20 x 20 nm voxels .* but scan has 27 x 27 x 27"
    ):
        require_ratio(model, grids[27.0])


def test_the_default_sizes_are_those_that_were_measured() -> None:
    for name, count in {"deepnet": 7_780_581, "volume": 2_226_376}.items():
        network = build(name, 1)
        assert sum(p.numel() for p in network.parameters()) == count
