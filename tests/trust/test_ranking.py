"""Ranking and the small regression behind it: known answers."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.trust.ranking import auroc, caught, fit_logistic


def test_ranking_by_known_answers():
    assert auroc([1, 2, 3, 4], [False, False, True, True]) == 1.0
    assert auroc([4, 3, 2, 1], [False, False, True, True]) == 0.0
    assert auroc([1, 1, 1, 1], [False, True, False, True]) == 0.5
    score = np.arange(100.0)
    assert caught(score, score >= 90, 0.05) == 0.5
    with pytest.raises(InputError, match="one finite score per item"):
        auroc([1.0, np.nan], [True, False])


def test_the_regression_finds_the_law_that_made_the_data():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 2))
    wrong = rng.random(4000) < 1 / (1 + np.exp(2 - 1.5 * x[:, 0]))
    found = fit_logistic(x, wrong, ("a", "b"), ridge=1.0)
    assert found.weights[1] == pytest.approx(1.5, abs=0.25) and abs(found.weights[2]) < 0.2
    assert found.probability(x[:500]).mean() == pytest.approx(wrong[:500].mean(), abs=0.05)
    assert type(found).from_dict(found.to_dict()) == found
