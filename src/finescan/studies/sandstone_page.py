"""The sandstone study as a page: the figures of DLE-EM, with ours beside."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import finescan
from finescan import reporting as rp

if TYPE_CHECKING:
    from finescan.studies.sandstone import SandstoneResults

NAMES = {"bicubic": "bicubic", "mse": "DLE-EM, MSE", "mae": "DLE-EM, MAE", "finescan": "finescan", "truth": "truth"}
PUBLISHED_ACCELERATION = (6.0, 16.0)


def build(results: SandstoneResults) -> rp.StudyReport:
    """The page of a finished study."""
    rest = results.tiles["rest of the map"]
    summary = rest.summary("finescan")["scores"]
    words = ", ".join(f"{NAMES[n]} {summary[n]['mean']:.3f}" for n in summary)
    low, high = PUBLISHED_ACCELERATION
    return rp.StudyReport(
        title=f"Sandstone study, {results.study.size}",
        headline=f"{results.acceleration.factor:.1f} times as fast as a fine scan of everything",
        sentence=f"Mean SSIM of tiles outside the fine scans, against the noise-free truth: {words}.",
        chapters=(
            rp.Chapter("Random tiles (Fig. 2)", (_tiles(results),)),
            *(
                rp.size_chapter([c], title=f"Pore sizes, {where} (Fig. 3)", words=(results.objects,), name=f"pores-{k}")
                for k, (where, c) in enumerate(results.pores.items())
            ),
            *(
                rp.Chapter(
                    f"SSIM distribution, {where} (Fig. 4)",
                    rp.tile_chapter(t, candidate="finescan", name=f"ssim-{k}").parts,
                )
                for k, (where, t) in enumerate(results.tiles.items())
            ),
            rp.Chapter("Registration, cost", (registration_table(results), cost_table(results))),
        ),
        facts=(
            ("acceleration", f"{results.acceleration} (published: {low:g} to {high:g})"),
            ("fine share of the area", f"{100 * results.acceleration.fine_share:.1f} %"),
        ),
        notes=_notes(results),
        provenance={
            "finescan": finescan.__version__,
            "python": platform.python_version(),
            "study": dict(vars(results.study)),
            "numbers": dict(vars(results.study.numbers)),
        },
    )


def _notes(results: SandstoneResults) -> tuple[str, ...]:
    size = results.study.numbers
    notes = ["DLE-EM gives its figures without numbers, so there are none to compare with but the acceleration."]
    if not size.published:
        notes.append(
            f"The generator has {size.features} features and {size.blocks} blocks (published: 64 and 16), adds what it "
            f"learns to bicubic interpolation, and has {size.minutes:g} minutes on a processor instead of 100 epochs "
            "in batches of 80."
        )
    return tuple(notes)


def _tiles(results: SandstoneResults) -> rp.Figure:
    rows = {NAMES[n]: list(v) for n, v in results.pictures.items()}
    count = max((len(v) for v in rows.values()), default=0)
    return rp.picture_grid(
        "Random tiles outside the fine scans",
        rows,
        [f"{k + 1}" for k in range(count)],
        pixel_size_nm=results.pixel_size_nm[0],
        window=(20.0, 200.0),
        note="One window for all.",
        name="figure-2-tiles",
    )


def registration_table(results: SandstoneResults) -> rp.Table:
    """How well the fine scans were found."""
    rows = tuple((r["name"], r["verdict"], r["split_error_hr_px"], r["true_error_hr_px"]) for r in results.registration)
    columns = (
        rp.Column("fine scan"), rp.Column("verdict"), rp.Column("split error", "fine px", "lower"),
        rp.Column("median true error", "fine px", "lower"),
    )  # fmt: skip
    return rp.Table("Registration", columns, rows, name="registration")


def cost_table(results: SandstoneResults) -> rp.Table:
    """Training time and weights."""
    rows: list[tuple[Any, ...]] = [
        (NAMES[n], t["weights"], sum(t["steps"] or [0]), t["cpu_seconds"], str(t["device"]))
        for n, t in results.training.items()
    ]
    columns = (
        rp.Column("model"), rp.Column("weights"), rp.Column("steps"), rp.Column("training", "CPU s", "lower"),
        rp.Column("device"),
    )  # fmt: skip
    return rp.Table("What training cost", columns, tuple(rows), name="costs")


def text_table(results: SandstoneResults) -> str:
    """The main figures for a terminal."""
    lines = [str(results.acceleration)]
    for where, tiles in results.tiles.items():
        summary = tiles.summary("finescan")
        lines.append(f"SSIM, {where} ({tiles.count} tiles)")
        for n, row in summary["scores"].items():
            lines.append(f"  {NAMES[n]:14} mean {row['mean']:.3f}, quartiles {row['q1']:.3f} to {row['q3']:.3f}")
    for where, comparison in results.pores.items():
        lines.append(f"Pores, {where}")
        for s in comparison.samples:
            distance = "" if s.name == comparison.against else f", KS {comparison.distance(s.name):.3f}"
            fate = "" if s.found is None else f", found {s.found}, invented {s.invented}"
            lines.append(
                f"  {NAMES.get(s.name, s.name):14} {s.count:5} pores, {100 * s.area_share:.2f} % of the area"
                f"{distance}{fate}"
            )
    return "\n".join(lines)
