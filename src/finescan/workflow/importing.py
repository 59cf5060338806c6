"""Public weights to a model folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from finescan import io
from finescan.errors import InputError, OutputError
from finescan.workflow.reading import Outcome

EIGHT_BIT = 255.0  # the published networks know grey levels from 0 to this


def import_weights(
    name: str,
    weights: str | Path,
    output: str | Path,
    *,
    pixel_size_nm: Sequence[float],
    sha256: str | None = None,
    references: Sequence[str | Path] = (),
    overwrite: bool = False,
) -> Outcome:
    """Write a model folder from public weights.

    Parameters
    ----------
    name : row of :data:`finescan.models.importing.IMPORTS`.
    weights : file, or address with its ``sha256``.
    output : model folder.
    pixel_size_nm : of the pictures the model is to make, per axis; public weights say nothing about it.
    references : fine scans of that pixel size, 8-bit, that the texture transformer takes texture from.

    Raises
    ------
    ModelError : weights that are not these. InputError : unusable references. OutputError : a folder that is in use.
    """
    from finescan.models import save_model
    from finescan.models.foreign import read_weights
    from finescan.models.importing import import_foreign

    output = Path(output)
    if (output / "card.json").exists() and not overwrite:
        raise OutputError(f"{output} holds a finished model. Choose another folder, or pass --overwrite.")
    size = (float(pixel_size_nm[0]), float(pixel_size_nm[-1]))
    crops = _crops(references, size) if references else None
    state = read_weights(weights, sha256=sha256)
    facts = {"weights": Path(urlsplit(str(weights)).path).name, "sha256": sha256 or _digest(weights)}
    model = import_foreign(name, state, pixel_size_nm=size, references=crops, provenance=facts)
    save_model(model, output)
    notes = "\n".join(model.card.training["notes"])
    return Outcome({"model": str(output), "card": model.card.to_dict()}, f"{output}: {model.card}\n{notes}".rstrip())


def _crops(references: Sequence[str | Path], size: tuple[float, float]) -> np.ndarray:
    from finescan.patches import bank_from_images

    images = [io.read(p) for p in references]
    for image in images:
        if image.dtype != np.uint8:
            raise InputError(
                f"Published networks know grey levels from 0 to {EIGHT_BIT:g}, but {image.name} is {image.dtype}. Pass "
                "8-bit references, or train a network on your own scans."
            )
    return bank_from_images(images, pixel_size_nm=size).crops


def _digest(weights: str | Path) -> str:
    with Path(weights).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
