"""``finescan study``: the published experiments."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from finescan.cli.options import Json, Out, Overwrite, Seed
from finescan.cli.progress import Progress

app = typer.Typer(no_args_is_help=True, help="The published experiments, run again on simulated data.")

Results = TypeVar("Results")
Quick = Annotated[bool, typer.Option("--quick", help="Short trainings, for a look in about five minutes.")]
Full = Annotated[bool, typer.Option("--full", help="The published numbers; meant for a graphics card.")]
Device = Annotated[str, typer.Option(help="auto, cpu or a torch device.")]


@app.command()
def foam(
    output: Out = Path("foam"),
    size: Annotated[int, typer.Option(help="Voxels along every edge; the paper has 512.")] = 128,
    quick: Quick = False,
    sigmas: Annotated[str, typer.Option(help="Blurs of the projections, detector pixels.")] = "3,5,7,9",
    minutes: Annotated[float | None, typer.Option(help="Training time per network; else by size.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """DeepNet, SRCNN, Richardson-Lucy and our network on a foam with known pores; continues where it stopped."""
    from finescan import studies

    try:
        blurs = [float(v) for v in sigmas.split(",")]
    except ValueError as e:
        raise typer.BadParameter(
            f"Blurs are numbers with commas between them, such as 3,5,7,9, but {sigmas!r} came."
        ) from e
    with Progress(quiet=as_json) as progress:
        results = studies.study_foam(
            output,
            size=size,
            quick=quick,
            sigmas=blurs,
            minutes=minutes,
            seed=seed,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    _say({"truth": results.truth, "rows": results.rows} if as_json else studies.text_table(results), output)


@app.command()
def steel(
    output: Out = Path("steel"),
    quick: Quick = False,
    full: Full = False,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Texture transformer, interpolation and our network on two steels (Reclik et al. 2025); continues."""
    from finescan.studies import study_steel
    from finescan.studies.steel_page import text_table

    results = _watched(study_steel, output, as_json, _size(quick, full), seed, device, overwrite)
    facts = {"tables": results.tables, "facts": results.facts, "training": results.training}
    _say(facts if as_json else text_table(results), output)


@app.command()
def sandstone(
    output: Out = Path("sandstone"),
    quick: Quick = False,
    full: Full = False,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """DLE-EM with both losses, interpolation and our network on a sandstone with known pores; continues."""
    from finescan.studies import study_sandstone
    from finescan.studies.sandstone_page import text_table

    results = _watched(study_sandstone, output, as_json, _size(quick, full), seed, device, overwrite)
    facts = {
        "acceleration": results.acceleration.to_dict(),
        "ssim": {where: t.summary("finescan") for where, t in results.tiles.items()},
        "pores": {where: c.to_dict() for where, c in results.pores.items()},
        "registration": list(results.registration),
        "training": results.training,
    }
    _say(facts if as_json else text_table(results), output)


@app.command()
def rescan(
    output: Out = Path("rescan"),
    quick: Quick = False,
    full: Full = False,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Where fine fields pay: plan, record, paste and plan again on steel with rare damage; continues."""
    from finescan.studies import study_rescan
    from finescan.studies.rescan_page import text_table

    results = _watched(study_rescan, output, as_json, _size(quick, full), seed, device, overwrite)
    facts = {"aims": results.aims(), "rows": results.rows, "alone": results.alone, "facts": results.facts}
    _say(facts if as_json else text_table(results), output)


@app.command()
def lattice(
    output: Out = Path("lattice"),
    quick: Quick = False,
    full: Full = False,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Learning from coarse pictures alone on two lattices (Möller et al. 2023), judged beyond them; continues."""
    from finescan.studies import study_lattice
    from finescan.studies.lattice_page import text_table

    results = _watched(study_lattice, output, as_json, _size(quick, full), seed, device, overwrite)
    facts = {
        "curves": {kind: curve.table() for kind, curve in results.curves.items()},
        "physical": {kind: f.curve.table() for kind, f in results.physical.items() if f.curve is not None},
        "lattices": results.lattices,
        "training": results.training,
    }
    _say(facts if as_json else text_table(results), output)


def _watched(
    study: Callable[..., Results], output: Path, quiet: bool, size: str, seed: int, device: str, overwrite: bool
) -> Results:
    """The results of a study of a named size, with its progress shown."""
    with Progress(quiet=quiet) as progress:
        return study(output, size=size, seed=seed, device=device, overwrite=overwrite, progress=progress)


def _say(results: Mapping[str, Any] | str, output: Path) -> None:
    """Facts as JSON, or a table and where the page is."""
    print(f"{results}\n{output / 'report.html'}" if isinstance(results, str) else json.dumps(results, indent=1))


def _size(quick: bool, full: bool) -> str:
    if quick and full:
        raise typer.BadParameter("--quick and --full exclude each other. Pass one of them, or none.")
    return "quick" if quick else "full" if full else "medium"
