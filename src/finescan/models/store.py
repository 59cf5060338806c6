"""Models on disk: ``model.safetensors`` (weights) and ``card.json`` (facts) in one folder.

Loading runs no code from the file, and the card holds the hash of the weights, so a folder half-written or put
together from two models is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from finescan.errors import ModelError, OutputError
from finescan.models.foreign import load_foreign as load_foreign
from finescan.models.model import Model
from finescan.models.table import build
from finescan.values import ModelCard

WEIGHTS, CARD = "model.safetensors", "card.json"
_MOST_MEMBERS = 64


def save_model(model: Model, path: str | Path) -> Path:
    """Write a model into the folder ``path`` (made if need be); both files are written whole or not at all.

    Returns
    -------
    The folder.

    Raises
    ------
    OutputError : the folder cannot be written.
    """
    folder = Path(path)
    facts, weights = _plain(model.card.to_dict()), _packed(model)
    facts |= {"members": len(model.members), "weights_sha256": hashlib.sha256(weights).hexdigest()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / WEIGHTS, weights)
        _write(folder / CARD, json.dumps(facts, indent=2, allow_nan=False).encode())
    except OSError as e:
        raise OutputError(f"The model cannot be written to {folder} ({e.strerror or e}). Choose another folder.") from e
    return folder


def weights_hash(model: Model) -> str:
    """SHA-256 of a model's weights file, as :func:`save_model` writes it and its ``card.json`` says."""
    return hashlib.sha256(_packed(model)).hexdigest()


def _packed(model: Model) -> bytes:
    """The weights file of a model."""
    tensors = {
        f"member{i}.{key}": value.detach().cpu().contiguous()
        for i, member in enumerate(model.members)
        for key, value in member.state_dict().items()
    }
    facts = _plain(model.card.to_dict())
    short = {k: facts[k] for k in ("schema", "architecture", "arguments", "factor", "halo", "axes", "pixel_size_nm")}
    return save_tensors(tensors, metadata={"finescan": json.dumps(short)})


def load_model(path: str | Path) -> Model:
    """Read a model folder written by :func:`save_model`; strict, and without running any code from it.

    Raises
    ------
    ModelError : files missing, truncated, altered, or not belonging together.
    """
    folder = Path(path)
    facts = _read_card(folder)
    members, digest = facts.pop("members", None), facts.pop("weights_sha256", None)
    if not isinstance(members, int) or not 1 <= members <= _MOST_MEMBERS:
        raise ModelError(f"{folder / CARD} must say how many members the model has (1 to {_MOST_MEMBERS}).")
    card = ModelCard.from_dict(facts)
    tensors = _read_weights(folder, digest)
    networks = [build(card.architecture, card.factor, card.arguments) for _ in range(members)]
    _fill(networks, tensors, folder)
    return Model(networks, card)


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise ModelError(
            f"A model is a folder with {WEIGHTS} and {CARD}, but {folder / CARD} is missing. "
            "Pass the folder 'model' of a finished run."
        ) from e
    except (OSError, ValueError) as e:
        raise ModelError(f"{folder / CARD} is not a readable model card ({e}). Train again or restore it.") from e
    if not isinstance(facts, dict):
        raise ModelError(f"{folder / CARD} must hold a JSON object, but holds a {type(facts).__name__}.")
    return facts


def _read_weights(folder: Path, digest: object) -> dict[str, Tensor]:
    try:
        data = (folder / WEIGHTS).read_bytes()
    except OSError as e:
        raise ModelError(
            f"A model is a folder with {WEIGHTS} and {CARD}, but {folder / WEIGHTS} cannot be read "
            f"({e.strerror or e}). Pass the folder 'model' of a finished run."
        ) from e
    if hashlib.sha256(data).hexdigest() != digest:
        raise ModelError(
            f"{folder / WEIGHTS} is truncated, altered, or belongs to another card: its hash is not the one in {CARD}. "
            "Copy the folder again, or train again."
        )
    try:
        return load_tensors(data)
    except SafetensorError as e:
        raise ModelError(f"{folder / WEIGHTS} is not a readable weights file ({e}).") from e


def _fill(networks: list[nn.Module], tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Copy tensors into the networks; every name and shape must be there, and no other."""
    wanted = {f"member{i}.{k}": v for i, n in enumerate(networks) for k, v in n.state_dict().items()}
    if set(wanted) != set(tensors) or any(wanted[k].shape != tensors[k].shape for k in wanted):
        wrong = sorted(k for k in {*wanted, *tensors} if k not in wanted or k not in tensors)
        wrong += sorted(k for k in wanted if k in tensors and wanted[k].shape != tensors[k].shape)
        raise ModelError(
            f"The weights in {folder / WEIGHTS} do not fit the architecture its card names (first: {wrong[0]}). "
            "The card belongs to another model."
        )
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise ModelError(f"The weights in {folder / WEIGHTS} hold numbers that are not finite. Train again.")
    for i, network in enumerate(networks):
        network.load_state_dict({k: tensors[f"member{i}.{k}"] for k in network.state_dict()}, strict=True)


def _plain(value: Any) -> Any:
    """JSON has no NaN or infinity: they become null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    part.replace(path)
