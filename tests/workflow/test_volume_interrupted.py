"""A volume run that was killed while it enhanced: the same command goes on, to the same bits."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from finescan import io, workflow

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")

#: dies by SIGKILL right after the second block is on disk
DIES_WHILE_ENHANCING = """
import os, signal, sys
from finescan.enhancement import sink, volume_layout
volume_layout._DEPTHS, volume_layout._SIDES = (32,), (64,)  # eight blocks
write, written = sink.FolderSink.write, []
def write_and_die(self, *block):
    write(self, *block)
    written.append(1)
    if len(written) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
sink.FolderSink.write = write_and_die
from finescan.__main__ import main
sys.exit(main())
"""


def test_killed_while_enhancing_it_goes_on_and_equals_an_undisturbed_run_to_the_bit(finished_volume, volumes, tmp_path):
    files = [str(volumes / "coarse.tif"), str(volumes / "fine.tif")]
    out = shutil.copytree(finished_volume, tmp_path / "run")
    shutil.rmtree(out / "enhanced.ome.zarr")  # the step before: trained, and nothing enhanced yet
    for name in ("enhanced.tif", "flags.tif", "report.html"):
        (out / name).unlink()
    command = [sys.executable, "-c", DIES_WHILE_ENHANCING, "run", *files, "-o", str(out)]
    dead = subprocess.run(command, capture_output=True, timeout=300)
    assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()
    assert not (out / "enhanced.ome.zarr").exists() and not (out / "report.html").exists()
    (ledger,) = out.glob("work-*/enhanced.ledger.jsonl")
    assert len(ledger.read_text().splitlines()) == 3  # what is computed, and two blocks
    workflow.run(*files, out)
    events = [json.loads(line)["event"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert events.count("trained") == 1
    whole, resumed = (io.read_volume(f / "enhanced.ome.zarr").array() for f in (finished_volume, out))
    assert np.array_equal(whole, resumed)
    for name in ("enhanced.tif", "flags.tif"):
        assert (out / name).read_bytes() == (finished_volume / name).read_bytes()
    assert (out / "report.html").exists() and not list(out.glob("work-*"))
