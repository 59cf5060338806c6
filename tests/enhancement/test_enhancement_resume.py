"""A killed run goes on, a failing tile fails the run, memory that runs out makes tiles smaller."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from finescan import io
from finescan.enhancement import EnhanceConfig, enhance
from finescan.enhancement import sink as sink_room
from finescan.enhancement.ledger import NAME as LEDGER
from finescan.enhancement.stages import Stages
from finescan.errors import FinescanError, OutputError


class Watched:
    """A model that counts its calls and may misbehave on some of them."""

    def __init__(self, inner, misbehave=lambda call, block: None):
        self.inner, self.misbehave, self.calls, self.largest = inner, misbehave, 0, 0
        self.card, self.halo, self.factor, self.members, self.device = (
            inner.card, inner.halo, inner.factor, inner.members, inner.device)  # fmt: skip
        self.windows = None

    def to(self, device):
        self.inner.to(device)
        return self

    def predict(self, block):
        self.calls += 1
        self.misbehave(self.calls, block)
        self.largest = max(self.largest, *block.shape)
        return self.inner.predict(block)


def stop_at(call):
    def misbehave(now, block):
        if now == call:
            raise KeyboardInterrupt

    return misbehave


@pytest.mark.parametrize("config", [EnhanceConfig(tile=16), EnhanceConfig(tile=16, blending="smooth", overlap=3)])
def test_an_interrupted_run_continues_with_the_same_bits(config, model_of, map_of, tmp_path):
    model, lr = model_of("fast", 2.67, 2, hr_dtype="uint8"), map_of((50, 70), dtype="uint8")
    whole = enhance(model, lr, folder=tmp_path / "whole", config=config)
    watched = Watched(model, stop_at(9))
    with pytest.raises(KeyboardInterrupt):
        enhance(watched, lr, folder=tmp_path / "parts", config=config)
    recorded = len((tmp_path / "parts" / LEDGER).read_text().splitlines()) - 1
    assert not (tmp_path / "parts" / sink_room.STORE).exists()  # nothing half-written is mistaken for done
    rest = enhance(model, lr, folder=tmp_path / "parts", config=config)
    assert 0 < rest.computed == whole.computed - recorded
    np.testing.assert_array_equal(whole.image.array(), rest.image.array())
    np.testing.assert_array_equal(whole.trust.flags, rest.trust.flags)
    assert whole.notes == rest.notes  # clipped pixels of the first part are counted too


def test_a_finished_result_is_found_and_not_computed_again(model_of, map_of, tmp_path):
    lr = map_of((30, 30))
    first = enhance(model_of("fast", 2.0), lr, folder=tmp_path)
    watched = Watched(model_of("fast", 2.0))
    again = enhance(watched, lr, folder=tmp_path)
    assert (watched.calls, again.computed) == (0, 0)
    np.testing.assert_array_equal(first.image.array(), again.image.array())


def test_the_folder_holds_a_readable_picture_with_its_pixel_size(model_of, map_of, tmp_path):
    lr = map_of((40, 30), dtype="uint16")
    result = enhance(model_of("bicubic", 2.67, 2, hr_dtype="uint16"), lr, folder=tmp_path)
    read = io.read(tmp_path / sink_room.STORE)
    assert read.grid.same_as(result.image.grid)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read.array(), enhance(model_of("bicubic", 2.67, 2, hr_dtype="uint16"), lr).image.data)


@pytest.mark.parametrize("changed", ["model", "input", "configuration"])
def test_another_model_input_or_configuration_is_refused_by_name(changed, model_of, map_of, tmp_path):
    model, lr, config = model_of("fast", 2.0), map_of((30, 30)), EnhanceConfig()
    enhance(model, lr, folder=tmp_path, config=config)
    if changed == "model":
        with torch.no_grad():
            next(iter(model.members[0].parameters())).add_(1e-4)
    elif changed == "input":
        lr.data[4, 4] += 1
    else:
        config = EnhanceConfig(dtype="uint8")
    with pytest.raises(OutputError, match=rf"made with another {changed}\..*--overwrite"):
        enhance(model, lr, folder=tmp_path, config=config)
    new = enhance(model, lr, folder=tmp_path, config=EnhanceConfig(dtype=config.dtype, overwrite=True))
    np.testing.assert_array_equal(new.image.array(), enhance(model, lr, config=config).image.data)


def test_a_store_without_a_ledger_is_not_touched(model_of, map_of, tmp_path):
    (tmp_path / sink_room.STORE).mkdir()
    with pytest.raises(OutputError, match="no ledger tells where it came from"):
        enhance(model_of(), map_of((20, 20)), folder=tmp_path)


def test_a_line_cut_short_by_a_crash_counts_as_not_written(model_of, map_of, tmp_path):
    model, lr, config = model_of("fast", 2.0), map_of((40, 40)), EnhanceConfig(tile=20)
    with pytest.raises(KeyboardInterrupt):
        enhance(Watched(model, stop_at(4)), lr, folder=tmp_path, config=config)
    with (tmp_path / LEDGER).open("ab") as f:
        f.write(b'{"block": 3, "clip')
    result = enhance(model, lr, folder=tmp_path, config=config)
    np.testing.assert_array_equal(result.image.array(), enhance(model, lr, config=config).image.data)
    assert [json.loads(line) for line in (tmp_path / LEDGER).read_text().splitlines()]


def test_a_damaged_ledger_is_an_error_with_advice(model_of, map_of, tmp_path):
    (tmp_path / LEDGER).write_bytes(b"garbage\n")
    with pytest.raises(OutputError, match=r"damaged.*--overwrite"):
        enhance(model_of(), map_of((20, 20)), folder=tmp_path)


def test_an_unwritable_folder_is_an_error_with_advice(model_of, map_of, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot be written.*Choose another folder"):
        enhance(model_of(), map_of((20, 20)), folder=tmp_path / "file" / "sub")


def test_too_little_room_is_said_before_anything_is_computed(model_of, map_of, tmp_path, monkeypatch):
    monkeypatch.setattr(sink_room.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    watched = Watched(model_of())
    with pytest.raises(OutputError, match=r"needs up to .* GB free"):
        enhance(watched, map_of((50, 50)), folder=tmp_path)
    assert watched.calls == 0


def test_a_disk_that_fills_up_is_an_error_with_advice_and_the_run_continues(model_of, map_of, tmp_path, monkeypatch):
    model, lr, config = model_of("fast", 2.0), map_of((40, 40)), EnhanceConfig(tile=20)
    write, calls = sink_room.FolderSink.write, []

    def failing(self, block, tile_px):
        calls.append(block)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, block, tile_px)

    monkeypatch.setattr(sink_room.FolderSink, "write", failing)
    with pytest.raises(OutputError, match=r"disk is full\. Finished blocks are kept"):
        enhance(model, lr, folder=tmp_path, config=config)
    rest = enhance(model, lr, folder=tmp_path, config=config)
    assert rest.computed == 2
    np.testing.assert_array_equal(rest.image.array(), enhance(model, lr, config=config).image.data)


@pytest.mark.parametrize("where", [None, "folder"])
def test_a_failing_tile_fails_the_run_and_is_named(where, model_of, map_of, tmp_path):
    def misbehave(call, block):
        if call == 3:
            raise ValueError("bad weather")

    before = threading.active_count()
    with pytest.raises(FinescanError, match=r"Tile 2 \(rows 0 to 10, columns 20 to 30 .*computing: bad weather"):
        enhance(
            Watched(model_of(), misbehave),
            map_of((30, 30)),
            folder=where and tmp_path,
            config=EnhanceConfig(tile=10),
        )
    assert threading.active_count() == before  # no thread outlives the call


def test_a_tile_that_cannot_be_read_fails_the_run_and_is_named(model_of, map_of):
    class Torn:
        shape, dtype, reads = (30, 30), np.dtype("float32"), 0

        def __getitem__(self, key):
            self.reads += 1
            if self.reads > 2:
                raise OSError("torn chunk")
            return np.ones((30, 30), np.float32)[key]

    lr = map_of((30, 30)).with_data(Torn())
    with pytest.raises(FinescanError, match=r"Tile 1 \(rows .* failed while reading: torn chunk"):
        enhance(model_of(), lr, config=EnhanceConfig(tile=10))


def test_an_answer_that_is_not_finite_fails_the_run(model_of, map_of):
    model = model_of("fast", 2.0)
    with torch.no_grad():
        next(iter(model.members[0].parameters())).fill_(float("nan"))
    with pytest.raises(FinescanError, match="not finite"):
        enhance(model, map_of((20, 20)))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
    ],
)
def test_out_of_memory_halves_the_tile_and_says_so(error, model_of, map_of):
    def misbehave(call, block):
        if max(block.shape) > 40:
            raise error

    model, lr, said = model_of("fast", 2.0), map_of((90, 80)), []
    watched = Watched(model, misbehave)
    result = enhance(watched, lr, config=EnhanceConfig(tile=64), progress=lambda d, t, m: said.append(m))
    assert watched.largest <= 40
    assert result.notes == tuple(f"Memory ran out; going on with tiles of {n} coarse pixels." for n in (32, 16))
    assert said[-1] == result.notes[-1]
    whole = enhance(model, lr, config=EnhanceConfig(tile=64))
    assert np.abs(whole.image.data - result.image.data).max() <= 1e-6 * np.ptp(whole.image.data)


def test_memory_that_never_suffices_ends_in_an_error(model_of, map_of):
    def misbehave(call, block):
        raise MemoryError

    with pytest.raises(FinescanError, match="MemoryError"):
        enhance(Watched(model_of(), misbehave), map_of((30, 30)))


def test_other_runtime_errors_are_not_taken_for_lack_of_memory(model_of, map_of):
    def misbehave(call, block):
        raise RuntimeError("shapes cannot be multiplied")

    watched = Watched(model_of(), misbehave)
    with pytest.raises(FinescanError, match="cannot be multiplied"):
        enhance(watched, map_of((30, 30)))
    assert watched.calls == 1


def test_progress_counts_blocks_up_to_all(model_of, map_of):
    seen = []
    enhance(model_of(), map_of((30, 30)), config=EnhanceConfig(tile=10), progress=lambda *a: seen.append(a))
    assert seen[-1][:2] == (9, 9)
    assert [s[0] for s in seen] == sorted(s[0] for s in seen)


def test_stages_work_side_by_side_and_hold_only_a_few_items():
    alive, most = 0, 0
    lock = threading.Lock()

    def read(item):
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        time.sleep(0.01)
        return item

    def compute(items):
        for item in items:
            time.sleep(0.01)
            yield item

    def write(item):
        nonlocal alive
        time.sleep(0.01)
        with lock:
            alive -= 1

    began = time.perf_counter()
    Stages(read, compute, write).run(range(60), lambda n: None)
    assert time.perf_counter() - began < 1.6  # 1.8 s one after the other
    assert most <= 8


CHILD = textwrap.dedent(
    """
    import sys, time
    sys.path.insert(0, {tests!r})
    from conftest import make_map, make_model
    from finescan.enhancement import EnhanceConfig, enhance
    model = make_model("fast", 2.0, hr_dtype="uint8")
    answer = model.predict
    def slowly(block):
        time.sleep({pause})
        return answer(block)
    model.predict = slowly
    result = enhance(model, make_map((60, 60), dtype="uint8"), folder={folder!r}, config=EnhanceConfig(tile=10))
    print(result.computed)
    """
)


def _child(folder, pause):
    code = CHILD.format(tests=str(Path(__file__).parent), folder=str(folder), pause=pause)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_killed_at_any_moment_continues_with_the_same_bits(model_of, map_of, tmp_path):
    model, lr = model_of("fast", 2.0, hr_dtype="uint8"), map_of((60, 60), dtype="uint8")
    whole = enhance(model, lr, folder=tmp_path / "whole", config=EnhanceConfig(tile=10))
    folder = tmp_path / "killed"
    child = _child(folder, 0.05)
    ledger = folder / LEDGER
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (ledger.exists() and ledger.read_bytes().count(b"\n") > 8):
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    finished = ledger.read_bytes().count(b"\n") - 1
    assert 7 < finished < 36
    rest = _child(folder, 0.0)
    printed, _ = rest.communicate(timeout=60)
    assert rest.returncode == 0
    assert int(printed) == 36 - finished  # finished blocks were not computed again
    resumed = io.read(folder / sink_room.STORE)
    np.testing.assert_array_equal(resumed.array(), whole.image.array())
    np.testing.assert_array_equal(np.load(folder / sink_room.FLAGS), whole.trust.flags)
