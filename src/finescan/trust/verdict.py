"""The plain verdict: better than the baseline or not, by how much, where.

Rule
----
The candidate is *better* if, over held-out blocks, the paired PSNR gain is significant (Student's 95 % interval above
zero), as recorded **and** after a global gain/offset fit, is at least 0.05 dB, and SSIM is not significantly worse.
It is *worse* if either PSNR gain is significantly negative. Otherwise it is *equal*: no gain has been shown, and
the baseline, which invents nothing, is to be preferred.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from finescan.trust.report import Block, Gain

LEAST_DB = 0.05  # a smaller gain is of no use to anyone
RULE = (
    "better: paired PSNR gain over held-out blocks significantly positive (95 %) both as is and after a gain/offset "
    f"fit, at least {LEAST_DB} dB, and SSIM not significantly worse; worse: either PSNR gain significantly negative; "
    "otherwise equal"
)
_WORDS = {"edges": "edges", "bright": "the brightest 5 %", "dark": "the darkest 5 %"}


def judge(
    candidate: str,
    baseline: str,
    gains: Mapping[str, Mapping[str, Gain]],
    subsets: Mapping[str, Any],
    per_block: Sequence[Block],
) -> tuple[str, str, str]:
    """Verdict, the sentence that explains it, and the rule that was applied.

    Parameters
    ----------
    candidate, baseline : names.
    gains : metric -> {"raw", "matched"} -> Gain.
    subsets : as in :class:`TrustReport`.
    per_block : gains block by block.
    """
    psnr, fitted, ssim = gains["psnr"]["raw"], gains["psnr"]["matched"], gains["ssim"]["raw"]
    if "worse" in (psnr.significance, fitted.significance):
        verdict = "worse"
    elif psnr.significance == fitted.significance == "better" and ssim.significance != "worse":
        verdict = "better" if min(psnr.mean, fitted.mean) >= LEAST_DB else "equal"
    else:
        verdict = "equal"
    return verdict, _sentence(candidate, baseline, verdict, gains, subsets, per_block), RULE


def _sentence(
    candidate: str,
    baseline: str,
    verdict: str,
    gains: Mapping[str, Mapping[str, Gain]],
    subsets: Mapping[str, Any],
    per_block: Sequence[Block],
) -> str:
    psnr, fitted, ssim = gains["psnr"]["raw"], gains["psnr"]["matched"], gains["ssim"]["raw"]
    head = {"better": "is better than", "worse": "is worse than", "equal": "is not shown to be better than"}[verdict]
    wins = sum(b.gain["psnr"] > 0 for b in per_block)
    text = (
        f"{candidate} {head} {baseline}: PSNR {_figure(psnr)} dB, {_figure(fitted)} dB after a gain/offset fit, "
        f"SSIM {_figure(ssim, 3)}; it wins in {wins} of {len(per_block)} held-out blocks."
    )
    if psnr.n < 2:
        text += " One block only: no standard error can be formed, so no gain can be shown."
    elif verdict == "equal" and "worse" in (ssim.significance,):
        text += " SSIM is significantly worse."
    losses = [_WORDS[k] for k, s in subsets.items() if s["gain"].significance == "worse"]
    if losses and verdict != "worse":
        text += f" It loses on {' and '.join(losses)}."
    return text


def _figure(gain: Gain, digits: int = 2) -> str:
    error = "?" if math.isnan(gain.error) else f"{gain.error:.{digits}f}"
    return f"{gain.mean:+.{digits}f} ± {error}"
