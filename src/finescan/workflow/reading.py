"""Reading the files of a run, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finescan import io
from finescan.errors import InputError, MissingPixelSize
from finescan.registration.prior import prior_from_headers
from finescan.values import Image


@dataclass(frozen=True)
class Reading:
    """How to read the files: what the user said that the files do not.

    Parameters
    ----------
    pixel_size_nm, fine_pixel_size_nm : (y, x) nm of the coarse and of every fine scan; None = from the file.
    channel, frame : which one to use of files with several.
    """

    pixel_size_nm: tuple[float, ...] | None = None
    fine_pixel_size_nm: tuple[float, ...] | None = None
    channel: int | str | None = None
    frame: int | None = None

    def coarse(self, path: str | Path) -> Image:
        """Read the coarse scan."""
        return io.read(path, pixel_size_nm=self.pixel_size_nm, channel=self.channel, frame=self.frame)

    def fine(self, path: str | Path) -> Image:
        """Read a fine scan; the error for a missing pixel size names the option for fine scans."""
        try:
            return io.read(path, pixel_size_nm=self.fine_pixel_size_nm, channel=self.channel, frame=self.frame)
        except MissingPixelSize as e:
            advice = str(e).replace("--pixel-size", "--fine-pixel-size")
            raise MissingPixelSize(advice.replace(" pixel_size_nm=", " fine_pixel_size_nm=")) from e


@dataclass(frozen=True)
class Outcome:
    """What a verb did: ``facts`` for machines (JSON values), ``text`` for people."""

    facts: dict[str, Any]
    text: str

    def to_dict(self) -> dict[str, Any]:
        """The facts."""
        return self.facts

    def __str__(self) -> str:
        return self.text


def as_paths(fine: str | Path | Sequence[str | Path]) -> list[Path]:
    """One path or several, as a list; at least one."""
    paths = [Path(fine)] if isinstance(fine, (str, Path)) else [Path(p) for p in fine]
    if not paths:
        raise InputError("At least one fine scan is needed, but none came.")
    if len({p.resolve() for p in paths}) != len(paths):
        raise InputError("Every fine scan must be another file, but one was named twice.")
    return paths


def as_planned(reading: Reading, role: str, path: Path, size: Sequence[float] | None) -> Image:
    """Read a scan with the plan's pixel size; where the file says the same, the file stays the source.

    Parameters
    ----------
    role : "coarse" or "fine".
    size : the plan's (y, x), nm; what ``reading`` says wins over it.
    """
    given = reading.pixel_size_nm if role == "coarse" else reading.fine_pixel_size_nm
    if size is None or given is not None:
        return _read(reading, role, path)
    with suppress(MissingPixelSize):
        image = _read(reading, role, path)
        if image.grid.pixel_size_nm == tuple(size):
            return image
    passed = tuple(size)
    if role == "coarse":
        return replace(reading, pixel_size_nm=passed).coarse(path)
    return replace(reading, fine_pixel_size_nm=passed).fine(path)


def _read(reading: Reading, role: str, path: Path) -> Image:
    return reading.coarse(path) if role == "coarse" else reading.fine(path)


def check(coarse: str | Path, fine: str | Path | Sequence[str | Path], *, reading: Reading | None = None) -> Outcome:
    """What is in the files and what is wrong with them, in seconds.

    Parameters
    ----------
    coarse, fine : paths of the coarse scan and of one or several fine scans.
    reading : pixel sizes and channels that the files do not state.

    Returns
    -------
    Outcome with ``facts["files"]`` (one dictionary per file) and ``facts["problems"]`` (sentences).

    Raises
    ------
    InputError for anything that makes a run impossible (unreadable, no pixel size, swapped, constant, ratio).
    """
    reading = reading or Reading()
    lr = reading.coarse(coarse)
    hrs = [reading.fine(p) for p in as_paths(fine)]
    problems: list[str] = []
    for hr in hrs:
        io.require_pair(lr, hr)
        problems += [p for p in io.problems(lr, hr) if p not in problems]
    files = [{"file": str(image.source or image.name), **_facts(image)} for image in (lr, *hrs)]
    return Outcome({"files": files, "problems": problems}, _check_text(lr, hrs, problems))


def _facts(image: Image) -> dict[str, Any]:
    return {
        "name": image.name,
        "grid": image.grid.to_dict(),
        "dtype": str(image.dtype),
        "acquisition": image.acquisition.to_dict(),
        **io.describe(image),
    }


def _check_text(lr: Image, hrs: list[Image], problems: list[str]) -> str:
    lines = []
    for role, image in [("coarse", lr), *(("fine", hr) for hr in hrs)]:
        a = image.acquisition
        lines.append(f"{role:6} {image}")
        lines.append(
            f"       pixel size from {a.pixel_size_from or 'unknown'}; vendor {a.vendor or 'unknown'}; detector "
            f"{a.detector or 'unknown'}; dwell "
            + (f"{a.dwell_time_us:g} µs" if a.dwell_time_us else "unknown")
            + (f"; {a.databar_rows} databar rows cut off" if a.databar_rows else "")
        )
    for hr in hrs:
        ratio = " × ".join(f"{r:.3f}" for r in lr.grid.sr_factor(hr.grid))
        share = hr.grid.extent_nm[0] * hr.grid.extent_nm[1] / (lr.grid.extent_nm[0] * lr.grid.extent_nm[1])
        lines.append(f"{hr.name}: ratio {ratio} (y × x), field {100 * share:.1f} % of the coarse map")
        prior = prior_from_headers(lr, hr)
        if prior.centre_nm is not None:
            where = ", ".join(f"{v:.0f}" for v in lr.grid.to_index(prior.centre_nm))
            lines.append(f"       the stage puts its centre near coarse pixel ({where})")
    lines += [f"warning: {p}" for p in problems] or ["nothing wrong was noticed"]
    return "\n".join(lines)
