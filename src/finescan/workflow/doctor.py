"""What is installed and in use, and what is wrong with it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import finescan
from finescan.workflow.reading import Outcome

CORE = (
    "torch", "numpy", "scipy", "numba", "tifffile", "imagecodecs", "zarr", "h5py", "pillow", "pydantic", "safetensors",
    "typer",
)  # fmt: skip
OPTIONAL = {
    "czifile": ".czi files: pip install finescan[czi]",
    "rosettasciio": ".dm3 .dm4 .ser .emd files (GPL)",
    "olefile": ".txm .txrm volumes: pip install finescan[xrm]",
    "hdf5plugin": "compressed HDF5 volumes: pip install finescan[hdf5]",
}
MINIMUM = {"torch": (2, 6), "zarr": (3, 0), "numpy": (1, 26), "pydantic": (2, 7)}


def doctor() -> Outcome:
    """Versions, device, threads, optional readers, free disk and anything wrong with them."""
    versions = {name: _version(name) for name in (*CORE, *OPTIONAL)}
    device = _device()
    problems = [
        f"{name} {versions[name]} is older than {'.'.join(map(str, low))}: pip install -U {name}"
        for name, low in MINIMUM.items()
        if versions[name] and _numbers(versions[name]) < low
    ]
    problems += [f"{name} is missing: pip install {name}" for name in CORE if not versions[name]]
    facts: dict[str, Any] = {
        "finescan": finescan.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "free_gb_here": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
        "versions": versions,
        "device": device,
        "problems": problems,
    }
    lines = [f"finescan {finescan.__version__}, Python {facts['python']}, {facts['system']}"]
    lines += [f"{name:13} {versions[name] or 'missing'}" for name in CORE]
    lines += [f"{name:13} {versions[name] or 'not installed'}   ({what})" for name, what in OPTIONAL.items()]
    lines += [f"device        {device}; {facts['processors']} processors; {facts['free_gb_here']} GB free here"]
    lines += [f"problem: {p}" for p in problems] or ["nothing is wrong"]
    return Outcome(facts, "\n".join(lines))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in version.split("+")[0].split(".")[:2])


def _device() -> str:
    try:
        import torch
    except Exception as e:  # a broken installation raises anything
        return f"torch cannot be loaded ({e})"
    if torch.cuda.is_available():
        return f"GPU {torch.cuda.get_device_name(0)}"
    return f"CPU, {torch.get_num_threads()} threads"
