"""Reading the files of a run, and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finescan import io
from finescan.errors import InputError, MissingPixelSize
from finescan.registration.prior import prior_from_headers
from finescan.values import Image

HDF5 = (".h5", ".hdf5", ".hdf", ".nxs", ".nx")


@dataclass(frozen=True)
class Reading:
    """How to read the files: what the user said that the files do not.

    Parameters
    ----------
    pixel_size_nm, fine_pixel_size_nm : (y, x), or (z, y, x) of volumes, nm, of the coarse and of every fine scan;
        one number = the same along every axis; None = from the file.
    channel, frame : which one to use of files with several.
    volume : read files as volumes (True) or as pictures (False); None = a file that holds slices of one volume, and
        of which no frame was chosen, is a volume.
    layout, fine_layout : shape, number format and byte order of raw volumes without a sidecar.
    dataset : which one to use of an HDF5 file with several.
    """

    pixel_size_nm: tuple[float, ...] | None = None
    fine_pixel_size_nm: tuple[float, ...] | None = None
    channel: int | str | None = None
    frame: int | None = None
    volume: bool | None = None
    layout: io.RawLayout | None = None
    fine_layout: io.RawLayout | None = None
    dataset: str | None = None

    def coarse(self, path: str | Path) -> Image:
        """Read the coarse scan."""
        return self._read(path, self.pixel_size_nm, self.layout)

    def fine(self, path: str | Path) -> Image:
        """Read a fine scan; the error for a missing pixel size or layout names the option for fine scans."""
        try:
            return self._read(path, self.fine_pixel_size_nm, self.fine_layout)
        except InputError as e:
            advice = str(e).replace("--pixel-size", "--fine-pixel-size").replace("--raw", "--fine-raw")
            for name in ("pixel_size_nm", "voxel_size_nm", "layout"):
                advice = advice.replace(f" {name}=", f" fine_{name}=")
            raise type(e)(advice) from e

    def to_dict(self) -> dict[str, Any]:
        """What decides on the pixels that are read, for JSON; pixel sizes are choices of the plan."""
        d: dict[str, Any] = {"channel": self.channel, "frame": self.frame}
        further = {"volume": self.volume, "dataset": self.dataset}
        layouts = {"layout": self.layout, "fine_layout": self.fine_layout}
        d |= {k: v for k, v in further.items() if v is not None}
        return d | {k: {**vars(v), "shape": list(v.shape)} for k, v in layouts.items() if v is not None}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Reading:
        """Inverse of :meth:`to_dict`."""
        layouts = {
            k: io.RawLayout(**{**d[k], "shape": tuple(d[k]["shape"])}) for k in ("layout", "fine_layout") if k in d
        }
        return cls(**{**d, **layouts})

    def is_volume(self, path: str | Path) -> bool:
        """Whether a file is read as a volume."""
        if self.volume is not None:
            return self.volume
        if self.layout is not None or self.fine_layout is not None or self.dataset is not None:
            return True  # only volumes have them, whatever the name of the file
        return self.frame is None and io.looks_like_volume(path)

    def _read(self, path: str | Path, size: tuple[float, ...] | None, layout: io.RawLayout | None) -> Image:
        if layout is not None or self.dataset is not None or self.is_volume(path):
            if size is not None and len(size) == 2:
                raise MissingPixelSize(
                    f"{Path(path).name} is read as a volume, whose voxel size is one number or three (z, y, x), but "
                    f"{size[0]:g} x {size[1]:g} nm came. Pass all three with --pixel-size, or --picture."
                )
            # the other file may be of another kind
            dataset = self.dataset if Path(path).suffix.lower() in HDF5 else None
            return io.read_volume(
                path, voxel_size_nm=_one_or_all(size), layout=layout, dataset=dataset, channel=self.channel
            )
        return io.read(path, pixel_size_nm=_one_or_all(size), channel=self.channel, frame=self.frame)


def _one_or_all(size: tuple[float, ...] | None) -> float | tuple[float, ...] | None:
    return size[0] if size is not None and len(size) == 1 else size


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
        share = math.prod(hr.grid.extent_nm) / math.prod(lr.grid.extent_nm)
        axes = " × ".join(lr.grid.axes.lower())
        whole = "volume" if lr.grid.ndim == 3 else "map"
        lines.append(f"{hr.name}: ratio {ratio} ({axes}), field {100 * share:.1f} % of the coarse {whole}")
        prior = prior_from_headers(lr, hr)
        if prior.centre_nm is not None:
            where = ", ".join(f"{v:.0f}" for v in lr.grid.to_index(prior.centre_nm))
            lines.append(
                f"       the stage puts its centre near coarse {'voxel' if lr.grid.ndim == 3 else 'pixel'} ({where})"
            )
    lines += [f"warning: {p}" for p in problems] or ["nothing wrong was noticed"]
    return "\n".join(lines)
