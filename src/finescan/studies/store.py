"""Where a study keeps its volumes and figures, so that a stopped study goes on where it was."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError, OutputError
from finescan.values import Grid, Image

if TYPE_CHECKING:
    from finescan.reporting import StudyReport

Progress = Callable[[float, float, str], None]
S = TypeVar("S")


def silent(done: float, total: float, message: str) -> None:
    """For studies that nobody watches."""


@dataclass(frozen=True)
class SizedStudy(Generic[S]):
    """What to run, of the studies that come in named sizes; every one of them says what its sizes are.

    Parameters
    ----------
    size : row of the study's SIZES table: "quick", "medium" or "full".
    seed : of samples, noise and training.
    device : "auto", "cpu" or a torch device.
    """

    NAME: ClassVar[str]
    SIZES: ClassVar[Mapping[str, Any]]

    size: str = "medium"
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.size not in self.SIZES:
            raise InputError(f"A {self.NAME} study is {', '.join(self.SIZES)}, but {self.size!r} came.")

    @property
    def numbers(self) -> S:
        """Of the size."""
        return cast(S, self.SIZES[self.size])


class StudyFolder:
    """A folder of volumes (``volumes/*.npy``) and results (``results/*.json``) that belong to one configuration.

    Parameters
    ----------
    path : of the folder; created.
    config : everything the results depend on. A folder of another configuration is refused unless ``overwrite``.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        stated = json.loads(json.dumps(dict(config)))
        record = path / "config.json"
        if path.is_dir() and any(path.iterdir()):
            same = record.exists() and json.loads(record.read_text(encoding="utf-8")) == stated
            if not same and not overwrite:
                raise OutputError(
                    f"{path} holds something else than this study with these settings. Choose another folder with -o, "
                    "or pass --overwrite to replace it."
                )
            if not same:
                for name in ("volumes", "results", "models"):
                    shutil.rmtree(path / name, ignore_errors=True)
        try:
            for name in ("volumes", "results", "models"):
                (path / name).mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise OutputError(f"{path} cannot be written to ({e.strerror}). Choose another folder with -o.") from e
        _whole(record, json.dumps(stated, indent=1))

    def volume(self, name: str, grid: Grid, make: Callable[[], Any]) -> Image:
        """The stored volume of a name (memory-mapped), made and stored first when it is not there."""
        path = self.path / "volumes" / f"{name}.npy"
        if not path.exists():
            _saved(path, np.asarray(make(), np.float32))
        return Image(np.load(path, mmap_mode="r"), grid, name, source=str(path))

    def has_volume(self, name: str) -> bool:
        """Whether a volume was stored."""
        return (self.path / "volumes" / f"{name}.npy").exists()

    def picture(self, name: str, make: Callable[[], Any]) -> Any:
        """The stored slice of a name, made and stored first when it is not there."""
        path = self.path / "results" / f"{name}.npy"
        if not path.exists():
            _saved(path, np.asarray(make(), np.float32))
        return np.load(path)

    def has_result(self, name: str) -> bool:
        """Whether a result was stored."""
        return (self.path / "results" / f"{name}.json").exists()

    def result(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The stored result of a name, made and stored first when it is not there."""
        path = self.path / "results" / f"{name}.json"
        if not path.exists():
            _whole(path, json.dumps(make(), default=_plain))
        return dict(json.loads(path.read_text(encoding="utf-8")))


def write_page(folder: Path, page: StudyReport) -> None:
    """``report.html``, and every figure and table of it as files of their own."""
    from finescan.reporting import write_figures, write_study

    write_study(folder / "report.html", page, overwrite=True)
    write_figures(folder / "figures", page.figures(), page.tables(), overwrite=True)


def _saved(path: Path, array: NDArray[np.float32]) -> None:
    with _completed(path) as part, part.open("wb") as f:
        np.save(f, array)


def _whole(path: Path, text: str) -> None:
    with _completed(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def _completed(path: Path) -> Iterator[Path]:
    """Where to write a file that gets its name when it is complete; a full disk is an OutputError."""
    part = path.with_name(path.name + ".partial")
    try:
        yield part
        part.replace(path)
    except OSError as e:
        part.unlink(missing_ok=True)
        why = "the disk is full" if e.errno == errno.ENOSPC else (e.strerror or str(e))
        raise OutputError(f"{path} could not be written: {why}. What was finished is kept; run again.") from e


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
