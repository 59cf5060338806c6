"""``finescan study``: the published experiments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from finescan.cli.options import Json, Out, Overwrite, Seed
from finescan.cli.progress import Progress

app = typer.Typer(no_args_is_help=True, help="The published experiments, run again on simulated data.")

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
    if as_json:
        print(json.dumps({"truth": results.truth, "rows": results.rows}, indent=1))
    else:
        print(studies.text_table(results))
        print(output / "report.html")


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
    from finescan import studies
    from finescan.studies.steel_page import text_table

    with Progress(quiet=as_json) as progress:
        results = studies.study_steel(
            output, size=_size(quick, full), seed=seed, device=device, overwrite=overwrite, progress=progress
        )
    facts = {"tables": results.tables, "facts": results.facts, "training": results.training}
    print(json.dumps(facts, indent=1) if as_json else f"{text_table(results)}\n{output / 'report.html'}")


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
    from finescan import studies
    from finescan.studies.sandstone_page import text_table

    with Progress(quiet=as_json) as progress:
        results = studies.study_sandstone(
            output, size=_size(quick, full), seed=seed, device=device, overwrite=overwrite, progress=progress
        )
    facts = {
        "acceleration": results.acceleration.to_dict(),
        "ssim": {where: t.summary("finescan") for where, t in results.tiles.items()},
        "pores": {where: c.to_dict() for where, c in results.pores.items()},
        "registration": list(results.registration),
        "training": results.training,
    }
    print(json.dumps(facts, indent=1) if as_json else f"{text_table(results)}\n{output / 'report.html'}")


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
    from finescan import studies
    from finescan.studies.rescan_page import text_table

    with Progress(quiet=as_json) as progress:
        results = studies.study_rescan(
            output, size=_size(quick, full), seed=seed, device=device, overwrite=overwrite, progress=progress
        )
    facts = {"aims": results.aims(), "rows": results.rows, "alone": results.alone, "facts": results.facts}
    print(json.dumps(facts, indent=1) if as_json else f"{text_table(results)}\n{output / 'report.html'}")


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
    from finescan import studies
    from finescan.studies.lattice_page import text_table

    with Progress(quiet=as_json) as progress:
        results = studies.study_lattice(
            output, size=_size(quick, full), seed=seed, device=device, overwrite=overwrite, progress=progress
        )
    facts = {
        "curves": {kind: curve.table() for kind, curve in results.curves.items()},
        "lattices": results.lattices,
        "training": results.training,
    }
    print(json.dumps(facts, indent=1) if as_json else f"{text_table(results)}\n{output / 'report.html'}")


def _size(quick: bool, full: bool) -> str:
    if quick and full:
        raise typer.BadParameter("--quick and --full exclude each other. Pass one of them, or none.")
    return "quick" if quick else "full" if full else "medium"
