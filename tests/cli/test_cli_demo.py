"""The demo: a table against the known truth, and every file it promises."""

from __future__ import annotations

import json


def test_the_demo_prints_the_gain_over_bicubic_against_the_truth(finescan, tmp_path):
    said = finescan("demo", "-o", tmp_path / "demo", "--minutes", "0.01")
    assert said.code == 0 and said.errors == []
    assert "Against the known truth" in said.out and "median error" in said.out
    assert {p.name for p in (tmp_path / "demo").iterdir()} >= {"scans", "run", "truth.json", "demo.png"}
    table = json.loads((tmp_path / "demo" / "truth.json").read_text())
    assert table["enhanced"]["psnr"] >= table["bicubic"]["psnr"] > table["nearest"]["psnr"]
    assert "</html>" in (tmp_path / "demo" / "run" / "report.html").read_text()
    assert finescan("demo", "-o", tmp_path / "demo").code == 5
