"""Simulated sandstone: the stated pores are the dark places, of all sizes."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_minimum

from finescan.errors import InputError
from finescan.simulation import Section, sandstone


@pytest.fixture(scope="module")
def rock() -> Section:
    return sandstone((1400, 1400), seed=2)


def areas(rock: Section) -> np.ndarray:
    """Pixels of every connected pore."""
    labels, n = ndimage.label(rock.mask("pore"))
    return np.asarray(ndimage.sum_labels(labels > 0, labels, range(1, n + 1)))


@pytest.mark.parametrize("porosity", [0.06, 0.16, 0.3])
def test_pores_fill_the_stated_share(porosity: float) -> None:
    rock = sandstone((800, 900), porosity=porosity, seed=4)
    assert rock.mask("pore").mean() == rock.fraction("pore")
    assert rock.fraction("pore") == pytest.approx(porosity, abs=0.01)


def test_a_threshold_finds_the_true_pores(rock: Section) -> None:
    pores = rock.mask("pore")
    found = rock.image.data < threshold_minimum(rock.image.data)
    assert (found & pores).sum() / (found | pores).sum() > 0.95
    assert np.quantile(rock.image.data[ndimage.binary_erosion(pores, iterations=3)], 0.99) < 0.12


def test_pores_have_all_sizes_and_the_small_ones_follow_the_power_law(rock: Section) -> None:
    size = areas(rock)
    low, high = 8.0, 400.0
    assert size.min() <= 4 and size.max() > 10_000
    part = size[(size >= low) & (size < high)]
    assert len(part) > 400
    # maximum likelihood of the exponent of a power law cut off on both sides
    power = np.linspace(1.2, 2.4, 241)
    norm = (low ** (1 - power) - high ** (1 - power)) / (power - 1)
    likelihood = -np.log(norm) - power * np.log(part).mean()
    assert power[np.argmax(likelihood)] == pytest.approx(1.75, abs=0.2)


def test_small_pores_are_a_choice() -> None:
    without = sandstone((700, 700), small_pores=0.0, seed=3)
    many = sandstone((700, 700), small_pores=0.6, seed=3)
    assert np.sum(areas(many) < 400) > 10 * np.sum(areas(without) < 400)
    assert many.fraction("pore") == pytest.approx(without.fraction("pore"), abs=0.015)


def test_small_pores_prefer_feldspar_and_clay(rock: Section) -> None:
    labels, n = ndimage.label(rock.mask("pore"))
    small = np.isin(labels, 1 + np.flatnonzero(areas(rock) < 400))
    near = ndimage.binary_dilation(small, iterations=2) & ~rock.mask("pore")
    host = {k: (near & rock.mask(k)).sum() / rock.mask(k).sum() for k in ("quartz", "feldspar", "clay")}
    assert n > 500
    assert host["feldspar"] > 4 * host["quartz"] and host["clay"] > 4 * host["quartz"]


def test_grey_follows_the_minerals(rock: Section) -> None:
    order = ("pore", "clay", "quartz", "feldspar", "heavy mineral")
    inner = [ndimage.binary_erosion(rock.mask(k), iterations=2) for k in order]
    means = [float(np.median(rock.image.data[m])) for m in inner]
    assert means == sorted(means) and min(np.diff(means)) > 0.05
    assert rock.image.data[inner[1]].std() > 3 * rock.image.data[inner[2]].std()  # clay is flaky, quartz even
    assert 0.4 < rock.fraction("quartz") < 0.8 and rock.fraction("heavy mineral") < 0.03


def test_the_space_between_grains_lies_where_they_meet(rock: Section) -> None:
    large = np.isin(ndimage.label(rock.mask("pore"))[0], 1 + np.flatnonzero(areas(rock) > 4000))
    edge = ndimage.morphological_gradient(rock.cells, size=(3, 3)) > 0
    away = ndimage.distance_transform_edt(~edge)
    assert away[large].mean() < 0.5 * away[~large].mean()


def test_the_same_seed_gives_the_same_rock_and_another_seed_another() -> None:
    one, again, other = (sandstone((300, 260), seed=s) for s in (5, 5, 6))
    assert np.array_equal(one.image.data, again.image.data) and np.array_equal(one.phases, again.phases)
    assert not np.array_equal(one.phases, other.phases)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match=r"porosity of 0\.02 to 0\.4 of which 0 to 0\.8 lies in small pores, but 0\.9"):
        sandstone((100, 100), porosity=0.9, seed=1)
    with pytest.raises(InputError, match="square pixels, but YX 100 x 100 px of 5 x 6 nm came"):
        sandstone((100, 100), (5.0, 6.0), seed=1)  # type: ignore[arg-type]
