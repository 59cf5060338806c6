"""Registration takes a third of a small run: the command line is what is tested here."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _registered_once(registered_once) -> None:
    pass
