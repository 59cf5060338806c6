"""The step of a merged run that puts recorded pixels into its result; what was computed stays in ``computed/``.

The judgement rests on the computed map alone: where recorded pixels were pasted it would agree with itself.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finescan import io
from finescan.rescan.pasting import MEASURED_AT, Pasted, Recorded, measured_share, recorded_on
from finescan.values import Grid, Image, Pair, TrustMap, flag_bits

if TYPE_CHECKING:
    from finescan.workflow.opening import Job
    from finescan.workflow.plan import Plan

COMPUTED, MEASURED_FILE = "computed", "measured.tif"
TIFF_FILE, ZARR_FILE, FLAGS_FILE, UNCERTAINTY_FILE = "enhanced.tif", "enhanced.ome.zarr", "flags.tif", "uncertainty.tif"
FULL = 255  # grey level of measured.tif where a pixel is wholly recorded


@dataclass(frozen=True)
class Merge:
    """What a run starts from that takes rescans in.

    Parameters
    ----------
    plan : choices of a folder that holds no plan yet.
    pairs : the registration of every fine scan, old and new, in order.
    facts : plain JSON values that stay with the run: what it continues, and what is known of every rescan.
    """

    plan: Plan
    pairs: tuple[Pair, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Merged:
    """The result with recorded pixels in it.

    Parameters
    ----------
    image, flags : of the run; flags are cleared where every output pixel of a coarse one was recorded.
    facts : plain JSON values for ``trust.json``; empty when nothing was pasted.
    files : written besides those of any run.
    """

    image: Image
    flags: TrustMap
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()


def computed_or(path: Path) -> Path:
    """Where the computed version of a file of a run lies: in ``computed/`` once recorded pixels were pasted."""
    kept = path.parent / COMPUTED / path.name
    return kept if kept.exists() else path


def forget_computed(folder: Path) -> None:
    """Drop what an earlier result kept: a new one was computed."""
    shutil.rmtree(folder / COMPUTED, ignore_errors=True)
    (folder / MEASURED_FILE).unlink(missing_ok=True)


def opened(job: Job, hrs: Sequence[Image], pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs whose fine scans have the grey levels of the first run, where the plan says how to get there.

    Where an edited plan pastes nothing any more, the computed map becomes the result again.
    """
    if not job.plan.values.get("merge.pasted"):
        _restore(job.folder.path)
    factors = job.plan.values.get("merge.grey")
    if not factors:
        return list(pairs)
    out = []
    for pair in pairs:
        number = next(k for k, hr in enumerate(hrs) if hr.name == pair.hr.name)
        wanted = factors[number] if number < len(factors) else None
        out.append(pair if wanted is None else replace(pair, hr=with_grey(pair.hr, *map(float, wanted))))
    return out


def with_grey(scan: Image, gain: float, offset: float) -> Image:
    """A scan of which ``gain`` and ``offset`` are taken off: ``(grey - offset) / gain``, float32."""
    return scan.with_data(((scan.array().astype(np.float32) - offset) / gain).astype(np.float32))


def paste(job: Job, hrs: Sequence[Image], pairs: Sequence[Pair], enhanced: Image, flags: TrustMap) -> Merged:
    """Paste the fine scans that the plan names; the map, its flags and the mask of measured pixels are written.

    Parameters
    ----------
    hrs : all fine scans, in the order of the plan.
    pairs : those in use.
    enhanced, flags : as computed.
    """
    numbers = job.plan.values.get("merge.pasted")
    if not numbers:
        return Merged(enhanced, flags)
    names = [hrs[n - 1].name for n in numbers if n <= len(hrs)]
    used = [p for p in pairs if p.hr.name in names]
    job.progress(0, 1, "pasting recorded pixels")
    missing = _missing(flags, enhanced.grid)
    found = [recorded_on(p.hr, enhanced.grid, p.lr_from_hr, missing=missing) for p in used]
    pieces = [r for r in found if r is not None]
    path = job.folder.path
    kept = _keep(path)
    pasted = Pasted(enhanced.data, pieces)
    written = enhanced.with_data(pasted)
    for name in (TIFF_FILE, ZARR_FILE):
        if name in kept:
            io.write(path / name, written, overwrite=True)
    share = _Share(pieces, enhanced.grid.shape)
    io.write(path / MEASURED_FILE, Image(share, enhanced.grid, MEASURED_FILE), overwrite=True)
    cleared = _cleared(flags, pieces, enhanced.grid)
    io.write(path / FLAGS_FILE, Image(cleared.flags, cleared.grid, FLAGS_FILE), overwrite=True)
    if UNCERTAINTY_FILE in kept:
        half = io.read(path / COMPUTED / UNCERTAINTY_FILE)
        io.write(path / UNCERTAINTY_FILE, half.with_data(_Certain(half.data, pieces)), overwrite=True)
    job.progress(1, 1, "pasting recorded pixels")
    facts = {**job.folder.facts("merge"), **_facts(pieces, pasted, share)}
    job.notes += _notes(facts)
    job.folder.log("pasted", **facts)
    stored = io.read(path / (ZARR_FILE if ZARR_FILE in kept else TIFF_FILE))
    return Merged(enhanced.with_data(stored.data), cleared, {"merged": facts}, (MEASURED_FILE,))


class _Share:
    """measured.tif, computed where it is written."""

    def __init__(self, pieces: Sequence[Recorded], shape: Sequence[int]) -> None:
        self._pieces, self.shape, self.dtype, self.ndim = pieces, tuple(shape), np.dtype(np.uint8), 2

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        rows = slice(None) if rows is Ellipsis else rows
        share = np.rint(FULL * measured_share(self._pieces, self.shape, rows)).astype(np.uint8)
        return np.asarray(share[(slice(None), *rest)])


class _Certain:
    """Half widths of intervals, falling to 0 where pixels were recorded."""

    def __init__(self, half: Any, pieces: Sequence[Recorded]) -> None:
        self._half, self._pieces = half, pieces
        self.shape, self.dtype, self.ndim = tuple(half.shape), np.dtype(half.dtype), 2

    def __getitem__(self, key: Any) -> NDArray[Any]:
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        rows = slice(None) if rows is Ellipsis else rows
        left = 1 - measured_share(self._pieces, self.shape, rows)
        return np.asarray((np.asarray(self._half[rows]) * left).astype(self.dtype)[(slice(None), *rest)])


def _keep(path: Path) -> list[str]:
    """The computed files under their names in ``computed/``; nothing is lost if the run is killed meanwhile."""
    folder = path / COMPUTED
    folder.mkdir(exist_ok=True)
    kept = []
    for name in (TIFF_FILE, ZARR_FILE, FLAGS_FILE, UNCERTAINTY_FILE):
        own = folder / name
        if not own.exists() and (path / name).is_dir():
            shutil.copytree(path / name, own)
        elif not own.exists() and (path / name).exists():
            _link(path / name, own)
        if own.exists():
            kept.append(name)
    return kept


def _restore(path: Path) -> None:
    for kept in (path / COMPUTED).glob("*"):
        if kept.is_dir():
            shutil.rmtree(path / kept.name, ignore_errors=True)
        kept.replace(path / kept.name)
    forget_computed(path)


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, to)


def _missing(flags: TrustMap, grid: Grid) -> NDArray[np.bool_] | None:
    """Output pixels under which the coarse map holds nothing; None where there are none."""
    lost = (np.asarray(flags.flags[...]) & flag_bits("no_data")) != 0
    if not lost.any():
        return None
    rows, columns = (grid.pixels_under(flags.grid, k) for k in range(2))
    return lost[np.ix_(rows, columns)]


def _cleared(flags: TrustMap, pieces: Sequence[Recorded], grid: Grid) -> TrustMap:
    """Flags without those of coarse pixels that were recorded wholly: nothing is computed there any more."""
    out = np.array(flags.flags[...])
    rows, columns = (grid.pixels_under(flags.grid, k) for k in range(2))
    least, starts = np.ones(out.shape, np.float32), np.searchsorted(columns, np.arange(out.shape[1]))
    for first in range(0, grid.shape[0], 512):
        last = min(first + 512, grid.shape[0])
        share = measured_share(pieces, grid.shape, slice(first, last))
        np.minimum.at(least, rows[first:last], np.minimum.reduceat(share, starts, axis=1))
    out[least >= MEASURED_AT] = 0
    return TrustMap(out, flags.grid)


def _notes(facts: Mapping[str, Any]) -> list[str]:
    """What a reader must know about the rescans."""
    notes = []
    for r in facts.get("rescans", ()):
        if r["other_grey"]:
            done = "were matched" if r["matched"] else "stay as they are; --match-grey would match them"
            gain, offset = r["grey"]
            notes.append(
                f"{r['file']} has other grey levels than the first fine scan (gain {gain:.3g}, offset {offset:.4g}); "
                f"they {done}."
            )
        if r["field"] and r["astray"]:
            notes.append(
                f"{r['file']} was expected at {r['field']} (by its {r['known_by']}), but lies {r['away_um']:.3g} µm "
                "from there; it is used where it was found."
            )
    if facts["clipped"]:
        notes.append(
            f"{facts['clipped']} recorded pixels did not fit the result's number format and were set to its limit."
        )
    return notes


def _facts(pieces: Sequence[Recorded], pasted: Pasted, share: _Share) -> dict[str, Any]:
    measured = sum(int(np.count_nonzero(share[a : a + 512] == FULL)) for a in range(0, share.shape[0], 512))
    rows, columns = share.shape
    return {
        "scans": [p.name for p in pieces],
        "measured_share": measured / (rows * columns),
        "clipped": pasted.clipped,
        "mask": f"{MEASURED_FILE}: {FULL} = recorded, 0 = computed, between = the border of a scan fading in",
        "computed": f"{COMPUTED}/ holds the map as computed; the judgement rests on it",
    }
