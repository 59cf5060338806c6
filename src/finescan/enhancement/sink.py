"""Where finished blocks go: an array in memory, or an OME-Zarr store with a ledger that survives a crash."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from finescan.enhancement.ledger import NAME as LEDGER
from finescan.enhancement.ledger import Ledger
from finescan.errors import OutputError
from finescan.io.ome_zarr import create_ome_zarr, finish_ome_zarr, open_ome_zarr
from finescan.values import Grid, Image, Tile

STORE, PARTIAL, FLAGS = "enhanced.ome.zarr", "enhanced.partial.ome.zarr", "flags.npy"
SPREAD = "spread.ome.zarr"  # what the model says of its spread; complete when the result is


@dataclass(frozen=True)
class Finished:
    """A block ready to be kept: pixels and spread of ``tile.paste``, flag bits from ``start`` on, values clipped."""

    tile: Tile
    pixels: NDArray[Any]
    start: tuple[int, ...]
    flags: NDArray[np.uint8]
    clipped: int = 0
    spread: NDArray[np.float32] | None = None

    @property
    def paste(self) -> tuple[slice, ...]:
        """Where the pixels belong in the result."""
        return tuple(slice(a, b) for a, b in self.tile.paste)

    @property
    def flagged(self) -> tuple[slice, ...]:
        """Where the flags belong on the grid of the coarse map."""
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.flags.shape, strict=True))


class Sink(Protocol):
    """What the writer needs."""

    def done(self) -> Mapping[int, Mapping[str, Any]]:
        """Facts of the finished blocks by index."""

    def write(self, block: Finished, tile_px: int) -> None:
        """Keep a block."""

    def finish(self, lr: Image, name: str, pyramid: bool) -> tuple[Any, Any, str]:
        """All blocks are there: (pixels, flags, path)."""

    def spread(self) -> tuple[Any, str]:
        """After :meth:`finish`: (spread, path); None where none was asked for."""


class MemorySink:
    """Result in numpy arrays."""

    def __init__(self, out: Grid, flags: Grid, dtype: np.dtype[Any], *, spread: bool = False) -> None:
        self.pixels = np.zeros(out.shape, dtype)
        self.flags = np.zeros(flags.shape, np.uint8)
        self._spread = np.zeros(out.shape, np.float32) if spread else None
        self._done: dict[int, dict[str, Any]] = {}

    def done(self) -> Mapping[int, Mapping[str, Any]]:
        """Facts of the finished blocks by index."""
        return self._done

    def write(self, block: Finished, tile_px: int) -> None:
        """Keep a block."""
        self.pixels[block.paste] = block.pixels
        self.flags[block.flagged] |= block.flags
        if self._spread is not None:
            self._spread[block.paste] = block.spread
        self._done[block.tile.index] = {"clipped": block.clipped, "tile": tile_px}

    def finish(self, lr: Image, name: str, pyramid: bool) -> tuple[Any, Any, str]:
        """The arrays."""
        return self.pixels, self.flags, ""

    def spread(self) -> tuple[Any, str]:
        """The array, or None."""
        return self._spread, ""


class FolderSink:
    """Result in ``enhanced.ome.zarr``; until it is complete under another name, with a ledger beside it.

    Flags are or'ed into a plain ``.npy`` file: a block may touch coarse pixels of its neighbours, and or'ing twice
    changes nothing, so a crash at any moment leaves a state from which the run goes on.
    """

    def __init__(
        self,
        folder: Path,
        out: Grid,
        flags: Grid,
        dtype: np.dtype[Any],
        header: Mapping[str, Any],
        *,
        spread: bool = False,
    ) -> None:
        self.folder = folder
        self._ledger = Ledger.open(folder / LEDGER, header)
        self.header = self._ledger.header
        self.complete = (folder / STORE).exists()
        partial = folder / PARTIAL
        if not self.complete and not self._ledger.done:
            shutil.rmtree(partial, ignore_errors=True)  # made before the first block was recorded: nothing in it
            _create_flags(folder / FLAGS, flags.shape)
            self._create(partial, out, dtype)
            if spread:
                shutil.rmtree(folder / SPREAD, ignore_errors=True)
                self._create(folder / SPREAD, out, np.dtype(np.float32))
        self._array = open_ome_zarr(folder / STORE if self.complete else partial)
        self._spread = open_ome_zarr(folder / SPREAD) if spread else None

    def _create(self, path: Path, grid: Grid, dtype: np.dtype[Any]) -> None:
        create_ome_zarr(path, grid, dtype, chunk=self.header["chunk"], shard=self.header.get("shard"))

    def done(self) -> Mapping[int, Mapping[str, Any]]:
        """Facts of the finished blocks by index."""
        return self._ledger.done

    def write(self, block: Finished, tile_px: int) -> None:
        """Pixels, spread and flags, then the line in the ledger."""
        self._array[block.paste] = block.pixels
        if self._spread is not None:
            self._spread[block.paste] = block.spread
        if block.flags.any():
            flags = np.load(self.folder / FLAGS, mmap_mode="r+")  # opened anew: mapped pages count as our memory
            flags[block.flagged] |= block.flags
            flags.flush()
        self._ledger.record(block.tile.index, clipped=block.clipped, tile=tile_px)

    def finish(self, lr: Image, name: str, pyramid: bool) -> tuple[Any, Any, str]:
        """Add pyramid and metadata, then give the store its final name."""
        store = self.folder / STORE
        if not self.complete:
            if self._spread is not None:
                finish_ome_zarr(self.folder / SPREAD, name=f"{name} spread", acquisition=lr.acquisition, pyramid=False)
            finish_ome_zarr(self.folder / PARTIAL, name=name, acquisition=lr.acquisition, pyramid=pyramid)
            (self.folder / PARTIAL).replace(store)
        return open_ome_zarr(store), np.load(self.folder / FLAGS, mmap_mode="r+"), str(store)

    def spread(self) -> tuple[Any, str]:
        """The store, or None."""
        return self._spread, "" if self._spread is None else str(self.folder / SPREAD)


def prepare(folder: Path, *, overwrite: bool, need: int) -> Path:
    """A usable folder: made if need be, writable, room on the disk, nothing of unknown origin in the way.

    Parameters
    ----------
    need : bytes of the uncompressed result; less than half of that free is an error before anything is computed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            _discard(folder)
        probe = folder / ".finescan-write-test"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as e:
        raise OutputError(f"{folder} cannot be written ({e.strerror or e}). Choose another folder.") from e
    for name in (STORE, PARTIAL):
        if (folder / name).exists() and not (folder / LEDGER).exists():
            raise OutputError(
                f"{folder / name} exists but no ledger tells where it came from. Choose another folder, or pass "
                "overwrite=True (--overwrite on the command line) to replace it."
            )
    free = shutil.disk_usage(folder).free
    if not (folder / LEDGER).exists() and free < need / 2:
        raise OutputError(
            f"The result needs up to {need / 1e9:.3g} GB, but {folder} has {free / 1e9:.3g} GB free. "
            "Free some space or choose another folder."
        )
    return folder


def _discard(folder: Path) -> None:
    (folder / LEDGER).unlink(missing_ok=True)  # first: without it nothing counts as done
    for name in (STORE, PARTIAL, SPREAD):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    (folder / FLAGS).unlink(missing_ok=True)


def _create_flags(path: Path, shape: tuple[int, ...]) -> None:
    flags = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    flags.flush()


def disk_error(error: OSError, folder: Path | None) -> OutputError:
    """A failed write as an OutputError that says what to do."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    why = "the disk is full" if full else f"writing failed ({error.strerror or error})"
    return OutputError(
        f"{folder}: {why}. Finished blocks are kept: make room and run the same command again to continue."
    )
