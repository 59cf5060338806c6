"""A multi-scale training set as files, in the published folders and under the published names.

::

    source/                                 the recorded pictures
    train/ val/ test/
      source/                               those of this part
      pyramid/     GaNR6.0000.png           (1) to (3): every zoom level of every picture
      bc_pyramid/  GaN-bc-R11.0000.png      (4): coarse pictures, named by the level of the fine ones
      crops/ bc_crops/  GaNR6.0000_crop0.png
      HR/          GaNR6.0000_crop0_1.png   fine crops, once per filter (the number is Pillow's)
      LR/          GaNR6.0000_crop0_1X4.png coarse ones
    val/HR_subset/ val/LR_subset/           some pairs, for a quick look during training

The rules are those of the public code of Möller et al. 2023 (``ifnspaml/SuperResolutionMultiscaleTraining``, MIT).
Pictures of more than eight bits keep their grey levels (16-bit PNG; TIFF for other formats) unless the published form
is wanted.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from finescan import io
from finescan.errors import InputError, OutputError
from finescan.patches import grey
from finescan.patches.multiscale import require_crop, require_pictures
from finescan.patches.multiscale_config import PUBLISHED_CROP, Level, MultiscaleConfig
from finescan.patches.multiscale_split import SPLITS, WriteConfig, crop_starts, split_pictures
from finescan.patches.zoom import FILTERS, UNITS, resized, zoomed
from finescan.values import Acquisition, Grid, Image

FOLDERS = ("source", "pyramid", "bc_pyramid", "crops", "bc_crops", "HR", "LR")
Progress = Callable[[float, float, str], None]
Array = NDArray[Any]


@dataclass
class WrittenSet:
    """What was written.

    Parameters
    ----------
    folder : the set.
    pictures : per part, names of the recorded pictures.
    pairs : per part, number of pairs of crops.
    clipped : pixels whose interpolated grey level went beyond the number format and was set to its limit.
    notes : sentences about what was left out.
    """

    folder: Path
    pictures: dict[str, list[str]] = field(default_factory=dict)
    pairs: dict[str, int] = field(default_factory=dict)
    clipped: int = 0
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "folder": str(self.folder)}

    def __str__(self) -> str:
        parts = ", ".join(f"{n} {self.pairs[n]} pairs of {len(self.pictures[n])} picture(s)" for n in SPLITS)
        return "\n".join([f"{self.folder}: {parts}", *self.notes])


def write_multiscale(
    images: Sequence[Image],
    folder: str | Path,
    config: MultiscaleConfig,
    writing: WriteConfig | None = None,
    *,
    progress: Progress | None = None,
) -> WrittenSet:
    """Write a training set from coarse pictures alone.

    Parameters
    ----------
    images : recorded pictures of one zoom level; with ``published`` they must have eight bits.
    folder : made if need be; files of the same names are replaced.
    config : the zoom levels. Written sets hold out whole pictures (``writing.shares``), so its split does not count.
    writing : how; None = :class:`WriteConfig` as it stands.

    Raises
    ------
    InputError : pictures that :func:`multiscale_patches` refuses as well, two of one name, two levels of one name.
    OutputError : the folder cannot be written to.
    """
    if config.decoupling:
        raise InputError(
            "Sets with decoupled noise are made while training and not written. Leave decoupling at 0 to write one."
        )
    writing = writing or WriteConfig()
    job = _Job(config, writing, Path(folder))
    require_pictures(images, config, square=not writing.published)
    _require_names(images, config, writing)
    require_crop(images, job.crop)
    try:
        job.run(images, progress or (lambda done, total, message: None))
    except OSError as e:
        raise OutputError(f"{e.filename or folder} could not be written: {e.strerror or e}.") from e
    return job.written


def _require_names(images: Sequence[Image], config: MultiscaleConfig, writing: WriteConfig) -> None:
    for what, names, advice in (
        ("pictures", [_stem(i) for i in images], "Rename one of them"),
        ("zoom levels", [_level_text(config, v, writing) for v in config.levels if v.process < 4], "Use more digits"),
        (
            "interpolated levels",
            [_level_text(config, v, writing) for v in config.levels if v.process == 4],
            "Use more digits",
        ),
    ):
        twice = next((n for k, n in enumerate(names) if n in names[:k]), None)
        if twice is not None:
            raise InputError(f"Files are named after pictures and levels, but two {what} are called {twice}. {advice}.")


def _stem(image: Image) -> str:
    return Path(image.name).stem


def _level_text(config: MultiscaleConfig, level: Level, writing: WriteConfig) -> str:
    """The number in file names; in the published form of (4) by way of the coarse picture's level."""
    number = config.scale.level(level.ratio)
    if level.process == 4 and writing.published:
        coarse = _coarse_level(config, level)
        number = coarse * (config.sr_factor if UNITS[config.scale.unit] > 0 else 1 / config.sr_factor)
    return f"{number:.{writing.digits}f}"


def _coarse_level(config: MultiscaleConfig, level: Level) -> float:
    number = config.scale.level(level.ratio)
    return number / config.sr_factor if UNITS[config.scale.unit] > 0 else number * config.sr_factor


class _Job:
    """What the steps of writing share."""

    def __init__(self, config: MultiscaleConfig, writing: WriteConfig, folder: Path) -> None:
        self.config, self.writing, self.folder = config, writing, folder
        self.crop = config.crop or PUBLISHED_CROP
        self.written = WrittenSet(folder)
        self._small: dict[str, None] = {}  # ordered sets of names
        self._gaps: dict[str, None] = {}

    def run(self, images: Sequence[Image], progress: Progress) -> None:
        rng = random.Random(self.writing.seed)
        names = [i.name for i in images]
        parts = split_pictures(names, self.writing, self.config.scale.unit, rng)
        (self.folder / "source").mkdir(parents=True, exist_ok=True)
        for image in images:
            self._save_source(image, self.folder / "source")
        total, done = sum(len(v) for v in parts.values()) * len(self.config.levels), 0
        for part in SPLITS:
            for name in FOLDERS:
                (self.folder / part / name).mkdir(parents=True, exist_ok=True)
            self.written.pairs[part] = 0
            self.written.pictures[part] = [names[k] for k in parts[part]]
            for k in parts[part]:
                self._save_source(images[k], self.folder / part / "source")
                for level in self.config.levels:
                    progress(done, total, f"{part}: {images[k].name} at {self.config.scale.named(level.ratio)}")
                    self._level(images[k], level, part)
                    done += 1
            if part == "val" and self.writing.subset:
                self._subset(self.folder / part, rng)
        progress(1, 1, "writing patches")
        self._notes(parts)

    def _notes(self, parts: dict[str, list[int]]) -> None:
        notes = self.written.notes
        if self._small:
            notes.append(f"Left out, smaller than a crop of {self.crop} px: {', '.join(self._small)}.")
        if self._gaps:
            notes.append(f"Missing pixels were taken from their neighbours: {', '.join(self._gaps)}.")
        empty = [p for p in SPLITS if not parts[p]]
        if empty:
            notes.append(f"There are too few pictures for {' and '.join(empty)}: only whole pictures are held out.")
        if self.written.clipped:
            notes.append(
                f"{self.written.clipped} interpolated pixels went beyond the number format and were set to its limit."
            )

    # ------------------------------------------------------------------ one level of one picture
    def _level(self, image: Image, level: Level, part: str) -> None:
        picture = self._zoomed(image, level)
        last = level.process == 4
        name = f"{_stem(image)}{'-bc-' if last else ''}R{_level_text(self.config, level, self.writing)}"
        at = self.folder / part
        ratio = level.ratio / self.config.sr_factor if last else level.ratio
        grid = image.grid.refine(ratio)
        self._save(at / ("bc_pyramid" if last else "pyramid") / name, picture, grid)
        size = self.crop // self.config.sr_factor if last else self.crop
        if min(picture.shape) < size:
            self._small[name] = None
            return
        for k, (y, x) in enumerate(self._corners(picture.shape, size, name, last)):
            crop = np.ascontiguousarray(picture[y : y + size, x : x + size])
            own = grid.crop((y, x), (y + size, x + size))
            self._save(at / ("bc_crops" if last else "crops") / f"{name}_crop{k}", crop, own)
            self._pairs(at, f"{name}_crop{k}", crop, own, part, last)

    def _zoomed(self, image: Image, level: Level) -> Array:
        """A picture at a level; the coarse one of process 4."""
        recorded, scale = image.array(), self.config.scale
        if not self.writing.published:
            ratio = level.ratio / self.config.sr_factor if level.process == 4 else level.ratio
            picture, missing = grey.filled(recorded)
            if missing.any():
                self._gaps[image.name] = None
            return self._rounded(zoomed(picture, ratio), image.dtype)
        number = _coarse_level(self.config, level) if level.process == 4 else scale.level(level.ratio)
        # for nm the reciprocal of a quotient, as published: the last binary digit can decide about a pixel
        ratio = number / scale.recorded if UNITS[scale.unit] > 0 else 1 / (number / scale.recorded)
        shape = [int(n * ratio) for n in recorded.shape]
        if min(shape) < 1:
            raise InputError(f"{image.name} has no pixel left at {scale.named(level.ratio)}. Leave this level out.")
        return resized(recorded, shape, "nearest" if ratio <= 1 else "bicubic", eight_bit=True)

    def _corners(self, shape: Sequence[int], size: int, name: str, last: bool) -> Iterator[tuple[int, int]]:
        """Upper left corners of the crops, column by column."""
        w = self.writing
        scale = self.config.scale
        count = w.crops_of(name, scale.recorded, scale.unit)
        if last:
            count = w.crops_interpolated or w.crops_per_side
        rows, columns = (crop_starts(n, size, count, w.published) for n in shape)
        return ((y, x) for x in columns for y in rows)

    def _pairs(self, at: Path, name: str, crop: Array, grid: Grid, part: str, last: bool) -> None:
        s = self.config.sr_factor
        if last:
            fine = self._resized(crop, [n * s for n in crop.shape], "bicubic")
            number = FILTERS["bicubic"]
            self._save(at / "HR" / f"{name}_{number}", fine, grid.refine(s))
            self._save(at / "LR" / f"{name}_{number}X{s}", crop, grid)
            self.written.pairs[part] += 1
            return
        first: Path | None = None
        for chosen in self.writing.test_filters if part == "test" else self.config.filters:
            number = FILTERS[chosen]
            if first is None:
                first = self._save(at / "HR" / f"{name}_{number}", crop, grid)
            else:  # the same bytes under another name
                shutil.copyfile(first, at / "HR" / f"{name}_{number}{first.suffix}")
            self._save(at / "LR" / f"{name}_{number}X{s}", self._coarser(crop, chosen), grid.coarsen(s))
            self.written.pairs[part] += 1

    def _coarser(self, crop: Array, filter_name: str) -> Array:
        return self._resized(crop, [int(n / self.config.sr_factor) for n in crop.shape], filter_name)

    # ------------------------------------------------------------------ pixels and files
    def _resized(self, picture: Array, shape: Sequence[int], filter_name: str) -> Array:
        if self.writing.published:
            return resized(picture, shape, filter_name, eight_bit=True)
        return self._rounded(resized(picture, shape, filter_name), picture.dtype)

    def _rounded(self, values: NDArray[np.float32], dtype: np.dtype[Any]) -> Array:
        """In the recorded number format; floats stay float32."""
        if dtype.kind not in "iu":
            return values
        limits = np.iinfo(dtype)
        whole = np.rint(values)
        self.written.clipped += int(np.count_nonzero((whole < limits.min) | (whole > limits.max)))
        return np.clip(whole, limits.min, limits.max).astype(dtype)

    def _save(self, path: Path, picture: Array, grid: Grid) -> Path:
        """Under the path with the ending of the number format."""
        if self.writing.published:
            path = path.with_name(f"{path.name}.png")
            Pillow.fromarray(picture).save(path)
            return path
        ending = ".png" if picture.dtype in (np.uint8, np.uint16) else ".tif"
        path = path.with_name(path.name + ending)
        facts = Acquisition(pixel_size_from="recorded picture")
        own = replace(grid, shape=picture.shape)
        return io.write(path, Image(picture, own, path.name, facts), overwrite=True)

    def _save_source(self, image: Image, folder: Path) -> None:
        """The file itself, if there is one that others can read, else the grey levels."""
        source = Path(image.source) if image.source else None
        if source is not None and source.is_file() and source.suffix.lower() == ".png":
            shutil.copy(source, folder)
        else:
            self._save(folder / _stem(image), image.array(), image.grid)

    def _subset(self, part: Path, rng: random.Random) -> None:
        """Some pairs of a part once more; chosen with the random numbers that shuffled the pictures, as published."""
        fine = sorted((part / "HR").iterdir())
        chosen = rng.sample(fine, min(self.writing.subset, len(fine)))
        for name in ("HR_subset", "LR_subset"):
            (part / name).mkdir(exist_ok=True)
        for path in chosen:
            shutil.copy(path, part / "HR_subset")
            shutil.copy(part / "LR" / f"{path.stem}X{self.config.sr_factor}{path.suffix}", part / "LR_subset")
