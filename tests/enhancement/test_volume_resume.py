"""Enhancement of volumes that is stopped goes on with the same bits; memory that ends makes tiles smaller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finescan.enhancement import VolumeEnhanceConfig, enhance_volume
from finescan.errors import FinescanError, InputError, OutputError
from finescan.models import Model, save_model
from finescan.values import Region

Make = Callable[..., Any]
EXACT = VolumeEnhanceConfig(block=(16, 16, 16))
PUBLISHED = VolumeEnhanceConfig(blending="published", tile=24, overlap=4, stride=2)


def failing_after(model: Model, calls: int, error: BaseException, name: str) -> Model:
    """The model, broken after some calls."""
    real = getattr(model, name)
    left = iter(range(calls))

    def limited(*args: Any, **kwargs: Any) -> Any:
        if next(left, None) is None:
            raise error
        return real(*args, **kwargs)

    setattr(model, name, limited)
    return model


@pytest.mark.parametrize(("name", "config"), [("volume", EXACT), ("deepnet", EXACT), ("deepnet", PUBLISHED)])
def test_a_stopped_run_goes_on_with_the_same_bits(
    volume_model: Make, coarse_volume: Make, tmp_path: Path, name: str, config: VolumeEnhanceConfig
) -> None:
    lr = coarse_volume((40, 40, 24))
    whole = enhance_volume(volume_model(name), lr, config=config)
    calls, method = (14, "predict_stacks") if config is PUBLISHED else (7, "predict")
    broken = failing_after(volume_model(name), calls, RuntimeError("power cut"), method)
    with pytest.raises(FinescanError, match=r"Block \d+ \(slices .* of the result\) failed while computing: power cut"):
        enhance_volume(broken, lr, folder=tmp_path, config=config)
    lines = (tmp_path / "enhanced.ledger.jsonl").read_text().splitlines()
    assert len(lines) > 2 and not (tmp_path / "enhanced.ome.zarr").exists()
    seen: list[float] = []
    resumed = enhance_volume(
        volume_model(name), lr, folder=tmp_path, config=config, progress=lambda done, total, m: seen.append(done)
    )
    assert 0 < resumed.computed < whole.computed
    assert seen and min(seen) >= len(lines) - 1
    assert np.array_equal(resumed.image.array(), whole.image.data)
    assert np.array_equal(resumed.trust.flags, whole.trust.flags)
    assert enhance_volume(volume_model(name), lr, folder=tmp_path, config=config).computed == 0


def test_another_model_input_region_or_config_is_not_mixed_in(
    volume_model: Make, coarse_volume: Make, tmp_path: Path
) -> None:
    model, lr = volume_model(), coarse_volume((16, 16, 16))
    enhance_volume(model, lr, folder=tmp_path)
    with pytest.raises(OutputError, match="made with another model"):
        enhance_volume(volume_model(gain=2.0), lr, folder=tmp_path)
    with pytest.raises(OutputError, match="made with another input"):
        enhance_volume(model, coarse_volume((16, 16, 16), seed=1), folder=tmp_path)
    with pytest.raises(OutputError, match="made with another configuration"):
        enhance_volume(model, lr, folder=tmp_path, config=VolumeEnhanceConfig(guard=False))
    with pytest.raises(OutputError, match="made with another region"):
        enhance_volume(model, lr, folder=tmp_path, region=Region(lr.grid, (0, 0, 0), (4, 4, 4)))
    anew = enhance_volume(model, lr, folder=tmp_path, config=VolumeEnhanceConfig(guard=False, overwrite=True))
    assert anew.computed == 1


def test_memory_that_ends_makes_tiles_smaller_and_not_another_result(volume_model: Make, coarse_volume: Make) -> None:
    model, lr = volume_model(), coarse_volume((32, 32, 32))
    whole = enhance_volume(model, lr).image.data
    real = model.predict

    def limited(block: np.ndarray, **more: Any) -> np.ndarray:
        if len(block) > 60:
            raise MemoryError
        return real(block, **more)

    model.predict = limited
    result = enhance_volume(model, lr)
    assert any("Memory ran out; going on with tiles of 16 x 32 x 32 voxels" in n for n in result.notes)
    assert np.abs(result.image.data - whole).max() < 2e-3


def test_stacks_at_once_are_halved_when_memory_ends(volume_model: Make, coarse_volume: Make) -> None:
    model, lr = volume_model("deepnet"), coarse_volume((16, 16, 16))
    whole = enhance_volume(model, lr, config=PUBLISHED).image.data
    real = model.predict_stacks

    def limited(stacks: np.ndarray, **more: Any) -> np.ndarray:
        if len(stacks) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(stacks, **more)

    model.predict_stacks = limited
    result = enhance_volume(model, lr, config=PUBLISHED)
    assert any("going on with 2 stacks at once" in n for n in result.notes)
    assert np.abs(result.image.data - whole).max() < 1e-3


def test_memory_that_never_suffices_is_an_error(volume_model: Make, coarse_volume: Make) -> None:
    model = failing_after(volume_model(), 1, MemoryError(), "predict")
    with pytest.raises(FinescanError, match=r"failed while computing: .*\[MemoryError\]"):
        enhance_volume(model, coarse_volume((32, 16, 16)))


def test_a_network_that_gives_nan_is_an_error_and_not_a_result(volume_model: Make, coarse_volume: Make) -> None:
    model = volume_model()
    next(model.members[0].parameters()).fill_(float("nan"))
    with pytest.raises(FinescanError, match="grey levels that are not finite"):
        enhance_volume(model, coarse_volume((8, 8, 8)))


def test_a_killed_process_leaves_a_folder_from_which_the_run_goes_on(
    volume_model: Make, coarse_volume: Make, tmp_path: Path
) -> None:
    lr, out = coarse_volume((64, 32, 32)), tmp_path / "out"
    save_model(volume_model(), tmp_path / "model")
    np.save(tmp_path / "lr.npy", lr.data)
    script = (
        "import numpy as np, os, signal\n"
        "from finescan.enhancement import enhance_volume, VolumeEnhanceConfig\n"
        "from finescan.models import load_model\n"
        "from finescan.values import Grid, Image\n"
        f"data = np.load({str(tmp_path / 'lr.npy')!r}, mmap_mode='r')\n"
        "lr = Image(data, Grid.of(data.shape, 1000.0), 'volume.npy')\n"
        "def kill(done, total, message):\n"
        "    if done >= 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"enhance_volume(load_model({str(tmp_path / 'model')!r}), lr, folder={str(out)!r}, "
        "config=VolumeEnhanceConfig(block=(16, 16, 16), threads=1), progress=kill)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert killed.returncode == -signal.SIGKILL and not (out / "enhanced.ome.zarr").exists()
    done = len((out / "enhanced.ledger.jsonl").read_text().splitlines()) - 1
    header = json.loads((out / "enhanced.ledger.jsonl").read_text().splitlines()[0])
    assert header["core"] == [16, 16, 16] and 3 <= done < 16
    config = VolumeEnhanceConfig(block=(16, 16, 16), threads=1)
    resumed = enhance_volume(volume_model(), lr, folder=out, config=config)
    assert resumed.computed == 16 - done
    assert np.array_equal(resumed.image.array(), enhance_volume(volume_model(), lr, config=config).image.data)


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match=r"A block is \(z, y, x\) voxels, but \(8, 8\) came"):
        VolumeEnhanceConfig(block=(8, 8))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="memory_mb must be positive"):
        VolumeEnhanceConfig(memory_mb=0)
    with pytest.raises(InputError, match="integers or floats"):
        VolumeEnhanceConfig(dtype="complex64")
