"""Where the network computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from finescan.errors import InputError
from finescan.models import Model


@contextmanager
def on_device(model: Model, device: str, threads: int | None) -> Iterator[tuple[str, list[str]]]:
    """The model on the device asked for, torch on the threads asked for; both as before afterwards."""
    notes: list[str] = []
    home, before = model.device, torch.get_num_threads()
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        model.to(wanted)
    except RuntimeError as e:
        if device != "auto":
            raise InputError(f"The device {wanted} cannot be used ({e}). Pass device='cpu' or leave it out.") from e
        notes.append("The graphics card could not be used; computing on the processor.")
        wanted = "cpu"
        model.to(wanted)
    torch.set_num_threads(threads or before)
    try:
        yield wanted, notes
    finally:
        torch.set_num_threads(before)
        model.to(home)
