"""What the end-to-end tests share: small simulated scans, one finished run, and the command line."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the finescan command does; spinning threads starve the others
if "PYTEST_XDIST_WORKER" in os.environ:  # test processes share the cores: more threads cost a seventh more
    os.environ.setdefault("OMP_NUM_THREADS", "1")

#: a run that takes seconds and gives the same bits wherever it is repeated
QUICK = {"train.steps": 8, "train.members": 1, "result.method": "fast"}


@dataclass(frozen=True)
class Said:
    """What a command line returned and printed."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines that are no progress."""
        return [line for line in self.err.splitlines() if line and not line.endswith("%") and "% " not in line[-24:]]


@pytest.fixture
def finescan(monkeypatch, capsys) -> Callable[..., Said]:
    """``finescan("run", path, …)``: the command line in this process."""
    from finescan.__main__ import main

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["finescan", *(str(a) for a in arguments)])
        capsys.readouterr()
        code = main()
        printed = capsys.readouterr()
        return Said(code, printed.out, printed.err)

    return call


def _once(root: Path, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first test process to ask for it makes, while the others wait."""
    folder, done, failed = root / name, root / f"{name}.done", root / f"{name}.failed"
    try:
        folder.mkdir()
    except FileExistsError:
        until = time.monotonic() + 300
        while not done.exists():
            if failed.exists() or time.monotonic() > until:
                pytest.fail(f"{name} could not be made by the other test process")
            time.sleep(0.1)
        return folder
    try:
        make(folder)
    except BaseException:
        failed.touch()
        raise
    done.touch()
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """``once(name, make)``: a folder filled by ``make(folder)`` one time for all test processes; do not write to it."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    return lambda name, make: _once(root, name, make)


@pytest.fixture(scope="session")
def _registrations(tmp_path_factory) -> Callable[..., object]:
    """``register`` of :mod:`finescan.registration` that keeps its answers for all test processes."""
    from finescan.registration import register

    base = tmp_path_factory.getbasetemp()
    kept = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "registrations"
    kept.mkdir(exist_ok=True)

    @functools.wraps(register)
    def known(lr, hr, *, progress=None, **options):
        if max(lr.grid.size, hr.grid.size) > 1 << 22:
            return register(lr, hr, progress=progress, **options)
        digest = hashlib.blake2b(repr(sorted(options.items())).encode(), digest_size=16)
        for image in (lr, hr):
            digest.update(repr((image.name, image.grid.to_dict(), image.acquisition, image.dtype.str)).encode())
            digest.update(image.array().tobytes())
        file = kept / f"{digest.hexdigest()}.pickle"
        if file.exists():
            return replace(pickle.loads(file.read_bytes()), lr=lr, hr=hr)
        pair = register(lr, hr, progress=progress, **options)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_bytes(pickle.dumps(replace(pair, lr=_bare(lr), hr=_bare(hr))))
        part.replace(file)
        return pair

    return known


def _bare(image):
    """The image without its grey levels."""
    import numpy as np

    return image.with_data(np.broadcast_to(np.zeros((), image.dtype), image.grid.shape))


def _use(registrations, patch: pytest.MonkeyPatch) -> None:
    from finescan import registration
    from finescan.registration import pairing
    from finescan.workflow import evaluating, incoming, volume_evaluating

    for module in (registration, pairing, evaluating, incoming, volume_evaluating):
        patch.setattr(module, "register", registrations)


@pytest.fixture
def registered_once(_registrations, monkeypatch) -> None:
    """Equal scans are registered one time for all tests; that each time gives the same is tested elsewhere."""
    _use(_registrations, monkeypatch)


@pytest.fixture(scope="session")
def scans(once) -> Path:
    """coarse.tif, fine.tif (ratio 4) of one sample, and other.tif, a fine scan of another one."""
    from finescan import io
    from finescan.simulation import simulate

    def make(folder: Path) -> None:
        job = simulate("porous", size=160, ratio=4, fine=400, counts=(2000.0, 1500.0), seed=5)
        io.write(folder / "coarse.tif", job.lr)
        io.write(folder / "fine.tif", job.hr[0])
        io.write(folder / "other.tif", simulate("porous", size=112, ratio=4, fine=400, seed=6).hr[0])

    return once("scans", make)


@pytest.fixture(scope="session")
def finished(once, scans, _registrations) -> Path:
    """A finished run folder of ``scans``; copy it before changing anything."""
    from finescan import workflow
    from finescan.enhancement import layout

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            _use(_registrations, patch)
            patch.setattr(layout, "CPU_CORE", 128)  # four blocks, where usual ones would be larger than the map
            workflow.run(scans / "coarse.tif", scans / "fine.tif", folder, choices=QUICK)

    return once("finished", make)


@pytest.fixture(scope="session")
def quick() -> list[str]:
    """The choices of ``finished`` as command-line options."""
    return [part for name, value in QUICK.items() for part in ("--set", f"{name}={value}")]


@contextmanager
def _light_textures() -> Iterator[None]:
    from torch import nn

    from finescan.models import reference, ttsr
    from finescan.models.texture import TextureExtractor, search
    from finescan.training import extractor

    class Light(TextureExtractor):
        """As many features, each of an eighth of the features below."""

        def __init__(self, *, channels: int = 3) -> None:
            super().__init__(channels=channels)
            for part in (self.slice1, self.slice2, self.slice3):
                for name, layer in list(part.named_children()):
                    if isinstance(layer, nn.Conv2d) and layer.in_channels > 3:
                        setattr(part, name, nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1, groups=8))

    with pytest.MonkeyPatch.context() as patch:
        for module in (ttsr, extractor):
            patch.setattr(module, "TextureExtractor", Light)
        patch.setattr(reference, "search", lambda queries, keys: search(queries[:, ::16], keys[:, ::16]))
        yield


@pytest.fixture(scope="session")
def light_textures() -> Callable[[], AbstractContextManager[None]]:
    """``with light_textures():`` texture transformers with few weights that are looked for in few features."""
    return _light_textures
