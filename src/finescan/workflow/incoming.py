"""What a merge starts from, and the rescans on their way in: read, checked, registered, their grey levels compared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import io, rescan
from finescan.errors import InputError, RegistrationRefused
from finescan.patches import PatchSet, SplitConfig, VolumePatchSet, make_patches, make_volume_patches
from finescan.patches.grey import grey_map, white_noise
from finescan.patches.learned import SMOOTH_PX, smooth
from finescan.patches.volume_making import volume_piece
from finescan.registration import Prior, load_pair, register
from finescan.registration.prior import prior_from_headers
from finescan.rescan.matching import fields_of
from finescan.values import Grid, Image, Pair, Verdict
from finescan.workflow.field_of_view import field_of_view
from finescan.workflow.finished import FinishedFolder
from finescan.workflow.opening import Progress, told_apart
from finescan.workflow.pasting import with_grey
from finescan.workflow.reading import Reading, as_planned
from finescan.workflow.rescanning import PLAN_FILE, coarse_scan
from finescan.workflow.verbs import pair_name
from finescan.workflow.volume_rescanning import planned_places
from finescan.workflow.volumes import split_config

NAMED_PLACE = re.compile(r"(?<![A-Za-z0-9])R(\d{3,})(?!\d)", re.IGNORECASE)  # of a volume: R007
COARSER = 1.25  # a rescan with pixels this much larger than those of the result cannot be pasted into it
SAME_GAIN, SAME_SHIFT = 0.1, 0.05  # grey levels that differ by less (on average, of the range) are the same
PLANNED_RATIO, PLANNED_TURN_DEG = 0.04, 2.0  # how far a planned field's geometry may be from that of the first scan
LOOKED_AT = 1 << 24  # voxels of a rescan that its grey levels are compared on
LEAST_RADIUS = 0.75  # of a field: how far from its planned middle it is looked for first


@dataclass(frozen=True)
class Wanted:
    """How rescans are taken in.

    Parameters
    ----------
    plan : rescan.json that they were recorded by; None = one beside them, or in the run folder, if there is one.
    match_grey : bring the grey levels of rescans with another gain or offset to those of the first run.
    skip : go on without rescans that are not found in the map.
    fine_pixel_size_nm : of rescans whose files state none.
    """

    plan: Path | None = None
    match_grey: bool = False
    skip: bool = False
    fine_pixel_size_nm: tuple[float, ...] | None = None


@dataclass(frozen=True)
class OldRun:
    """The run that rescans are merged into.

    Parameters
    ----------
    run, lr : its folder and coarse scan.
    hrs, pairs : its fine scans, and their registrations.
    """

    run: FinishedFolder
    lr: Image
    hrs: tuple[Image, ...]
    pairs: tuple[Pair, ...]

    @property
    def used(self) -> list[Pair]:
        """The pairs to go on with; doubtful ones only where there was nothing better."""
        found = [p for p in self.pairs if p.verdict is Verdict.FOUND]
        return found or [p for p in self.pairs if p.verdict is Verdict.DOUBTFUL]

    @property
    def is_volume(self) -> bool:
        """Whether its scans are volumes."""
        return self.lr.grid.ndim == 3

    @cached_property
    def patches(self) -> PatchSet | VolumePatchSet:
        """What it learned from."""
        if self.is_volume:
            return _volume_patches(self)
        return _patches(self, self.used, self.run.plan.values.get("split.boxes"))


@dataclass(frozen=True)
class Incoming:
    """A rescan on its way in: its file, its registration, and what is known of it."""

    path: Path
    pair: Pair
    facts: dict[str, Any]


def old_run(run: FinishedFolder) -> OldRun:
    lr = coarse_scan(run)
    sizes = run.plan.values.get("fine.pixel_size_nm") or [None] * len(run.fines)
    hrs = []
    for path, stated, size in zip(run.fines, run.state["inputs"]["fine"], sizes, strict=True):
        if not path.exists() or io.fingerprint(path) != stated["sha256"]:
            why = "has changed since the run" if path.exists() else "cannot be found"
            raise InputError(f"Merging needs the fine scans of {run.path}, but {path} {why}. Put it back.")
        hrs.append(as_planned(run.reading, "fine", path, size))
    named = told_apart(lr, hrs)
    pairs = [load_pair(run.path / "pair" / pair_name(k, hr), lr, hr) for k, hr in enumerate(named)]
    old = OldRun(run, lr, tuple(named), tuple(pairs))
    if not old.used:
        raise InputError(f"The run in {run.path} holds no fine scan that was found. Run it again.")
    return old


# ------------------------------------------------------------------ what comes in
def incoming(
    old: OldRun, paths: Sequence[Path], out: Path, wanted: Wanted, force: bool, tell: Progress
) -> list[Incoming]:
    """Every rescan, checked and registered; an error names those that cannot be used."""
    reading = replace(old.run.reading, fine_pixel_size_nm=wanted.fine_pixel_size_nm)
    scans = [_readable(reading, path, old, wanted.match_grey) for path in paths]
    _require_new(old, paths)
    named = told_apart(old.lr, [*old.hrs, *scans])[len(old.hrs) :]
    fields = _planned(old, paths, scans, wanted.plan)
    pairs = _registered_before(old, paths, named, out) or _registered(old, named, fields, tell)
    good = [p.verdict is Verdict.FOUND or (force and p.verdict is Verdict.DOUBTFUL) for p in pairs]
    if not all(good):
        _refuse(old, [p for p, g in zip(pairs, good, strict=True) if not g], sum(good), wanted.skip)
    kept = [k for k, g in enumerate(good) if g]
    greys = _greys(old, [pairs[k] for k in kept])
    return [
        Incoming(paths[k], pairs[k], _facts(paths[k], pairs[k], fields[k], grey, wanted.match_grey))
        for k, grey in zip(kept, greys, strict=True)
    ]


def _readable(reading: Reading, path: Path, old: OldRun, match_grey: bool) -> Image:
    scan = reading.fine(path)
    io.require_pair(old.lr, scan)
    target = old.run.plan.values["target.pixel_size_nm"]
    if max(a / b for a, b in zip(scan.grid.pixel_size_nm, target, strict=True)) > COARSER:
        word = "voxels" if old.is_volume else "pixels"
        raise InputError(
            f"{path.name} has {word} of {_nm(scan.grid.pixel_size_nm)} nm, which is too coarse for a result of "
            f"{_nm(target)} nm: nothing that fine was recorded. Scan it again with such {word}, or leave it out."
        )
    usual = old.used[0].hr.dtype
    if scan.dtype != usual and not match_grey:
        raise InputError(
            f"{path.name} holds {scan.dtype} grey levels, but those of the run are {usual}: the same number need not "
            "mean the same grey. Pass --match-grey to bring them to the run's grey levels, or leave it out."
        )
    return scan


def _require_new(old: OldRun, paths: Sequence[Path]) -> None:
    known = {f["sha256"]: f"the run's own fine scan {f['name']}" for f in old.run.state["inputs"]["fine"]}
    for path in paths:
        mark = io.fingerprint(path)
        if mark in known:
            raise InputError(f"{path.name} is {known[mark]}. Pass every rescan once, and no scan that the run has.")
        known[mark] = f"the same file as {path.name}"


@dataclass(frozen=True)
class Planned:
    """Where a plan expects a rescan.

    Parameters
    ----------
    id, known_by : name of the field, and what says that the rescan is of it.
    middle_nm, size_nm : in the frame of the map, per axis.
    slack_nm : how far the stage may miss.
    """

    id: str
    known_by: str
    middle_nm: tuple[float, ...]
    size_nm: tuple[float, ...]
    slack_nm: float = 0.0


def _planned(old: OldRun, paths: Sequence[Path], scans: Sequence[Image], given: Path | None) -> list[Planned | None]:
    """What is expected of every rescan, by the plan that was asked for, or one beside the rescans or the run."""
    here = rescan.MapReference(old.lr.name, old.lr.grid, old.run.state["inputs"]["coarse"]["sha256"])
    read = _places if old.is_volume else _fields
    if given is not None:
        return read(given, here, paths, scans)
    for folder in dict.fromkeys((paths[0].parent, paths[0].parent.parent, old.run.path, old.run.path / "rescan")):
        if (folder / PLAN_FILE).exists():
            with suppress(InputError):  # nobody asked for it
                return read(folder / PLAN_FILE, here, paths, scans)
    return [None] * len(paths)


def _fields(
    path: Path, here: rescan.MapReference, paths: Sequence[Path], scans: Sequence[Image]
) -> list[Planned | None]:
    """By the plan of a map."""
    plan = rescan.load_plan(path)
    rescan.require_map(plan, here)
    slack = 3 * (plan.stage.sigma_nm or 0.0) if plan.stage else 0.0
    found = fields_of(plan, [p.name for p in paths], [s.acquisition.stage for s in scans])
    return [None if f is None else _of_field(plan, *f, slack) for f in found]


def _of_field(plan: rescan.RescanPlan, field: rescan.Field, known_by: str, slack: float) -> Planned:
    size = tuple(s * p for s, p in zip(field.size_px, plan.map.grid.pixel_size_nm, strict=True))
    return Planned(field.id, known_by, tuple(float(v) for v in plan.nm(field.centre_px)), size, slack)


def _places(
    path: Path, here: rescan.MapReference, paths: Sequence[Path], scans: Sequence[Image]
) -> list[Planned | None]:
    """By the plan of a volume; files are named after their places."""
    middles, size = planned_places(path, here)
    names = [NAMED_PLACE.search(p.stem) for p in paths]
    known = [None if n is None else f"R{int(n[1]):03d}" for n in names]
    return [None if k not in middles else Planned(str(k), "name", middles[str(k)], size) for k in known]


def _registered_before(old: OldRun, paths: Sequence[Path], scans: Sequence[Image], out: Path) -> list[Pair] | None:
    """Pairs of a merge of the same files that was stopped."""
    with suppress(InputError, OSError, ValueError, KeyError):
        stated = json.loads((out / "run.json").read_text(encoding="utf-8"))["inputs"]["fine"][len(old.hrs) :]
        if [f["sha256"] for f in stated] != [io.fingerprint(p) for p in paths]:
            return None
        return [load_pair(out / "pair" / pair_name(len(old.hrs) + k, s), old.lr, s) for k, s in enumerate(scans)]
    return None


def _registered(old: OldRun, scans: Sequence[Image], fields: Sequence[Planned | None], tell: Progress) -> list[Pair]:
    pairs = []
    for k, (scan, field) in enumerate(zip(scans, fields, strict=True)):
        tell(k, len(scans), f"registering {scan.name}")
        prior = _prior(old, scan, field)
        objective = str(old.run.plan.values.get("register.objective", "auto"))
        pairs.append(register(old.lr, scan, prior=prior, objective=objective))
    tell(len(scans), len(scans), "registered")
    return pairs


def _prior(old: OldRun, scan: Image, planned: Planned | None) -> Prior:
    """Turned and stretched as the run's first scan was found to be, and at the planned place if there is one."""
    first = old.used[0]
    stated, here = prior_from_headers(old.lr, first.hr), prior_from_headers(old.lr, scan)
    ratio = tuple(
        h * f / s for h, f, s in zip(here.ratio_centre, first.lr_from_hr.scales(), stated.ratio_centre, strict=True)
    )
    turn = here.rotation_centre_deg + first.lr_from_hr.rotation_deg() - stated.rotation_centre_deg
    known = replace(
        here,
        ratio_centre=ratio,
        rotation_centre_deg=turn,
        ratio_error=(PLANNED_RATIO,) * len(ratio),
        rotation_deg=PLANNED_TURN_DEG,
    )
    if planned is None:
        return known
    radius = LEAST_RADIUS * max(planned.size_nm) + planned.slack_nm
    return replace(known, centre_nm=planned.middle_nm, radius_nm=radius)


def _refuse(old: OldRun, bad: Sequence[Pair], good: int, skip: bool) -> None:
    if skip and good:
        return
    names = ", ".join(p.hr.name for p in bad)
    verb = "is" if len(bad) == 1 else "are"
    doubtful = all(p.verdict is Verdict.DOUBTFUL for p in bad)
    said = f"{verb} found in {old.lr.name} with doubt only" if doubtful else f"{verb} not found in {old.lr.name}"
    rest = f", or pass --skip to go on with the other {good}" if good else ""
    advice = "pass --force to use such scans all the same" if doubtful else "check the sample and the pixel size"
    raise RegistrationRefused(
        f"{names} {said}: {' '.join(bad[0].reasons)} Leave {'it' if len(bad) == 1 else 'them'} out{rest}, or {advice}. "
        "Nothing was written."
    )


# ------------------------------------------------------------------ grey levels
def _greys(old: OldRun, pairs: Sequence[Pair]) -> list[tuple[float, float, float]]:
    """Of every rescan: gain and offset of its grey levels against those that the first run lets expect from the coarse
    map, and the mean difference as a share of the run's grey range."""
    first, found = old.patches, []
    span = first.hr_grey.high - first.hr_grey.low
    for under in _under(old, pairs):
        gain, offset, shift = (1.0, 0.0, 0.0) if under is None else _grey(*under, first.gain, first.offset)
        found.append((gain, offset, shift / span))
    return found


Seen = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]


def _under(old: OldRun, pairs: Sequence[Pair]) -> Iterator[Seen | None]:
    """Coarse and fine grey levels on the same pixels under every rescan, and where both are known."""
    first = old.patches
    if isinstance(first, VolumePatchSet):
        for pair in pairs:
            volume, _ = volume_piece(pair, first.out_grid, first.circle, LOOKED_AT)
            yield volume.lr, volume.hr, volume.weight
        return
    everything = _patches(old, [*old.used, *pairs], first.boxes)
    for pair in pairs:
        piece = next((p for p in everything.pieces if p.name == pair.hr.name), None)
        if piece is None:
            yield None
            continue
        f, (h, w) = piece.factor, piece.lr.shape
        known = np.asarray(np.all(piece.weight.reshape(h, f, w, f), axis=(1, 3)))
        yield piece.lr, piece.hr.reshape(h, f, w, f).mean(axis=(1, 3)), known


def _grey(
    lr: NDArray[np.float32], hr: NDArray[np.float32], known: NDArray[np.bool_], gain: float, offset: float
) -> tuple[float, float, float]:
    if np.count_nonzero(known) < 64:
        return 1.0, 0.0, 0.0
    expected = gain * smooth(lr, known)[known] + offset
    recorded = smooth(hr, known)[known]
    middle = lr.shape[0] // 2
    slices = (lr, known) if lr.ndim == 2 else (lr[middle], known[middle])
    noise = white_noise(*slices) if slices[1].any() else 0.0
    left = (gain * noise) ** 2 / (4 * np.pi * SMOOTH_PX**2) ** (lr.ndim / 2)  # what smoothing leaves of white noise
    a, b, _ = grey_map(expected, recorded, noise_variance=left)
    return a, b, float(np.mean(recorded) - np.mean(expected))


def _patches(old: OldRun, pairs: Sequence[Pair], boxes: Mapping[str, Any] | None) -> PatchSet:
    """Training data of fine scans and rescans, with these areas held out (None = chosen as the run chose them)."""
    values = old.run.plan.values
    config = SplitConfig(kind=values["split.kind"], guard_lr_px=values["split.guard_lr_px"], boxes=boxes)
    target = tuple(values["target.pixel_size_nm"])
    return make_patches(_in_run_grey(old, pairs), config=config, target_pixel_size_nm=target)


def _volume_patches(old: OldRun) -> VolumePatchSet:
    values = old.run.plan.values
    return make_volume_patches(
        _in_run_grey(old, old.used),
        config=split_config(values, len(old.used)),
        target_voxel_size_nm=tuple(values["target.pixel_size_nm"]),
        circle=field_of_view(old.lr, bool(values["volume.circle"])),
    )


def _in_run_grey(old: OldRun, pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs whose rescans of earlier merges have the grey levels of the first run."""
    greys = dict(zip((hr.name for hr in old.hrs), old.run.plan.values.get("merge.grey") or [], strict=False))
    return [
        p if greys.get(p.hr.name) is None else replace(p, hr=with_grey(p.hr, *map(float, greys[p.hr.name])))
        for p in pairs
    ]


def _facts(path: Path, pair: Pair, planned: Planned | None, grey: Sequence[float], matched: bool) -> dict[str, Any]:
    grid: Grid = pair.hr.grid
    middle = pair.lr_from_hr(grid.to_nm([(n - 1) / 2 for n in grid.shape]))
    facts: dict[str, Any] = {
        "file": path.name,
        "name": pair.hr.name,
        "verdict": pair.verdict.value,
        "split_error_hr_px": pair.residual.split_error_hr_px,
        "centre_px": pair.lr.grid.to_index(middle).tolist(),
        "grey": [grey[0], grey[1]],
        "other_grey": bool(abs(grey[0] - 1) > SAME_GAIN or abs(grey[2]) > SAME_SHIFT),
        "matched": matched,
        "field": None,
    }
    if planned is not None:
        away = np.abs(np.asarray(planned.middle_nm) - middle)
        facts |= {"field": planned.id, "known_by": planned.known_by, "away_um": float(np.linalg.norm(away)) / 1e3}
        facts["astray"] = bool((away > np.array(planned.size_nm) / 2).any())
    return facts


def _nm(values: Sequence[float]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
