"""A Pair on disk: ``pair.json`` for people, ``arrays.npz`` for the maps. Written whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from finescan.errors import InputError, OutputError
from finescan.values import Grid, Image, Pair, Residual, Verdict, Warp

SCHEMA = 1
FIGURES = ("split_error_hr_px", "sigma_hr_px", "correlation", "decoy_ratio")


def save_pair(pair: Pair, folder: str | Path) -> Path:
    """Write a pair (not its images) into a folder, replacing an earlier one.

    Parameters
    ----------
    pair : to be kept.
    folder : made if it does not exist.

    Returns
    -------
    The folder.

    Raises
    ------
    OutputError : the folder cannot be written.
    """
    folder = Path(folder)
    arrays: dict[str, Any] = {f"map_{k}": v for k, v in pair.residual.maps.items()}
    arrays["blocks"] = pair.residual.blocks
    if pair.valid is not None:
        arrays["valid"] = pair.valid
    text = json.dumps(_plain(_described(pair)), indent=1, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # the text last: a pair without it does not exist
        _replace(folder / "arrays.npz", lambda f: np.savez_compressed(f, **arrays))
        _replace(folder / "pair.json", lambda f: f.write(text.encode()))
    except OSError as e:
        raise OutputError(f"The registration could not be written to {folder} ({e}). Choose a writable folder.") from e
    return folder


def load_pair(folder: str | Path, lr: Image, hr: Image) -> Pair:
    """Inverse of :func:`save_pair`; the images must be those it was made from.

    Raises
    ------
    InputError : no pair there, a damaged one, or one made from images on other grids.
    """
    folder = Path(folder)
    try:
        d = json.loads((folder / "pair.json").read_text(encoding="utf-8"))
        with np.load(folder / "arrays.npz", allow_pickle=False) as f:
            arrays = {k: f[k] for k in f.files}
    except (OSError, ValueError) as e:
        raise InputError(f"{folder} holds no complete registration ({e}). Run the registration again.") from e
    if d.get("schema") != SCHEMA:
        raise InputError(f"{folder} holds a registration of schema {d.get('schema')!r}, but {SCHEMA} was expected. "
                         "Run the registration again.")  # fmt: skip
    for image, key in ((lr, "lr"), (hr, "hr")):
        saved = Grid.from_dict(d[key]["grid"])
        if saved != image.grid:
            raise InputError(f"The registration in {folder} was made with {d[key]['name']} on {saved}, but "
                             f"{image.name} on {image.grid} came. Run the registration again.")  # fmt: skip
    r = d["residual"]
    figures = {k: float("nan") if r[k] is None else float(r[k]) for k in FIGURES}
    maps = {k.removeprefix("map_"): v for k, v in arrays.items() if k.startswith("map_")}
    grid = Grid.from_dict(r["grid"])
    residual = Residual(**figures, method=r["method"], grid=grid, maps=maps, blocks=arrays["blocks"])
    warp = Warp.from_dict(d["lr_from_hr"])
    return Pair(lr, hr, warp, Verdict(d["verdict"]), tuple(d["reasons"]), residual, arrays.get("valid"))


def _described(pair: Pair) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "verdict": pair.verdict.value,
        "reasons": list(pair.reasons),
        "residual": pair.residual.to_dict(),
        "lr": {"name": pair.lr.name, "grid": pair.lr.grid.to_dict()},
        "hr": {"name": pair.hr.name, "grid": pair.hr.grid.to_dict()},
        "lr_from_hr": pair.lr_from_hr.to_dict(),
    }


def _plain(value: Any) -> Any:
    """JSON without nan and infinity: nan becomes null, infinity its name."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _replace(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write beside the file, then rename over it."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as f:
        write(f)
        f.flush()
        os.fsync(f.fileno())
    part.replace(path)
