"""The door: a model and a coarse map in, the enhanced map out, block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.enhancement.config import EnhanceConfig, Enhanced
from finescan.enhancement.device import on_device
from finescan.enhancement.guard import mixed
from finescan.enhancement.layout import Layout, choose_layout
from finescan.enhancement.ledger import model_digest
from finescan.enhancement.predictor import Predictor, needed
from finescan.enhancement.sink import Finished, FolderSink, MemorySink, Sink, disk_error, prepare
from finescan.enhancement.source import Source, Survey, Window, survey
from finescan.enhancement.stages import StageFailed, Stages
from finescan.errors import FinescanError, InputError
from finescan.models import Model, require_ratio
from finescan.models.windows import JOININGS, Windows
from finescan.values import Grid, Image, Tile, TilePlan, TrustMap, flag_bits

Progress = Callable[[float, float, str], None]


@dataclass(frozen=True)
class _Job:
    """What stays the same for all blocks."""

    model: Model
    lr: Image
    out: Grid
    work: Grid
    dtype: np.dtype[Any]
    layout: Layout
    looked: Survey
    config: EnhanceConfig
    windows: Windows | None

    @property
    def spread(self) -> bool:
        """Whether the model is asked for its spread: it has to have one to say."""
        return self.config.spread and self.model.states_spread

    @property
    def halo(self) -> int:
        """Coarse pixels around a block that its answer depends on."""
        return self.windows.reach if self.windows else self.model.halo


def enhance(
    model: Model,
    lr: Image,
    *,
    folder: Path | str | None = None,
    config: EnhanceConfig | None = None,
    progress: Progress | None = None,
) -> Enhanced:
    """The whole coarse map at the pixel size of the fine scan.

    Parameters
    ----------
    model : trained for maps of this pixel size.
    lr : (rows, columns) grey levels of any real format; numpy, memory map or zarr, read block by block.
    folder : the result is written there (``enhanced.ome.zarr``, ``flags.npy``, and ``spread.ome.zarr`` if asked for)
        and a killed run is continued; None = the result is a numpy array.
    config : options.
    progress : called with (blocks done, blocks in all, message).

    Returns
    -------
    Enhanced on ``lr.grid.refine(card.sr_factor)``: grey levels of the fine scan, in its number format unless
    ``config.dtype`` says otherwise; flags on ``lr.grid``. Integers are rounded; values that do not fit are set to
    the limit, counted and flagged "clipped". Without a recorded grey level: NaN (floats) or 0, flagged "no_data".

    Raises
    ------
    ModelError : the model was made for another pixel size.
    OutputError : the folder cannot be written, is full, or holds the result of another model, input or config.
    FinescanError : a tile failed; the message names it. Nothing stands in for a failed tile.
    """
    began = time.perf_counter()
    config = config or EnhanceConfig()
    _check(model, lr)
    with on_device(model, config.device, config.threads) as (device, notes):
        job = _job(model, lr, config, device)
        where = None if folder is None else Path(folder)
        job, sink = _opened(job, where)
        before = len(sink.done())
        notes += _run(job, sink, where, progress or (lambda done, total, message: None))
    stem = lr.name.split(".")[0]
    pixels, flags, path = sink.finish(lr, f"{stem} enhanced", config.pyramid)
    notes += _about_clipping(sum(int(b["clipped"]) for b in sink.done().values()), job)
    image = Image(pixels, job.out, f"{stem} enhanced", lr.acquisition, path)
    computed = len(sink.done()) - before
    stated, where_stated = sink.spread()
    spread = None if stated is None else Image(stated, job.out, f"{stem} spread", lr.acquisition, where_stated)
    return Enhanced(image, TrustMap(flags, lr.grid), tuple(notes), time.perf_counter() - began, computed, spread)


# ---------------------------------------------------------------------------------------------- setting up
def _check(model: Model, lr: Image) -> None:
    if lr.grid.axes != "YX" or lr.dtype.kind not in "uif":
        raise InputError(
            f"Enhancement takes a grey image with axes YX, but {lr.name} has axes {lr.grid.axes} and format {lr.dtype}."
        )
    require_ratio(model, lr)


def _job(model: Model, lr: Image, config: EnhanceConfig, device: str) -> _Job:
    card = model.card
    out = lr.grid.refine(card.sr_factor)
    work = out.coarsen(card.factor)
    dtype = np.dtype(config.dtype or card.hr_dtype)
    windows = JOININGS["centre"] if config.blending == "centre" else model.windows
    halo, stride = (windows.reach, windows.stride) if windows else (model.halo, 0)
    layout = choose_layout(card.factor, halo, config, on_gpu=device.startswith("cuda"), stride=stride)
    return _Job(model, lr, out, work, dtype, layout, survey(lr, config.saturation), config, windows)


def _opened(job: _Job, folder: Path | None) -> tuple[_Job, Sink]:
    if folder is None:
        return job, MemorySink(job.out, job.lr.grid, job.dtype, spread=job.spread)
    each = job.dtype.itemsize + (4 if job.spread else 0)
    prepare(folder, overwrite=job.config.overwrite, need=job.out.size * each)
    configuration = {**job.config.identity(), "dtype": job.dtype.str, "saturation": list(job.looked.saturation)}
    what = {"model": model_digest(job.model), "input": job.looked.digest, "configuration": configuration}
    header = {"what": what, **job.layout.to_dict()}
    sink = FolderSink(folder, job.out, job.lr.grid, job.dtype, header, spread=job.spread)
    return replace(job, layout=Layout.from_dict(sink.header)), sink  # the same bits need the same blocks


# ---------------------------------------------------------------------------------------------- running
def _run(job: _Job, sink: Sink, folder: Path | None, progress: Progress) -> list[str]:
    """Compute what is missing; returns notes."""
    layout, model, notes = job.layout, job.model, list[str]()
    plan = TilePlan(job.work.shape, (layout.core, layout.core), job.halo + layout.overlap, model.factor)
    done = sink.done()
    missing = set(range(len(plan))) - set(done)
    tile = min((int(b["tile"]) for b in done.values()), default=layout.core + 2 * layout.overlap)
    source = Source(
        job.lr, job.work, job.out, model.card, halo=plan.halo, saturation=job.looked.saturation, guard=job.config.guard
    )
    predictor = Predictor(
        model, plan, overlap=layout.overlap, tile=tile, note=notes.append, windows=job.windows, spread=job.spread
    )
    start = len(plan) - len(missing)
    stages = Stages[Tile, Window, _Answer](
        lambda t: source.read(_cut(t, job)),
        lambda windows: _answers(predictor, windows, missing, source.margin),
        lambda a: sink.write(_finished(a, source, job.dtype), a.tile_px),
    )
    try:
        stages.run(
            needed(plan, missing, blended=layout.overlap > 0),
            lambda n: progress(start + n, len(plan), notes[-1] if notes else "enhancing"),
        )
    except StageFailed as e:
        raise _named(e, folder) from e.__cause__
    return notes


@dataclass(frozen=True)
class _Answer:
    """A computed block on its way to the writer."""

    window: Window
    grey: NDArray[np.float32]
    tile_px: int
    spread: NDArray[np.float32] | None = None

    @property
    def tile(self) -> Tile:
        """Of the window."""
        return self.window.tile


def _cut(tile: Tile, job: _Job) -> Tile:
    """The tile with its paste box inside the result: the last working pixel of an axis may be a partial one."""
    paste = tuple((a, min(b, n)) for (a, b), n in zip(tile.paste, job.out.shape, strict=True))
    return replace(tile, paste=paste)


def _answers(predictor: Predictor, windows: Iterator[Window], missing: set[int], margin: int) -> Iterator[_Answer]:
    for window, net in predictor.blocks(windows, missing.__contains__):
        try:
            mean, spread = (net, None) if net.ndim == 2 else (net[0], _on_paste(net[1], window))
            grey = _guarded(window, mean, predictor.model, margin)
        except Exception as e:
            raise StageFailed("computing", window) from e
        yield _Answer(window, grey, predictor.tile, spread)


def _guarded(window: Window, net: NDArray[np.float32], model: Model, margin: int) -> NDArray[np.float32]:
    """The network's answer, or interpolation where it is not to be believed, cut to the paste box."""
    if window.doubt is not None:
        near = window.block[(slice(margin - 2, -(margin - 2)),) * window.block.ndim]
        card = model.card
        net = mixed(net, near, window.doubt, factor=model.factor, gain=card.gain, offset=card.offset)
    return _on_paste(net, window)


def _on_paste(net: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """What lies inside the result."""
    return net[tuple(slice(0, b - a) for a, b in window.tile.paste)]


def _finished(answer: _Answer, source: Source, dtype: np.dtype[Any]) -> Finished:
    window = answer.window
    pixels, clipped = in_format(answer.grey, window.missing, dtype)
    start, flags = window.start, window.flags
    if clipped is None:
        return Finished(window.tile, pixels, start, flags, spread=answer.spread)
    start, flags = _with_clipped(start, flags, clipped, source.under(window.tile.paste))
    return Finished(window.tile, pixels, start, flags, int(np.count_nonzero(clipped)), answer.spread)


def in_format(
    grey: NDArray[np.float32], missing: NDArray[np.bool_] | None, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Grey levels in a number format, and where they had to be set to its limit (None = nowhere).

    Integers are rounded half to even. Missing ones become NaN, or 0 in an integer format.
    """
    if dtype.kind == "f":
        out = grey.astype(dtype)
        if missing is not None:
            out[missing] = np.nan
        return out, None
    # 32-bit limits are no float32 numbers
    whole = np.rint(grey if dtype.itemsize <= 2 else grey.astype(np.float64))
    if missing is not None:
        whole[missing] = 0
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    if whole.min() >= low and whole.max() <= high:
        return whole.astype(dtype), None
    return np.clip(whole, low, high).astype(dtype), (whole < low) | (whole > high)


def _with_clipped(
    start: tuple[int, ...], flags: NDArray[np.uint8], clipped: NDArray[np.bool_], under: tuple[NDArray[np.intp], ...]
) -> tuple[tuple[int, ...], NDArray[np.uint8]]:
    """Flags with "clipped" set on every coarse pixel over a clipped output pixel; the box may grow by a pixel."""
    first = tuple(min(s, int(u[0])) for s, u in zip(start, under, strict=True))
    last = tuple(max(s + n, int(u[-1]) + 1) for s, n, u in zip(start, flags.shape, under, strict=True))
    out = np.zeros([b - a for a, b in zip(first, last, strict=True)], np.uint8)
    out[tuple(slice(s - a, s - a + n) for s, a, n in zip(start, first, flags.shape, strict=True))] = flags
    rows, columns = (u[c] - a for u, c, a in zip(under, np.nonzero(clipped), first, strict=True))
    out[rows, columns] |= np.uint8(flag_bits("clipped"))
    return first, out


# ---------------------------------------------------------------------------------------------- saying
def _named(failed: StageFailed, folder: Path | None) -> FinescanError:
    """The failure of a stage as an error of ours that names the tile."""
    cause = failed.__cause__
    tile = failed.item if isinstance(failed.item, Tile) else getattr(failed.item, "tile", None)
    if failed.stage == "writing" and isinstance(cause, OSError):
        return disk_error(cause, folder)
    where = ""
    if tile is not None:
        (a, b), (c, d) = tile.keep
        where = f" {tile.index} (rows {a} to {b}, columns {c} to {d} of the coarse map)"
    kind = type(cause) if isinstance(cause, FinescanError) else FinescanError
    return kind(f"Tile{where} failed while {failed.stage}: {cause or 'unknown reason'} [{type(cause).__name__}]")


def _about_clipping(clipped: int, job: _Job) -> list[str]:
    if not clipped:
        return []
    share = 100 * clipped / job.out.size
    return [
        f"{clipped} pixels ({share:.2g} %) did not fit into {job.dtype} and were set to its limit; they are flagged "
        "'clipped'. Pass dtype='float32' to keep them."
    ]
