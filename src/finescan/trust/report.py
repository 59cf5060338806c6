"""TrustReport: everything :func:`finescan.trust.evaluate` found out, as plain numbers for ``trust.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Score:
    """One metric of one contestant: mean over blocks and its standard error, as is and after a global linear fit."""

    raw: float
    raw_error: float
    matched: float
    matched_error: float
    n: int


@dataclass(frozen=True)
class Gain:
    """How much better the candidate is than the baseline; positive is better, whatever the metric's direction.

    Parameters
    ----------
    mean, error : of the *paired* differences block by block, and its standard error.
    low, high : 95 % confidence interval of the mean (Student's t).
    n : blocks.
    significance : "better", "worse" or "equal": whether the interval leaves out zero.
    """

    mean: float
    error: float
    low: float
    high: float
    n: int
    significance: str


@dataclass(frozen=True)
class Block:
    """One held-out block: its box on the grid of the result, and the gain of the candidate there per metric."""

    start: tuple[int, ...]
    stop: tuple[int, ...]
    gain: Mapping[str, float]


@dataclass(frozen=True)
class TrustReport:
    """The judgement.

    Parameters
    ----------
    candidate, baseline : who is judged against whom.
    verdict : "better", "equal" or "worse".
    sentence : the verdict in words, with figures and places.
    scores : contestant -> metric -> Score.
    gains : metric -> {"raw": Gain, "matched": Gain}.
    subsets : "edges", "bright", "dark" -> {"share": share of pixels, "psnr": {contestant: dB}, "gain": Gain in dB}.
    blocks : per-block gains: where the candidate wins and loses.
    curves : "frequency_per_nm", "spectrum" {name: power}, "frc" {name: correlation}, "resolution_nm"
        {name: {threshold: nm}}, "grey" {name: distance to the reference}, "match" {name: [gain, offset]}.
    facts : data_range, number and size of blocks, consistency, left-out tiles, how the verdict was reached.
    """

    candidate: str
    baseline: str
    verdict: str
    sentence: str
    scores: Mapping[str, Mapping[str, Score]]
    gains: Mapping[str, Mapping[str, Gain]]
    subsets: Mapping[str, Any] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    curves: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; infinities are the strings "inf" and "-inf", an unknown number is None."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> TrustReport:
        """Inverse of :meth:`to_dict`."""
        d = {k: v if k == "facts" else _numbers(v) for k, v in d.items()}
        d["scores"] = {k: {m: Score(**s) for m, s in v.items()} for k, v in d["scores"].items()}
        d["gains"] = {m: {k: Gain(**g) for k, g in v.items()} for m, v in d["gains"].items()}
        d["subsets"] = {k: {**v, "gain": Gain(**v["gain"])} for k, v in d["subsets"].items()}
        d["blocks"] = tuple(Block(tuple(b["start"]), tuple(b["stop"]), b["gain"]) for b in d["blocks"])
        return cls(**d)

    def __str__(self) -> str:
        return f"{self.candidate}: {self.verdict}. {self.sentence}"


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and numpy numbers to JSON values."""
    if isinstance(value, Score | Gain | Block):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _numbers(value: Any) -> Any:
    """Undo what JSON cannot say: None was nan, "inf" was infinite."""
    if isinstance(value, Mapping):
        return {k: _numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    if value is None:
        return float("nan")
    return float(value) if value in ("inf", "-inf") else value
