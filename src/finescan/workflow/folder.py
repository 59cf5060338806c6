"""RunFolder: where a run keeps its results, which steps are done, and its log."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from finescan.errors import OutputError

FORMAT = 1


class RunFolder:
    """A run folder: ``run.json`` records inputs and finished steps, ``log.jsonl`` what happened when.

    A step is done when its record holds the key computed now: a hash of everything it depends on. An edited plan
    changes keys, so that just the steps that depend on the edit are done again.
    """

    def __init__(self, path: Path, inputs: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """Open or create; OutputError when the folder is not writable or holds something else."""
        self.path = path
        self._record = path / "run.json"
        self._made = not path.exists()
        self._begun = not self._record.exists()
        make_folder(path)
        self._state = self._opened(dict(inputs), overwrite)
        self._save()

    def _opened(self, inputs: dict[str, Any], overwrite: bool) -> dict[str, Any]:
        fresh = {"format": FORMAT, "inputs": inputs, "steps": {}}
        if not self._record.exists():
            if any(self.path.iterdir()) and not overwrite:
                raise OutputError(
                    f"{self.path} is not empty and holds no finescan run. Choose another folder, or pass --overwrite."
                )
            return fresh
        try:
            state = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            if not overwrite:
                raise OutputError(f"{self._record} cannot be read ({e}). Pass --overwrite to start anew.") from e
            state = fresh
        if state.get("format") == FORMAT and state.get("inputs") == inputs:
            return dict(state)
        if not overwrite:
            raise OutputError(
                f"{self.path} holds a run of other files ({_names(state.get('inputs'))}; these are {_names(inputs)}). "
                "Choose another folder, or pass --overwrite to replace it."
            )
        stores = ("enhanced.ome.zarr", "uncertainty.ome.zarr", "measured.ome.zarr")
        for name in ("pair", "model", "start-model", "computed", "models", *stores):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (
            "plan.yaml",
            "enhanced.tif",
            "flags.tif",
            "fallback.tif",
            "measured.tif",
            "uncertainty.tif",
            "uncertainty_noise_free.tif",
            "pores.csv",
            "pore_sizes.csv",
            "trust.json",
            "report.html",
            "levels.csv",
        ):
            (self.path / name).unlink(missing_ok=True)
        for stale in [*self.path.glob("enhanced-*.tif"), *self.path.glob("flags-*.tif")]:
            stale.unlink()
        (self.path / "log.jsonl").unlink(missing_ok=True)
        return fresh

    def is_done(self, step: str, key: str, *results: str) -> bool:
        """Whether the step was finished with this key and its results (names in the folder) are still there."""
        same = self._state["steps"].get(step, {}).get("key") == key
        return bool(same and all((self.path / name).exists() for name in results))

    def finish(self, step: str, key: str, **facts: Any) -> None:
        """Record a finished step, atomically; later steps stay recorded only while their own keys hold."""
        self._state["steps"][step] = {"key": key, **facts}
        self._save()

    def facts(self, step: str) -> dict[str, Any]:
        """What was recorded with a finished step."""
        return dict(self._state["steps"].get(step, {}))

    def abandon(self) -> None:
        """Take back the beginning of a run whose files cannot be used, so that the corrected call finds no other run.

        Does nothing in a folder that held this run before.
        """
        if self._begun and not self._state["steps"]:
            for name in ("run.json", "log.jsonl"):
                (self.path / name).unlink(missing_ok=True)
            if self._made and not any(self.path.iterdir()):
                self.path.rmdir()

    def log(self, event: str, **facts: Any) -> None:
        """Append a line to ``log.jsonl``."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **facts}
        file = self.path / "log.jsonl"
        try:
            with file.open("a", encoding="utf-8") as f:
                f.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        except OSError as e:
            raise full_disk(file, e) from e

    def _save(self) -> None:
        write_json(self._record, self._state)


def make_folder(path: Path) -> None:
    """Create a folder and prove that it can be written to, or raise OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".finescan-probe"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as e:
        raise OutputError(f"{path} cannot be written to ({e.strerror}). Choose another folder with -o.") from e


def require_empty(path: Path, *, overwrite: bool) -> None:
    """OutputError for a folder with anything in it, unless it may be overwritten."""
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise OutputError(f"{path} is not empty. Choose another folder with -o, or pass --overwrite.")


def require_space(path: Path, needed: float) -> None:
    """OutputError when less than ``needed`` bytes are free where ``path`` lies."""
    free = shutil.disk_usage(path).free
    if free < needed:
        raise OutputError(
            f"The result needs about {needed / 1e9:.1f} GB but {path} has {free / 1e9:.1f} GB free. Free some space "
            "or choose another folder with -o."
        )


def forget(*paths: Path) -> None:
    """Remove files and stores; those that are not there are no matter."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """JSON under its final name only when complete; a full disk is an OutputError."""
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False, default=_as_json))


def write_whole(path: Path, text: str) -> None:
    """Text under its final name only when complete; a full disk is an OutputError."""
    part = path.with_name(path.name + ".partial")
    try:
        part.write_text(text, encoding="utf-8", errors="replace")
        part.replace(path)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise full_disk(path, e) from e


def full_disk(path: Path, e: OSError) -> OutputError:
    """The OutputError for a failed write."""
    why = "the disk is full" if e.errno == errno.ENOSPC else (e.strerror or str(e))
    return OutputError(f"{path} could not be written: {why}. What was finished is kept; run again to continue.")


def key_of(*parts: Any) -> str:
    """Hash of anything JSON can hold; the same parts give the same key."""
    text = json.dumps(parts, sort_keys=True, default=_as_json)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _as_json(value: Any) -> Any:
    convert: Callable[[], Any] | None = getattr(value, "tolist", None) or getattr(value, "to_dict", None)
    return convert() if convert else str(value)


def _names(inputs: Any) -> str:
    files = list((inputs or {}).values())
    flat = [f for entry in files for f in (entry if isinstance(entry, list) else [entry])]
    known = [f"{f.get('name')} {str(f.get('sha256', ''))[:8]}" for f in flat if isinstance(f, Mapping)]
    return ", ".join(known) or "none"
