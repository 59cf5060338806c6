"""Simulated steels: the stated phases, lamellae and damage are the ones in the picture."""

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.simulation import DamageSite, Section, case_hardening, dual_phase, pearlite


@pytest.fixture(scope="module")
def dual() -> Section:
    return dual_phase((1200, 1200), seed=4, site_spacing_nm=6000.0)


@pytest.fixture(scope="module")
def hardened() -> Section:
    return case_hardening((1536, 1536), seed=2, inclusion_spacing_nm=11_000.0, damaged=1.0)


def void_of(section: Section, site: DamageSite, grow: int = 3) -> tuple[np.ndarray, tuple[slice, slice]]:
    """The void pixels of a site, in a box ``grow`` px larger than its own, and that box."""
    y0, y1, x0, x1 = site.box
    inner = np.s_[max(0, y0 - grow) : y1 + grow, max(0, x0 - grow) : x1 + grow]
    own = np.zeros(section.phases.shape, bool)
    own[y0:y1, x0:x1] = True
    return (section.mask("void") & own)[inner], inner


def around(section: Section, site: DamageSite) -> dict[str, float]:
    """Shares of the phases within 3 px of a void."""
    void, box = void_of(section, site)
    ring = section.phases[box][ndimage.binary_dilation(void, iterations=3) & ~section.mask("void")[box]]
    return {name: float(np.mean(ring == k)) for k, name in enumerate(section.names)}


def of_kind(section: Section, kind: str) -> list[DamageSite]:
    sites = [s for s in section.sites if s.kind == kind]
    assert len(sites) >= 4, kind
    return sites


@pytest.mark.parametrize("share", [0.12, 0.3, 0.5])
def test_martensite_fills_the_stated_share(share: float) -> None:
    steel = dual_phase((700, 900), martensite=share, site_spacing_nm=np.inf, seed=1)
    assert steel.fraction("martensite") == pytest.approx(share, abs=0.01)
    assert steel.fraction("void") == 0 and steel.sites == ()


def test_islands_have_the_published_sizes_and_lie_at_grain_boundaries(dual: Section) -> None:
    hard = dual.mask("martensite")
    labels, n = ndimage.label(ndimage.binary_opening(hard, iterations=2))
    area = ndimage.sum_labels(labels > 0, labels, range(1, n + 1)) * (dual.image.grid.pixel_size_nm[0] / 1000) ** 2
    across = 2 * np.sqrt(area / np.pi)
    assert n > 40
    assert 0.4 < np.median(across) < 2.0  # µm
    assert 2.0 < np.average(across, weights=area) < 6.5
    line = ndimage.morphological_gradient(dual.cells, size=(3, 3)) > 0
    assert hard[line].mean() > 1.5 * hard.mean()


def test_grey_follows_the_phases(dual: Section, hardened: Section) -> None:
    for steel, order in ((dual, ("void", "ferrite", "martensite")), (hardened, ("void", "MnS", "ferrite"))):
        means = [float(steel.image.data[steel.mask(name)].mean()) for name in order]
        assert means == sorted(means) and min(np.diff(means)) > 0.1
        assert steel.image.dtype == np.float32
        assert steel.image.data.min() >= 0 and steel.image.data.max() <= 1


def test_interface_decohesion_lies_between_ferrite_and_martensite(dual: Section) -> None:
    for site in of_kind(dual, "interface decohesion"):
        near = around(dual, site)
        assert near["martensite"] > 0.12 and near["ferrite"] > 0.12


def test_boundary_decohesion_lies_between_two_ferrite_grains(dual: Section) -> None:
    for site in of_kind(dual, "boundary decohesion"):
        assert around(dual, site)["ferrite"] == 1.0
        void, box = void_of(dual, site)
        assert len(np.unique(dual.cells[box][void])) >= 2


def test_a_martensite_crack_lies_inside_an_island_and_is_thin(dual: Section) -> None:
    for site in of_kind(dual, "martensite crack"):
        assert around(dual, site)["martensite"] > 0.6
        void, _ = void_of(dual, site)
        thick = 2 * ndimage.distance_transform_edt(void).max()
        assert void.sum() / thick > 1.5 * thick


def test_decohesion_lies_between_inclusion_and_steel_and_a_crack_within_the_inclusion(hardened: Section) -> None:
    for site in of_kind(hardened, "decohesion"):
        near = around(hardened, site)
        assert near["MnS"] > 0.12 and near["ferrite"] + near["pearlite"] > 0.12
    for site in of_kind(hardened, "crack"):
        assert around(hardened, site)["MnS"] > 0.45  # its two ends touch the steel


@pytest.mark.parametrize("which", ["dual", "hardened"])
def test_sites_state_the_area_and_place_of_their_voids(which: str, request: pytest.FixtureRequest) -> None:
    steel: Section = request.getfixturevalue(which)
    covered = np.zeros(steel.phases.shape, bool)
    px = steel.image.grid.pixel_size_nm[0]
    for site in steel.sites:
        void, box = void_of(steel, site)
        assert void.sum() * px**2 == pytest.approx(site.area_nm2, rel=0.25)
        middle = np.add(ndimage.center_of_mass(void), (box[0].start, box[1].start))
        assert steel.image.grid.to_index(site.centre_nm) == pytest.approx(middle, abs=1.5)
        covered[site.box[0] : site.box[1], site.box[2] : site.box[3]] = True
    assert not (steel.mask("void") & ~covered).any()


def test_voids_have_a_bright_edge(dual: Section) -> None:
    void = dual.mask("void")
    rim = ndimage.binary_dilation(void, iterations=2) & dual.mask("ferrite")
    far = ~ndimage.binary_dilation(void, iterations=8) & dual.mask("ferrite")
    assert dual.image.data[rim].mean() > dual.image.data[far].mean() + 0.1


def test_lamellae_have_the_stated_period_in_every_colony(hardened: Section) -> None:
    errors = period_errors(hardened)
    assert len(errors) > 15
    assert abs(np.median(errors)) < 0.06  # they bend
    assert np.quantile(np.abs(errors), 0.8) < 0.2


def test_straight_lamellae_have_exactly_the_stated_period(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pearlite, "BEND_NM", (0.0, 0.0, 0.0))
    errors = period_errors(case_hardening((800, 800), pearlite=0.9, inclusion_spacing_nm=np.inf, seed=1))
    assert len(errors) > 10
    assert np.quantile(np.abs(errors), 0.9) < 0.06  # some begin or end
    assert np.median(np.abs(errors)) < 0.02


def period_errors(steel: Section) -> np.ndarray:
    """Measured over stated period, less 1, of every colony that is large enough."""
    px, errors = steel.image.grid.pixel_size_nm[0], []
    sound = np.where(steel.mask("pearlite"), steel.cells, -1)
    for k, box in enumerate(ndimage.find_objects(steel.cells + 1)):
        if box is None or not np.isfinite(steel.period_nm[k]):
            continue
        room = ndimage.distance_transform_edt(np.pad(sound[box] == k, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(np.argmax(room), room.shape)
        half = int(room[y, x] / np.sqrt(2)) - 1
        if half >= 24:
            part = steel.image.data[box][y - half : y + half, x - half : x + half]
            errors.append(strongest_period(part) * px / steel.period_nm[k] - 1)
    return np.array(errors)


def strongest_period(part: np.ndarray) -> float:
    """Period (px) of the strongest wave of a square picture."""
    n, wide = len(part), 512
    window = np.hanning(n)[:, None] * np.hanning(n)
    spectrum = np.abs(np.fft.rfft2((part - part.mean()) * window, (wide, wide)))
    frequency = np.hypot(np.fft.fftfreq(wide)[:, None], np.fft.rfftfreq(wide))
    spectrum[frequency < 1 / 40] = 0
    return float(1 / frequency.flat[np.argmax(spectrum)])


def test_colonies_cut_at_an_angle_show_wider_lamellae() -> None:
    steel = case_hardening((900, 900), 130.0, pearlite=1.0, lamella_nm=(150.0, 150.0), seed=3)
    period = steel.period_nm[np.isfinite(steel.period_nm)] / 150.0
    assert len(period) > 200
    assert period.min() >= 1.0
    # all directions equally likely: the median plane is cut at 60 degrees
    assert np.median(period) == pytest.approx(2 / np.sqrt(3), rel=0.06)
    assert np.mean(period > 2.0) == pytest.approx(1 - np.sqrt(0.75), abs=0.05)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_pearlite_fills_the_stated_share(share: float) -> None:
    steel = case_hardening((1000, 1000), pearlite=share, inclusion_spacing_nm=np.inf, seed=5)
    assert steel.fraction("pearlite") == pytest.approx(share, abs=0.06)  # whole colonies
    assert steel.fraction("MnS") == 0 and steel.sites == ()
    assert np.isfinite(steel.period_nm[np.unique(steel.cells)]).mean() == pytest.approx(share, abs=0.2)


def test_inclusions_are_drawn_out_along_the_rolling_direction_and_smooth(hardened: Section) -> None:
    body = hardened.mask("MnS") | hardened.mask("void")
    labels, _ = ndimage.label(body)
    boxes = [s for s in ndimage.find_objects(labels) if (s[1].stop - s[1].start) * 32.55 > 2000]
    assert len(boxes) > 8
    ratio = [(s[1].stop - s[1].start) / (s[0].stop - s[0].start) for s in boxes]
    assert np.median(ratio) > 2.5
    inside = ndimage.binary_erosion(hardened.mask("MnS"), iterations=4)
    assert hardened.image.data[inside].std() < 0.6 * hardened.image.data[hardened.mask("ferrite")].std()


def test_the_two_steels_look_different(dual: Section, hardened: Section) -> None:
    one, two = dual.image.data, hardened.image.data
    assert two.mean() > one.mean() + 0.1
    fine = [np.var(d - ndimage.uniform_filter(d, 4)) / np.var(d) for d in (one, two)]
    assert fine[1] > 1.5 * fine[0]  # of it, more is finer than a coarse pixel


@pytest.mark.parametrize("make", [dual_phase, case_hardening])
def test_the_same_seed_gives_the_same_steel_and_another_seed_another(make) -> None:
    one, again, other = (make((300, 260), seed=s) for s in (5, 5, 6))
    assert np.array_equal(one.image.data, again.image.data) and one.sites == again.sites
    assert np.array_equal(one.phases, again.phases)
    assert not np.array_equal(one.image.data, other.image.data)


def test_sizes_are_in_nm_whatever_the_pixel() -> None:
    wide = [np.median(island_widths(dual_phase((n, n), p, seed=1)) * p) for n, p in ((1024, 24.0), (512, 48.0))]
    assert wide[0] == pytest.approx(wide[1], rel=0.3)


def island_widths(steel: Section) -> np.ndarray:
    """Run lengths (px) of martensite along the rows."""
    hard = np.pad(steel.mask("martensite"), ((0, 0), (1, 1))).astype(np.int8)
    step = np.diff(hard, axis=1)
    return np.nonzero(step == -1)[1] - np.nonzero(step == 1)[1]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match=r"at least 64 square pixels, but YX 40 x 200 px of 24\.4141"):
        dual_phase((40, 200), seed=1)
    with pytest.raises(InputError, match=r"share of 0\.05 to 0\.6 of the area, but 0\.9 came"):
        dual_phase((100, 100), martensite=0.9, seed=1)
    with pytest.raises(InputError, match=r"lamella_nm is \(lowest, highest\) > 0, but 0\.4, 0\.7 and \(300, 100\)"):
        case_hardening((100, 100), pearlite=0.4, lamella_nm=(300, 100), seed=1)
    with pytest.raises(InputError, match="phases ferrite, martensite, void, but 'gold' was asked for"):
        dual_phase((100, 100), seed=1).mask("gold")
