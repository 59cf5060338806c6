"""Opening a run: files that share a name are not mixed up."""

import numpy as np

from finescan.values import Grid, Image
from finescan.workflow.opening import told_apart


def named(*names):
    return [Image(np.zeros((2, 2)), Grid.of((2, 2), 1.0), name) for name in names]


def test_fine_scans_that_share_a_name_get_one_of_their_own():
    (lr, *hrs) = named("map.tif", "scan.tif", "scan.tif", "other.tif", "map.tif")
    names = [hr.name for hr in told_apart(lr, hrs)]
    assert names == ["1-scan.tif", "2-scan.tif", "other.tif", "4-map.tif"]


def test_different_names_stay_as_they_are():
    (lr, *hrs) = named("coarse.tif", "a.tif", "b.tif")
    assert [hr.name for hr in told_apart(lr, hrs)] == ["a.tif", "b.tif"]
