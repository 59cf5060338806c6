"""``finescan models``: the table of networks, the card of a model, and the import of public weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from finescan import workflow
from finescan.cli.options import Json, Overwrite, size_of
from finescan.cli.output import show


class _OrPath(TyperGroup):
    """``finescan models PATH`` shows the card of a model: what is no command is a path."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As usual, with ``show`` put before a path."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=_OrPath, invoke_without_command=True)


@app.callback()
def models(context: typer.Context, as_json: Json = False) -> None:
    """The networks and baselines there are, the card of a trained one (`models PATH`), or public weights as a model."""
    if context.invoked_subcommand is None:
        show(workflow.list_models(), as_json)


@app.command("show")
def show_card(
    path: Annotated[Path, typer.Argument(help="A model folder.")],
    as_json: Json = False,
) -> None:
    """The card of a model."""
    show(workflow.list_models(path), as_json)


@app.command("import")
def import_weights(
    name: Annotated[str, typer.Argument(help="ttsr, ttsr-grey, dle-em-generator or swinir-light.")],
    weights: Annotated[str, typer.Argument(help="The file as published (.pt, .pth, .safetensors), or its address.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model folder to write.")],
    pixel_size: Annotated[
        str, typer.Option(help="Pixel size in nm of the pictures it is to make: 25, or 25,24 (y, x).")
    ],
    sha256: Annotated[str | None, typer.Option(help="What the file must hash to; needed for an address.")] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(help="Fine scans that TTSR takes texture from; can be given several times.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Public weights become a model: to enhance with, or to start a training from."""
    result = workflow.import_weights(
        name,
        weights,
        output,
        pixel_size_nm=size_of(pixel_size),
        sha256=sha256,
        references=reference or (),
        overwrite=overwrite,
    )
    show(result, as_json)
