"""Where the network computes, and the memory of the process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

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


def give_memory_back() -> None:
    """Let the C library return what is free to the kernel.

    The large arrays of a block are freed by three threads; kept for later, what lies between them adds up from block
    to block. Where the C library cannot do it (other than glibc) nothing is done.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # Windows, macOS, musl
        return None
