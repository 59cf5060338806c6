"""Killed runs: the same command goes on, and the result is that of a run nobody disturbed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finescan import workflow
from finescan.training.checkpoint import FILE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")

#: dies by SIGKILL right after the second block is on disk
DIES_WHILE_ENHANCING = """
import os, signal, sys
from finescan.enhancement import layout, sink
layout.CPU_CORE = 128  # four blocks
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


def test_killed_while_enhancing_it_goes_on_and_equals_an_undisturbed_run_to_the_bit(scans, finished, quick, tmp_path):
    files = [str(scans / "coarse.tif"), str(scans / "fine.tif")]
    command = [sys.executable, "-c", DIES_WHILE_ENHANCING, "run", *files, "-o", str(tmp_path / "run"), *quick]
    dead = subprocess.run(command, capture_output=True, timeout=300)
    assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()
    assert not (tmp_path / "run" / "enhanced.tif").exists() and not (tmp_path / "run" / "report.html").exists()
    assert "enhance" not in json.loads((tmp_path / "run" / "run.json").read_text())["steps"]
    (ledger,) = (tmp_path / "run").glob("work-*/enhanced.ledger.jsonl")
    assert len(ledger.read_text().splitlines()) == 3  # what is computed, and two blocks
    workflow.run(*files, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines].count("trained") == 1
    for name in ("enhanced.tif", "flags.tif"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes()
    assert (tmp_path / "run" / "report.html").exists() and not list((tmp_path / "run").glob("work-*"))


def test_killed_while_training_it_goes_on_with_the_plan_it_had(scans, tmp_path):
    import torch

    files = [str(scans / "coarse.tif"), str(scans / "fine.tif")]
    short = ["--minutes", "0.03", "--set", "train.members=1"]
    child = subprocess.Popen(
        [sys.executable, "-m", "finescan", "run", *files, "-o", str(tmp_path / "run"), *short],
        stderr=subprocess.PIPE,
    )
    checkpoint = wait_for_checkpoint(tmp_path / "run", child)
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "model" / "card.json").exists()
    planned = torch.load(checkpoint, weights_only=True)["plan"]
    workflow.run(*files, tmp_path / "run")
    training = json.loads((tmp_path / "run" / "model" / "card.json").read_text())["training"]
    assert training["plan"] == planned and training["steps"] == [planned["steps"]]
    events = [json.loads(line)["event"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert events == ["start", "registered", "start", "trained", "enhanced", "judged", "intervals", "done"]


def wait_for_checkpoint(folder: Path, child: subprocess.Popen) -> Path:
    until = time.monotonic() + 240
    while time.monotonic() < until and child.poll() is None:
        found = list(folder.glob(f"model/checkpoint-*/{FILE}"))
        if found:
            return found[0]
        time.sleep(0.01)
    child.kill()
    raise AssertionError(f"no training began: {child.communicate()[1].decode()}")
