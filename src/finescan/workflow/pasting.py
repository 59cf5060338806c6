"""The step of a merged run that puts recorded pixels into its result; what was computed stays in ``computed/``.

The judgement rests on the computed map alone: where recorded pixels were pasted it would agree with itself. Pictures
and volumes go the same way. Nothing larger than one fine scan is held in memory: what is written is computed box by
box, and the scans of volumes wait on the disk.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finescan import io
from finescan.rescan.pasting import (
    FEATHER_PX,
    MEASURED_AT,
    Pasted,
    Recorded,
    Slices,
    bounds_of,
    measured_share,
    recorded_on,
    touched,
)
from finescan.values import Circle, Grid, Image, Pair, TrustMap, flag_bits
from finescan.workflow.field_of_view import corners_are_empty
from finescan.workflow.folder import key_of, make_folder

if TYPE_CHECKING:
    from finescan.workflow.opening import Job
    from finescan.workflow.plan import Plan

COMPUTED, MEASURED_FILE, MEASURED_STORE = "computed", "measured.tif", "measured.ome.zarr"
TIFF_FILE, ZARR_FILE, FLAGS_FILE = "enhanced.tif", "enhanced.ome.zarr", "flags.tif"
UNCERTAINTY_FILE, UNCERTAINTY_STORE = "uncertainty.tif", "uncertainty.ome.zarr"
NOISE_FREE_FILE = "uncertainty_noise_free.tif"
HALF_WIDTHS = UNCERTAINTY_FILE, UNCERTAINTY_STORE, NOISE_FREE_FILE
START = "start-model"  # in the folder of a merged run: the model that its training went on from
FULL = 255  # grey level of measured.tif where a pixel is wholly recorded
_VERSION, _WORK = 1, "work-pasting"
_AT_ONCE = 1 << 24  # pixels looked at a time


@dataclass(frozen=True)
class Merge:
    """What a run starts from that takes rescans in.

    Parameters
    ----------
    plan : choices of a folder that holds no plan yet.
    pairs : the registration of every fine scan, old and new, in order.
    facts : plain JSON values that stay with the run: what it continues, and what is known of every rescan.
    start : folder of the model that training goes on from.
    """

    plan: Plan
    pairs: tuple[Pair, ...]
    facts: Mapping[str, Any]
    start: Path


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

    @property
    def share(self) -> float:
        """Of the result that was recorded finely, 0 to 1."""
        return float(self.facts.get("merged", {}).get("measured_share", 0.0))


def begun(job: Job, merge: Merge | None) -> None:
    """Keep with a merged run what it starts from: it must not need the folder of the run before."""
    if merge is None:
        return
    job.folder.finish("merge", key_of(merge.facts), **merge.facts)
    kept, part = job.folder.path / START, job.folder.path / f"{START}.partial"
    if not (kept / "card.json").exists():
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(merge.start, part, ignore=shutil.ignore_patterns("checkpoint*"))
        part.replace(kept)


def start_folder(job: Job) -> Path | None:
    """Where the model lies that the plan's training starts from; None = fresh weights."""
    start = job.plan.values.get("train.start")
    if start is None:
        return None
    return job.folder.path / START if start == START else Path(start)


def computed_or(path: Path) -> Path:
    """Where the computed version of a file of a run lies: in ``computed/`` once recorded pixels were pasted."""
    kept = path.parent / COMPUTED / path.name
    return kept if kept.exists() else path


def set_aside(job: Job) -> None:
    """Put the map as computed where it stays, if recorded pixels are to be pasted into the files that users open."""
    if job.plan.values.get("merge.pasted"):
        _keep(job.folder.path, (TIFF_FILE, ZARR_FILE, FLAGS_FILE))


def forget_computed(folder: Path) -> None:
    """Drop what an earlier result kept: a new one was computed."""
    shutil.rmtree(folder / COMPUTED, ignore_errors=True)
    (folder / MEASURED_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / MEASURED_STORE, ignore_errors=True)


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


def recorded_part(scan: Image) -> Image:
    """A scan with NaN where nothing was recorded: outside the round field of view of a reconstructed volume."""
    if scan.grid.ndim == 2:
        return scan
    circle = Circle.inscribed(scan.grid)
    if not corners_are_empty(scan, circle):
        return scan
    data = scan.array().astype(np.float64 if scan.dtype == np.float64 else np.float32)
    data[:, ~circle.mask(scan.grid)] = np.nan
    return scan.with_data(data)


def paste(job: Job, hrs: Sequence[Image], pairs: Sequence[Pair], enhanced: Image, flags: TrustMap) -> Merged:
    """Paste the fine scans that the plan names; the map, its flags and the mask of measured pixels are written.

    What was pasted before from the same map and scans is kept.

    Parameters
    ----------
    hrs : all fine scans, in the order of the plan.
    pairs : those in use.
    enhanced, flags : as computed, read from ``computed/`` (:func:`set_aside`): the other files change here.
    """
    numbers = job.plan.values.get("merge.pasted")
    if not numbers:
        return Merged(enhanced, flags)
    names = [hrs[n - 1].name for n in numbers if n <= len(hrs)]
    used = [p for p in pairs if p.hr.name in names]
    job.progress(0, 1, "pasting recorded pixels")
    path, read = job.folder.path, io.read if enhanced.grid.ndim == 2 else _read_volume
    kept = _keep(path, (TIFF_FILE, ZARR_FILE, FLAGS_FILE, *HALF_WIDTHS))
    mask = MEASURED_FILE if enhanced.grid.ndim == 2 or TIFF_FILE in kept else MEASURED_STORE
    steps = [job.folder.facts(step).get("key") for step in ("enhance", "intervals")]
    key = key_of(job.key, steps, [p.hr.name for p in used], kept, _VERSION)
    if not job.folder.is_done("paste", key, mask, *kept):
        facts = _write(path, used, enhanced, flags, kept, mask, read)
        job.folder.finish("paste", key, **facts)
        job.folder.log("pasted", **facts)
    told = {k: v for k, v in {**job.folder.facts("merge"), **job.folder.facts("paste")}.items() if k != "key"}
    job.progress(1, 1, "pasting recorded pixels")
    job.notes += _notes(told)
    stored, marked = read(path / (ZARR_FILE if ZARR_FILE in kept else TIFF_FILE)), read(path / FLAGS_FILE)
    cleared = TrustMap(np.asarray(marked.data[...]), flags.grid)
    return Merged(enhanced.with_data(stored.data), cleared, {"merged": told}, (mask,))


def _read_volume(path: Path) -> Image:
    return io.read_volume(path, constant_ok=True)


def _write(
    path: Path,
    used: Sequence[Pair],
    enhanced: Image,
    flags: TrustMap,
    kept: Sequence[str],
    mask: str,
    read: Callable[[Path], Image],
) -> dict[str, Any]:
    """Every file of the result, from its computed version; facts for ``trust.json``."""
    pieces = _pieces(used, enhanced.grid, flags, path / _WORK)
    pasted, share = Pasted(enhanced.data, pieces), _Share(pieces, enhanced.grid.shape)
    for name in (TIFF_FILE, ZARR_FILE):
        if name in kept:
            io.write(path / name, enhanced.with_data(pasted), overwrite=True)
    io.write(path / mask, Image(share, enhanced.grid, mask), overwrite=True)
    cleared = _cleared(flags, pieces, enhanced.grid)
    io.write(path / FLAGS_FILE, Image(cleared.flags, cleared.grid, FLAGS_FILE), overwrite=True)
    for name in HALF_WIDTHS:
        if name in kept:
            half = read(path / COMPUTED / name)
            io.write(path / name, half.with_data(_Certain(half.data, pieces)), overwrite=True)
    facts = _facts(pieces, pasted.clipped, share, mask)
    del pieces, pasted, share
    shutil.rmtree(path / _WORK, ignore_errors=True)
    return facts


def _pieces(used: Sequence[Pair], grid: Grid, flags: TrustMap, work: Path) -> list[Recorded]:
    """The scans on the grid of the result; those of volumes are kept in files and read where they are needed."""
    pieces, missing = [], _Missing(flags, grid)
    # two coarse voxels: a volume has so much border that little would be left of a small scan
    feather = FEATHER_PX if grid.ndim == 2 else min(FEATHER_PX, 2 * max(flags.grid.sr_factor(grid)))
    for k, pair in enumerate(used):
        scan = recorded_part(pair.hr)
        piece = recorded_on(scan, grid, pair.lr_from_hr, feather_px=feather, missing=missing)
        if piece is not None:
            pieces.append(piece if grid.ndim == 2 else _on_disk(piece, work, k))
    return pieces


def _on_disk(piece: Recorded, work: Path, number: int) -> Recorded:
    make_folder(work)
    arrays = {"grey": piece.grey, "weight": piece.weight}
    for name, array in arrays.items():
        np.save(work / f"{number}-{name}.npy", array)
    return replace(piece, **{n: np.load(work / f"{number}-{n}.npy", mmap_mode="r") for n in arrays})


class _Share:
    """measured.tif, computed where it is written."""

    def __init__(self, pieces: Sequence[Recorded], shape: Sequence[int]) -> None:
        self._pieces, self.shape, self.dtype, self.ndim = pieces, tuple(shape), np.dtype(np.uint8), len(shape)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        bounds = bounds_of(key, self.shape)
        out = np.zeros([b - a for a, b in bounds], np.uint8)
        for where, part in touched(self._pieces, bounds):  # the scans fill little of the map
            out[part] = np.rint(FULL * measured_share(self._pieces, self.shape, _slices(where)))
        return out


class _Certain:
    """Half widths of intervals, falling to 0 where pixels were recorded."""

    def __init__(self, half: Any, pieces: Sequence[Recorded]) -> None:
        self._half, self._pieces = half, pieces
        self.shape, self.dtype, self.ndim = tuple(half.shape), np.dtype(half.dtype), len(half.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        bounds = bounds_of(key, self.shape)
        half = np.asarray(self._half[_slices(bounds)])
        out = half.copy()
        for where, part in touched(self._pieces, bounds):
            out[part] = half[part] * (1 - measured_share(self._pieces, self.shape, _slices(where)))
        return out


class _Missing:
    """Output pixels under which the coarse map holds nothing, computed where they are asked for."""

    def __init__(self, flags: TrustMap, grid: Grid) -> None:
        self._lost = (np.asarray(flags.flags[...]) & flag_bits("no_data")) != 0
        self._under = [grid.pixels_under(flags.grid, k) for k in range(grid.ndim)]

    def __getitem__(self, box: Slices) -> NDArray[np.bool_]:
        return self._lost[np.ix_(*(under[s] for under, s in zip(self._under, box, strict=True)))]


def _slices(bounds: Sequence[tuple[int, int]]) -> Slices:
    return tuple(slice(a, b) for a, b in bounds)


def _keep(path: Path, names: Sequence[str]) -> list[str]:
    """The computed files under their names in ``computed/``; nothing is lost if the run is killed meanwhile."""
    folder = path / COMPUTED
    folder.mkdir(exist_ok=True)
    kept = []
    for name in names:
        own, part = folder / name, folder / f"{name}.partial"
        if not own.exists() and (path / name).is_dir():
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(path / name, part, copy_function=_link)
            part.replace(own)
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


def _link(path: str | Path, to: str | Path) -> None:
    """Another name for a file: nothing here changes a file once it is written."""
    try:
        os.link(path, to)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, to)


def _cleared(flags: TrustMap, pieces: Sequence[Recorded], grid: Grid) -> TrustMap:
    """Flags without those of coarse pixels that were recorded wholly: nothing is computed there any more."""
    out = np.array(flags.flags[...])
    ends = [np.searchsorted(grid.pixels_under(flags.grid, k), np.arange(n + 1)) for k, n in enumerate(out.shape)]
    for first, last in _bands(out.shape, int(math.prod(grid.shape) / out.size)):
        rows = slice(int(ends[0][first]), int(ends[0][last]))
        if any(p.box[0].start < rows.stop and p.box[0].stop > rows.start for p in pieces):
            least = measured_share(pieces, grid.shape, rows)
            for axis, starts in enumerate((ends[0][first:last] - rows.start, *(e[:-1] for e in ends[1:]))):
                least = np.minimum.reduceat(least, starts, axis=axis)
            out[first:last][least >= MEASURED_AT] = 0
    return TrustMap(out, flags.grid)


def _bands(shape: Sequence[int], times: int = 1) -> Iterator[tuple[int, int]]:
    """First row (slice) and the one behind the last of bands of bounded size, with ``times`` pixels for each."""
    step = max(1, _AT_ONCE // (math.prod(shape[1:]) * max(1, times)))
    for first in range(0, shape[0], step):
        yield first, min(first + step, shape[0])


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


def _facts(pieces: Sequence[Recorded], clipped: int, share: _Share, mask: str) -> dict[str, Any]:
    measured = sum(int(np.count_nonzero(share[a:b] == FULL)) for a, b in _bands(share.shape))
    return {
        "scans": [p.name for p in pieces],
        "measured_share": measured / math.prod(share.shape),
        "clipped": clipped,
        "mask": f"{mask}: {FULL} = recorded, 0 = computed, between = the border of a scan fading in",
        "computed": f"{COMPUTED}/ holds the map as computed; the judgement rests on it",
    }
