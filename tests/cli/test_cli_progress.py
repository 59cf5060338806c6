"""Progress without a terminal: one line per step, then one every five seconds, with the time that is left."""

from finescan.cli import progress as module
from finescan.cli.progress import Progress


def lines(capsys, monkeypatch, calls):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Progress() as progress:
        for wait, done, message in calls:
            now[0] += wait
            progress(done, 10, message)
    return capsys.readouterr().err.splitlines()


def test_a_changing_message_of_one_step_does_not_flood_the_log(capsys, monkeypatch):
    calls = [(1.0, k, f"network 1 of 2: +{k} dB") for k in range(10)]
    out = lines(capsys, monkeypatch, calls)
    assert out == ["network 1 of 2: +0 dB: 0 %", "network 1 of 2: +5 dB: 50 %, 5 s left"]


def test_every_new_step_is_said_at_once(capsys, monkeypatch):
    out = lines(capsys, monkeypatch, [(0.1, 0, "reading"), (0.1, 0, "registering a.tif"), (0.1, 0, "report")])
    assert out == ["reading: 0 %", "registering a.tif: 0 %", "report: 0 %"]


def test_the_time_left_counts_from_where_the_step_went_on(capsys, monkeypatch):
    """A resumed training starts at 60 %: ten seconds for the next 20 % leave ten for the rest."""
    out = lines(capsys, monkeypatch, [(0.0, 6, "training"), (10.0, 8, "training")])
    assert out[-1] == "training: 80 %, 10 s left"


def test_quiet_says_nothing(capsys):
    with Progress(quiet=True) as progress:
        progress(1, 2, "reading")
    assert capsys.readouterr().err == ""
