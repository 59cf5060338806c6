"""The door for volumes: a model and a coarse volume in, the enhanced volume out, block by block."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.enhancement.config import Enhanced
from finescan.enhancement.device import give_memory_back, on_device
from finescan.enhancement.engine import in_format
from finescan.enhancement.ledger import model_digest
from finescan.enhancement.sink import Finished, FolderSink, MemorySink, Sink, disk_error, prepare
from finescan.enhancement.source import Survey
from finescan.enhancement.stages import StageFailed, Stages
from finescan.enhancement.volume_config import VolumeEnhanceConfig
from finescan.enhancement.volume_layout import VolumeLayout, blocks, choose_layout, largest_box
from finescan.enhancement.volume_predictor import ExactPredictor, PublishedPredictor
from finescan.enhancement.volume_source import VolumeSource, VolumeWindow, any_under, survey_volume
from finescan.errors import FinescanError, InputError, ModelError
from finescan.models import Model, require_ratio
from finescan.values import Grid, Image, Region, Tile, TrustMap, flag_bits

Progress = Callable[[float, float, str], None]
_TRIM_VOXELS = 1 << 21  # of a block; below it the time is worth more than the memory


@dataclass(frozen=True)
class _Job:
    """What stays the same for all blocks."""

    model: Model
    lr: Image
    region: Region
    dtype: np.dtype[Any]
    layout: VolumeLayout
    looked: Survey
    config: VolumeEnhanceConfig

    @property
    def out(self) -> Grid:
        """Of the whole result."""
        return self.region.grid

    @property
    def coarse(self) -> Region:
        """The coarse voxels under the region."""
        return _coarse_under(self.lr, self.region, 0)


def enhance_volume(
    model: Model,
    lr: Image,
    *,
    folder: Path | str | None = None,
    config: VolumeEnhanceConfig | None = None,
    region: Region | None = None,
    progress: Progress | None = None,
) -> Enhanced:
    """The coarse volume at the voxel size of the fine scan.

    Memory depends on the block and, with blended tiles, on the width of the volume, not on its depth.

    Parameters
    ----------
    model : trained for volumes of this voxel size.
    lr : (z, y, x) grey levels of any real format; numpy, memory map or zarr, read block by block. NaN = not recorded.
    folder : the result is written there (``enhanced.ome.zarr``, ``flags.npy``) and a killed run is continued;
        None = the result is a numpy array.
    config : options.
    region : part to be enhanced, on ``lr.grid.refine(card.sr_factor)``: the same bits as there in the whole, with
        the same config; None = everything.
    progress : called with (blocks done, blocks in all, message).

    Returns
    -------
    Enhanced on ``lr.grid.refine(card.sr_factor)`` or the region's own grid: grey levels of the fine scan, in its number
    format unless ``config.dtype`` says otherwise; flags on ``lr.grid``, or the part of it under the region. Integers
    are rounded; values that do not fit are set to the limit, counted and flagged "clipped". Without a recorded grey
    level (NaN, outside ``config.circle``): NaN (floats) or 0 (integers), flagged "no_data".

    Raises
    ------
    ModelError : the model is for pictures, or for another voxel size.
    InputError : no volume, a region on another grid, or options that do not suit the network.
    OutputError : the folder cannot be written, is full, or holds the result of another model, input or config.
    FinescanError : a block failed; the message names it. Nothing stands in for a failed block.
    """
    began = time.perf_counter()
    config = config or VolumeEnhanceConfig()
    _check(model, lr)
    region = _on_result(model, lr, region)
    with on_device(model, config.device, config.threads) as (device, notes):
        layout = choose_layout(model, region.grid.shape, config, device=device)
        looked = survey_volume(lr, config.saturation, _read_of(lr, region, layout) if folder else None)
        job = _Job(model, lr, region, np.dtype(config.dtype or model.card.hr_dtype), layout, looked, config)
        where = None if folder is None else Path(folder)
        job, sink = _opened(job, where)
        before = len(sink.done())
        notes += _run(job, sink, where, progress or (lambda done, total, message: None))
    name = f"{lr.name.split('.')[0]} enhanced"
    pixels, flags, path = sink.finish(lr, name, config.pyramid)
    notes += _about_clipping(sum(int(b["clipped"]) for b in sink.done().values()), job)
    image = Image(pixels, region.own_grid, name, lr.acquisition, path)
    computed = len(sink.done()) - before
    trust = TrustMap(flags, job.coarse.own_grid)
    return Enhanced(image, trust, tuple(notes), time.perf_counter() - began, computed)


def enhance_chain(
    models: Sequence[Model],
    lr: Image,
    folder: Path | str,
    *,
    config: VolumeEnhanceConfig | None = None,
    progress: Progress | None = None,
) -> tuple[Enhanced, ...]:
    """A coarse volume through several models, each at the voxel size the one before it arrives at.

    The result of each is written to ``folder/step_1``, ``step_2`` … and read from there by the next, so memory stays
    bounded and a stopped chain goes on where it was.

    Parameters
    ----------
    models : first the one for ``lr``; the output voxels of each must be the input voxels of the next, to 5 %.
    lr, config, progress : as for :func:`enhance_volume`; field of view and saturation are those of every step.

    Returns
    -------
    The result of every step; the last is the finest.

    Raises
    ------
    ModelError : the voxel sizes do not join.
    """
    _require_chain(models)
    results: list[Enhanced] = []
    for step, model in enumerate(models, start=1):
        source = results[-1].image if results else lr
        results.append(
            enhance_volume(model, source, folder=Path(folder) / f"step_{step}", config=config, progress=progress)
        )
    return tuple(results)


# ---------------------------------------------------------------------------------------------- setting up
def _check(model: Model, lr: Image) -> None:
    if model.card.axes != "ZYX":
        raise ModelError(
            f"Enhancing a volume takes a model for volumes, but {model.card.architecture} is for pictures. Use enhance."
        )
    if lr.grid.axes != "ZYX" or lr.dtype.kind not in "uif":
        raise InputError(
            f"A volume of grey levels with axes ZYX is needed, but {lr.name} has axes {lr.grid.axes} and format "
            f"{lr.dtype}. Read it with read_volume."
        )
    require_ratio(model, lr)


def _on_result(model: Model, lr: Image, region: Region | None) -> Region:
    out = lr.grid.refine(model.card.sr_factor)
    if region is None:
        return Region(out, (0, 0, 0), out.shape)
    if not region.grid.same_as(out):
        raise InputError(
            f"The region to enhance must lie on the grid of the result ({out}), but it lies on {region.grid}. "
            "Make it with Region(lr.grid.refine(model.card.sr_factor), start, stop)."
        )
    return Region(out, region.start, region.stop)


def _require_chain(models: Sequence[Model]) -> None:
    if not models:
        raise InputError("A chain needs at least one model, but none came.")
    for k, (first, second) in enumerate(pairwise(models), start=1):
        made = first.card.pixel_size_nm
        wanted = tuple(p * f for p, f in zip(second.card.pixel_size_nm, second.card.sr_factor, strict=True))
        if len(made) != len(wanted) or any(abs(a / b - 1) > 0.05 for a, b in zip(made, wanted, strict=True)):
            raise ModelError(
                f"Model {k} of the chain makes voxels of {_size(made)} nm, but model {k + 1} takes {_size(wanted)} nm. "
                "Put them in order from coarse to fine, or train a model in between."
            )


def _size(values: Sequence[float]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)


def _coarse_under(lr: Image, region: Region, grow: int) -> Region:
    """Coarse voxels under a region of the result grown by some voxels."""
    scale, offset = region.grid.step_to(lr.grid)
    start, stop = [], []
    for a, b, s, o, n in zip(region.start, region.stop, scale, offset, lr.grid.shape, strict=True):
        first, last = (math.floor(i * s + o + 0.5 + 1e-9) for i in (a - grow, b - 1 + grow))
        start.append(min(max(first, 0), n - 1))
        stop.append(min(max(last, 0), n - 1) + 1)
    return Region(lr.grid, tuple(start), tuple(stop))


def _read_of(lr: Image, region: Region, layout: VolumeLayout) -> Region:
    grow = max(c + m for c, m in zip(layout.core, layout.margin, strict=True))
    return _coarse_under(lr, region, grow)


def _opened(job: _Job, folder: Path | None) -> tuple[_Job, Sink]:
    own = job.region.own_grid
    if folder is None:
        return job, MemorySink(own, job.coarse.own_grid, job.dtype)
    prepare(folder, overwrite=job.config.overwrite, need=own.size * job.dtype.itemsize)
    configuration = {**job.config.identity(), "dtype": job.dtype.str, "saturation": list(job.looked.saturation)}
    what = {
        "model": model_digest(job.model),
        "input": job.looked.digest,
        "configuration": configuration,
        "region": [list(job.region.start), list(job.region.stop)],
    }
    whole = own.shape == job.out.shape
    header = {"what": what, **job.layout.to_dict(), **job.layout.storage(whole)}
    sink = FolderSink(folder, own, job.coarse.own_grid, job.dtype, header)
    return replace(job, layout=VolumeLayout.from_dict(sink.header)), sink  # the same bits need the same blocks


# ---------------------------------------------------------------------------------------------- running
def _run(job: _Job, sink: Sink, folder: Path | None, progress: Progress) -> list[str]:
    """Compute what is missing; returns notes."""
    notes: list[str] = []
    config, layout = job.config, job.layout
    plan = blocks(job.out.shape, job.model.multiple, layout.core, job.region)
    missing = {k: t for k, t in plan.items() if k not in sink.done()}
    source = VolumeSource(
        job.model, job.lr, job.out, layout,
        saturation=job.looked.saturation, guard=config.guard, circle=config.circle, skip_empty=not layout.overlap,
    )  # fmt: skip
    predictor, todo = _predictor(job, missing, sink.done(), notes.append)
    start = len(plan) - len(missing)
    stages = Stages[Tile, VolumeWindow, _Answer](
        source.read,
        lambda windows: _answers(predictor, windows, job.model),
        lambda a: sink.write(_finished(a, source, job), a.tile_px),
        depth=1,
    )
    try:
        stages.run(todo, lambda n: progress(start + n, len(plan), notes[-1] if notes else "enhancing"))
    except StageFailed as e:
        raise _named(e, folder) from e.__cause__
    return notes


def _predictor(
    job: _Job, missing: dict[int, Tile], done: Mapping[int, Mapping[str, Any]], note: Callable[[str], None]
) -> tuple[ExactPredictor | PublishedPredictor, list[Tile]]:
    """The predictor and the tiles it must be given."""
    layout, config, model = job.layout, job.config, job.model
    if not layout.overlap:
        tile = largest_box(job.out.shape, model.multiple, layout.core)
        exact = ExactPredictor(model, layout, job.out.shape, tile=tile, bfloat16=config.bfloat16, note=note)
        exact.shrink_to(min((int(b["tile"]) for b in done.values()), default=math.prod(tile)))
        return exact, list(missing.values())
    blended = PublishedPredictor(
        model, layout, job.out.shape, stride=config.stride, wanted=missing, bfloat16=config.bfloat16, note=note
    )
    everything = Region(job.out, (0, 0, 0), job.out.shape)
    lattice = blocks(job.out.shape, model.multiple, layout.core, everything)
    return blended, blended.needed(lattice.__getitem__)


@dataclass(frozen=True)
class _Answer:
    """A computed block on its way to the writer; ``tile_px`` is the number of voxels computed at once."""

    window: VolumeWindow
    grey: NDArray[np.float32]
    tile_px: int

    @property
    def tile(self) -> Tile:
        """Of the window."""
        return self.window.tile


def _answers(
    predictor: ExactPredictor | PublishedPredictor, windows: Iterator[VolumeWindow], model: Model
) -> Iterator[_Answer]:
    card = model.card
    for window, net in predictor.blocks(windows):
        if window.doubt is not None and window.smooth is not None:
            # weight 0 leaves the network's very bits
            net = net + window.doubt * (np.float32(card.gain) * window.smooth + np.float32(card.offset) - net)
        large = net.size > _TRIM_VOXELS
        window = replace(window, block=None, doubt=None, smooth=None)
        yield _Answer(window, net, math.prod(predictor.tile))
        if large:
            del net
            give_memory_back()


def _finished(answer: _Answer, source: VolumeSource, job: _Job) -> Finished:
    window = answer.window
    pixels, clipped = in_format(answer.grey, window.missing, job.dtype)
    flags, count = window.flags, 0
    if clipped is not None:
        count = int(np.count_nonzero(clipped))
        flags = flags | any_under(clipped, source.under(window.tile.keep)) * np.uint8(flag_bits("clipped"))
    start = tuple(a - b for a, b in zip(window.start, job.coarse.start, strict=True))
    return Finished(window.tile, pixels, start, flags.astype(np.uint8), count)


# ---------------------------------------------------------------------------------------------- saying
def _named(failed: StageFailed, folder: Path | None) -> FinescanError:
    """The failure of a stage as an error of ours that names the block."""
    cause = failed.__cause__
    tile = failed.item if isinstance(failed.item, Tile) else getattr(failed.item, "tile", None)
    if failed.stage == "writing" and isinstance(cause, OSError):
        return disk_error(cause, folder)
    where = ""
    if tile is not None:
        (a, b), (c, d), (e, f) = tile.keep
        where = f" {tile.index} (slices {a} to {b}, rows {c} to {d}, columns {e} to {f} of the result)"
    kind = type(cause) if isinstance(cause, FinescanError) else FinescanError
    return kind(f"Block{where} failed while {failed.stage}: {cause or 'unknown reason'} [{type(cause).__name__}]")


def _about_clipping(clipped: int, job: _Job) -> list[str]:
    if not clipped:
        return []
    share = 100 * clipped / job.region.own_grid.size
    return [
        f"{clipped} voxels ({share:.2g} %) did not fit into {job.dtype} and were set to its limit; they are flagged "
        "'clipped'. Pass dtype='float32' to keep them."
    ]
