"""Plausible fine images: the statistics of the errors they are made of, and that they are repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from finescan.errors import InputError
from finescan.quantification.residuals import ResidualLibrary, error_field, plausible

KNOWN = np.ones((160, 120), bool)


def blobs(shape, seed=0, sigma=2.0):
    """Errors that neighbours share, with heavy tails, of unit variance."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma, mode="wrap")
    field = np.sinh(field / field.std())
    return (field / field.std()).astype(np.float32)


@pytest.fixture(scope="module")
def library():
    return ResidualLibrary.of([(blobs((160, 120)), KNOWN), (blobs((90, 200), 1), np.ones((90, 200), bool))])


def autocorrelation(field, lag):
    return float(np.mean(field[:, lag:] * field[:, :-lag]) / np.mean(field**2))


def test_fields_have_the_variance_correlation_and_tails_of_the_errors(library):
    drawn = error_field((400, 500), library, 3)
    source = np.concatenate([f.ravel() for f in library.fields])
    assert drawn.shape == (400, 500) and drawn.dtype == np.float32
    assert drawn.std() == pytest.approx(source.std(), rel=0.08) and abs(drawn.mean()) < 0.1
    for lag in (1, 3, 6):
        assert autocorrelation(drawn, lag) == pytest.approx(autocorrelation(library.fields[0], lag), abs=0.08), lag
    assert stats.kurtosis(drawn.ravel()) > 0.5 * stats.kurtosis(source) > 0.5


def test_seams_change_neither_variance_nor_leave_lines(library):
    fields = np.stack([error_field((200, 200), library, k) for k in range(60)])
    spread = fields.std(axis=0)
    step = library.side - library.side // 4
    on_seam = np.zeros(200, bool)
    for k in range(0, 200, step):
        on_seam[k + library.side - 2 * (library.side // 4) : k + step] = True
    assert spread[:, on_seam].mean() == pytest.approx(spread[:, ~on_seam].mean(), rel=0.06)


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(library):
    grey, spread = np.full((80, 90), 50, np.float32), np.full((80, 90), 3, np.float32)
    spread[:, 45:] = 0
    one, same, other = (plausible(grey, spread, library, seed=s) for s in (7, 7, 8))
    np.testing.assert_array_equal(one, same)
    assert (one != other).mean() > 0.4
    np.testing.assert_array_equal(one[:, 45:], 50)  # no error where none is expected
    assert one[:, :45].std() == pytest.approx(3, rel=0.5)


def test_unknown_pixels_are_in_no_piece():
    errors, known = blobs((100, 100)), np.ones((100, 100), bool)
    errors[:, 60] = 1e6
    known[:, 60] = False
    library = ResidualLibrary.of([(errors, known)])
    assert library.side <= 60 and np.abs(error_field((300, 300), library, 0)).max() < 100
    narrow = ResidualLibrary.of([(blobs((30, 200)), np.ones((30, 200), bool))])
    assert 12 <= narrow.side <= 30


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(InputError, match=r"in pieces of at least 12 px, but no held-out box is that large\. Record a"):
        ResidualLibrary.of([(blobs((9, 50)), np.ones((9, 50), bool))])
    library = ResidualLibrary.of([(blobs((40, 40)), np.ones((40, 40), bool))])
    with pytest.raises(InputError, match=r"have one 2-D shape, but \(4, 4\) and \(4, 5\) came\."):
        plausible(np.zeros((4, 4), np.float32), np.zeros((4, 5), np.float32), library, seed=0)
