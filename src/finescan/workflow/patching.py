"""Training sets from coarse pictures alone, on files: what the command ``finescan patches`` does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finescan import io
from finescan.errors import InputError
from finescan.patches import (
    PRESETS,
    MultiscaleConfig,
    WriteConfig,
    ZoomScale,
    multiscale_patches,
    to_eight_bit,
    write_multiscale,
)
from finescan.patches.multiscale_split import SPLITS
from finescan.values import Image
from finescan.workflow.folder import make_folder, require_empty, write_json
from finescan.workflow.reading import Outcome, Reading

Progress = Callable[[float, float, str], None]
USUAL = {4: "stem", 2: "stm"}  # the paper's main configurations
RECORD = "patches.json"


@dataclass(frozen=True)
class Preparation:
    """What is done to scanning-probe pictures first; nothing unless asked for.

    Parameters
    ----------
    flatten : take a straight line off every row.
    eight_bit : cut off at two percentiles and turn into 256 grey levels, as published for STM.
    percentiles : those.
    """

    flatten: bool = False
    eight_bit: bool = False
    percentiles: tuple[float, float] = (2.0, 98.0)

    def __call__(self, image: Image) -> Image:
        """The prepared picture."""
        image = io.flatten_lines(image, "published") if self.flatten else image
        return to_eight_bit(image, self.percentiles) if self.eight_bit else image


def zoom_config(
    preset: str | None = None,
    *,
    factor: int | None = None,
    scale: ZoomScale | None = None,
    **changes: Any,
) -> MultiscaleConfig:
    """The configuration that a few words stand for.

    Parameters
    ----------
    preset : row of ``PRESETS``. None = the paper's main configuration for the factor (2 or 4); of lists that are given
        none is taken from it.
    factor : None = the preset's, or 4.
    scale : what levels are counted in; None = the preset's.
    changes : fields of :class:`MultiscaleConfig` to replace (alpha, beta, gamma, filters, crop …); None = as they are.
    """
    changes = {k: v for k, v in changes.items() if v is not None}
    lists = {"alpha", "beta", "gamma"} & set(changes)
    if preset is None and (lists or (factor or 4) not in USUAL):
        config = MultiscaleConfig(sr_factor=factor or 4)
        if not lists:
            raise InputError(
                f"There are published zoom levels for factors 2 and 4, but {factor} came. Pass alpha, beta or gamma."
            )
    else:
        name = preset or USUAL[factor or 4]
        if name not in PRESETS:
            raise InputError(f"A preset is one of {', '.join(PRESETS)}, but {name!r} came.")
        config = PRESETS[name]
        if factor and factor != config.sr_factor:
            raise InputError(
                f"The preset {name} is for a factor of {config.sr_factor}, but {factor} came. Leave one of them out."
            )
    if scale is not None:
        changes["scale"] = scale
    return replace(config, **changes)


def patch_files(
    paths: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    config: MultiscaleConfig | None = None,
    writing: WriteConfig | None = None,
    preparation: Preparation | None = None,
    reading: Reading | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Write the training set of some coarse pictures, or, without a folder, say what it would hold.

    Parameters
    ----------
    paths : recorded pictures of one zoom level.
    output : folder for the set; None = nothing is written.
    config : the zoom levels; None = :func:`zoom_config` without arguments.
    writing : how files are written.
    preparation : what is done to the pictures first.
    overwrite : replace the set that is there.
    """
    config, writing = config or zoom_config(), writing or WriteConfig()
    reading = reading or Reading()
    if writing.published and reading.pixel_size_nm is None and output is not None:
        reading = replace(reading, pixel_size_nm=(1.0,))  # the published files hold none, and nothing depends on it
    prepare = preparation or Preparation()
    if output is not None:
        require_empty(Path(output), overwrite=overwrite)
    images = [prepare(reading.coarse(p)) for p in _files(paths)]
    if output is None:
        return _described(images, config)
    folder = Path(output)
    make_folder(folder)
    if (folder / RECORD).exists():  # a set of ours, which is to be replaced: no crop of it may stay
        for name in ("source", *SPLITS):
            shutil.rmtree(folder / name, ignore_errors=True)
    written = write_multiscale(images, folder, config, writing, progress=progress)
    facts = {**written.to_dict(), "config": config.to_dict(), "writing": dict(vars(writing))}
    facts["preparation"] = dict(vars(prepare))
    write_json(folder / RECORD, facts)
    return Outcome(facts, str(written))


def _files(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    found = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(p) for p in paths]
    if len({p.resolve() for p in found}) != len(found):
        raise InputError("Every picture must be another file, but one was named twice.")
    return found


def _described(images: Sequence[Image], config: MultiscaleConfig) -> Outcome:
    patches = multiscale_patches(images, config)
    arrays = {id(a): a for p in patches.pieces for a in (p.lr, p.hr)}
    held = sum(a.nbytes for a in arrays.values())
    levels: dict[str, dict[str, Any]] = {}
    for p in patches.pieces:
        row = levels.setdefault(p.name, {"coarse_px": list(p.lr.shape), "fine_px": list(p.hr.shape), "pieces": 0})
        row["pieces"] += 1
    facts = {
        "levels": levels,
        "shares": patches.shares(),
        "bytes": held,
        "pixel_size_nm": list(patches.out_grid.pixel_size_nm),
        "notes": list(patches.notes),
        "config": config.to_dict(),
    }
    lines = [f"{patches}; {held / 1e6:.0f} MB"]
    lines += [
        f"  {name}: {_px(row['coarse_px'])} -> {_px(row['fine_px'])} px, {row['pieces']} coarse version(s)"
        for name, row in levels.items()
    ]
    return Outcome(facts, "\n".join([*lines, *patches.notes]))


def _px(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape)
